-- Publishes a state of the switch: state, reason, by.
select redress.publish_switch($1, $2, $3)

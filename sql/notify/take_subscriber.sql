-- Takes or renews the one place of a subscriber: name, owner, lease ms. `position` is null when somebody else has it.
select taken, position from redress.take_subscriber($1, $2, $3)

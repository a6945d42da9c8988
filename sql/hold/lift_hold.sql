-- Lifts a hold; false when it was not in force: id, by.
select redress.lift_hold($1, $2)

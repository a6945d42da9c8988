-- Gives the place back: name, owner.
select redress.leave_subscriber($1, $2)

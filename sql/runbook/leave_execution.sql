-- Gives an execution out of hands: id, token.
select redress.leave_execution($1, $2)

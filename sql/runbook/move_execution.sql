-- Moves an execution with its record; false when that is not ours to do: id, token, was, done before, state, done.
select redress.move_execution($1, $2, $3, $4, $5, $6)

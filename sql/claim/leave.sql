-- Gives back everything a worker holds: worker.
select redress.leave($1)

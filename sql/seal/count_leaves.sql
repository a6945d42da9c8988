-- How many leaves the log of a generation has: generation.
select coalesce(max(position) + 1, 0) from redress.leaf where generation = $1

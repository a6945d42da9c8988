-- Gives records their places at the end of an old log: generation, leaves that are there, runs, numbers, hashes.
select redress.end_log($1, $2, $3, $4, $5)

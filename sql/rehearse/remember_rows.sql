-- Notes every row of a relation before anything is done: relation, at most so many.
select pg_temp.remember_rows($1, $2)

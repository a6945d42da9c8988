-- Rows that are there now and were not before: relation.
select part, place, whole, fields from pg_temp.new_rows($1)

-- Rows by the places of their versions: relation, parts, places.
select whole, fields from pg_temp.rows_at($1, $2, $3)

-- Rows that were there before and are not now: relation.
select part, place from pg_temp.gone_rows($1)

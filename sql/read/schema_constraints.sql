-- Every constraint and index on our tables and domains, and whether it is in force: schema.
select c.relname::text as relation, k.conname::text as name, k.convalidated as good
from pg_constraint k
join pg_class c on c.oid = k.conrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1
union
select t.typname::text, k.conname::text, k.convalidated
from pg_constraint k
join pg_type t on t.oid = k.contypid
join pg_namespace n on n.oid = t.typnamespace
where n.nspname = $1
union
select c.relname::text, i.relname::text, x.indisvalid
from pg_index x
join pg_class i on i.oid = x.indexrelid
join pg_class c on c.oid = x.indrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1
order by 1, 2

-- Columns, constraints and indexes of the tables and domains in our schema, as the server writes them: schema.
with ours as (
  select n.oid, n.nspname || '.' as prefix from pg_namespace n where n.nspname = $1::text
)
select c.relname::text as relation, 'column' as kind, a.attname::text as name,
       replace(format_type(a.atttypid, a.atttypmod), o.prefix, '')
         || case when a.attnotnull then ' not null' else '' end
         || coalesce(' default ' || replace(pg_get_expr(d.adbin, d.adrelid), o.prefix, ''), '') as is
from ours o
join pg_class c on c.relnamespace = o.oid and c.relkind = 'r'
join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
union all
select c.relname::text, 'constraint', k.conname::text, replace(pg_get_constraintdef(k.oid), o.prefix, '')
from ours o
join pg_constraint k on k.connamespace = o.oid and k.contype in ('c', 'p', 'u', 'f', 'x')
join pg_class c on c.oid = k.conrelid
union all
select t.typname::text, 'constraint', k.conname::text, replace(pg_get_constraintdef(k.oid), o.prefix, '')
from ours o
join pg_type t on t.typnamespace = o.oid
join pg_constraint k on k.contypid = t.oid and k.contype = 'c'
union all
select c.relname::text, 'index', i.relname::text, replace(pg_get_indexdef(i.oid), o.prefix, '')
from ours o
join pg_class c on c.relnamespace = o.oid and c.relkind = 'r'
join pg_index x on x.indrelid = c.oid
join pg_class i on i.oid = x.indexrelid
order by 1, 2, 3

-- A relation as `writes` names it, whether its rows can be compared, and the columns of its primary key: name.
select c.oid, c.relkind in ('r', 'p') as has_rows,
       array(select a.attname::text
             from pg_index i
             cross join lateral unnest(i.indkey::int2[]) with ordinality as k(attnum, n)
             join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
             where i.indrelid = c.oid and i.indisprimary
             order by k.n) as key
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where format('%s.%s', n.nspname, c.relname) = $1

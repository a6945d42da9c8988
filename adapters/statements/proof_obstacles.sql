-- Why plans do not prove what statements write; no row when they do.
-- Modified relations, all words, words before a bracket, operators. Whatever has an id below 16384 came with the server.
with recursive relation as (
  select c.* from pg_catalog.pg_class c where c.oid = any ($1::oid[])
  union all
  select c.*
  from pg_catalog.pg_class c
  where c.oid >= 16384 and c.relname = any ($2::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f', 'c')
    and c.oid <> all ($1::oid[])
), reached (oid) as (
  select a.atttypid
  from relation
  join pg_catalog.pg_attribute a on a.attrelid = relation.oid and a.attnum > 0 and not a.attisdropped
  union
  select t.oid
  from pg_catalog.pg_type t
  where t.oid >= 16384 and t.typname = any ($2::text[]) and t.typtype <> 'c'
  union
  select case when t.typtype = 'd' then t.typbasetype else t.typelem end
  from reached
  join pg_catalog.pg_type t on t.oid = reached.oid
  where t.oid >= 16384 and (t.typtype = 'd' or t.typcategory = 'A' and t.typelem <> 0)
), opaque as (
  select t.oid, t.typname
  from pg_catalog.pg_type t
  where t.oid >= 16384 and t.typtype in ('b', 'r', 'm', 'p') and not (t.typcategory = 'A' and t.typelem <> 0)
)
select 'modified relation ' || c.relname || ' is not a plain table without triggers, rules and children'
from pg_catalog.pg_class c
where c.oid = any ($1::oid[])
  and (c.relkind <> 'r' or c.relhastriggers or c.relhasrules or c.relhassubclass or c.relispartition
       or c.relpersistence = 't' or c.oid < 16384
       or c.relam <> (select m.oid from pg_catalog.pg_am m where m.amname = 'heap' and m.oid < 16384))
union
select 'index ' || i.indexrelid::pg_catalog.regclass || ' uses an operator class of its own'
from pg_catalog.pg_index i, unnest(i.indclass::oid[]) as class (oid)
where i.indrelid = any ($1::oid[]) and class.oid >= 16384
union
select 'relation ' || relation.relname || ' is a view, a foreign table, or has row policies'
from relation
where relation.relkind in ('v', 'f') or relation.relrowsecurity
union
select 'relation ' || relation.relname || ' may have a foreign table as a child'
from relation
where relation.relhassubclass
  and exists (select from pg_catalog.pg_inherits h
              join pg_catalog.pg_class f on f.oid = h.inhrelid
              where f.relkind = 'f')
union
select 'type ' || t.typname || ' is not one of the server''s own'
from reached
join pg_catalog.pg_type t on t.oid = reached.oid
where t.oid >= 16384 and t.typtype not in ('e', 'd') and not (t.typcategory = 'A' and t.typelem <> 0)
union
select 'function ' || p.oid::pg_catalog.regprocedure || ' is not one of the server''s own'
from pg_catalog.pg_proc p
left join pg_catalog.pg_type t on t.oid = p.proargtypes[0]
where p.oid >= 16384
  and (p.proname = any ($3::text[])
       or p.proname = any ($2::text[]) and p.pronargs - p.pronargdefaults <= 1 and p.pronargs >= 1
          and t.typtype in ('c', 'd', 'p'))
union
select 'function ' || w.name || ' can run statements, change settings or write'
from unnest($3::text[]) as w (name)
where w.name in ('set_config', 'query_to_xml', 'query_to_xmlschema', 'query_to_xml_and_xmlschema', 'ts_stat',
                 'ts_rewrite', 'lowrite', 'loread', 'gin_clean_pending_list')
   or w.name ~ '^(cursor|table|schema|database)_to_xml'
   or w.name ~ '^(lo|brin|binary_upgrade)_'
   or w.name ~ '^pg_(import|restore|clear|logical|replication|create|copy|drop|extension|sync)_'
union
select 'operator ' || o.oid::pg_catalog.regoperator || ' is not one of the server''s own'
from pg_catalog.pg_operator o
where o.oid >= 16384 and o.oprname = any ($4::text[])
  and o.oprleft not in (select opaque.oid from opaque) and o.oprright not in (select opaque.oid from opaque)
union
select 'a cast from ' || k.castsource::pg_catalog.regtype || ' to ' || k.casttarget::pg_catalog.regtype || ' has a function'
from pg_catalog.pg_cast k
where k.oid >= 16384 and k.castfunc <> 0
  and k.castsource not in (select opaque.oid from opaque) and k.casttarget not in (select opaque.oid from opaque)

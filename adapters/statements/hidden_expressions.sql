-- Expressions that run without standing in a statement: defaults, checks and index expressions of the modified
-- relations, and checks of domains in reach: modified relations, words.
with recursive relation as (
  select c.oid from pg_catalog.pg_class c where c.oid = any ($1::oid[])
  union
  select c.oid from pg_catalog.pg_class c where c.oid >= 16384 and c.relname = any ($2::text[])
), domain (oid) as (
  select t.oid
  from pg_catalog.pg_type t
  where t.oid >= 16384 and t.typtype = 'd' and t.typname = any ($2::text[])
  union
  select case when t.typelem <> 0 and t.typcategory = 'A' then t.typelem else t.oid end
  from relation
  join pg_catalog.pg_attribute a on a.attrelid = relation.oid and a.attnum > 0 and not a.attisdropped
  join pg_catalog.pg_type t on t.oid = a.atttypid
  union
  select t.typbasetype
  from domain
  join pg_catalog.pg_type t on t.oid = domain.oid and t.typtype = 'd'
)
select pg_catalog.pg_get_expr(d.adbin, d.adrelid) as expression
from pg_catalog.pg_attrdef d
where d.adrelid = any ($1::oid[])
union
select pg_catalog.pg_get_constraintdef(k.oid)
from pg_catalog.pg_constraint k
where k.contype = 'c' and (k.conrelid = any ($1::oid[]) or k.contypid in (select domain.oid from domain))
union
select pg_catalog.pg_get_indexdef(i.indexrelid)
from pg_catalog.pg_index i
where i.indrelid = any ($1::oid[]) and (i.indexprs is not null or i.indpred is not null)
union
select t.typdefault
from pg_catalog.pg_type t
where t.oid in (select domain.oid from domain) and t.typtype = 'd' and t.typdefault is not null

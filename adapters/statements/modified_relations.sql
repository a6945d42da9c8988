-- What plans modify, in the catalogue's spelling, partitions as their roots: schemas, names (in step).
select m.schema || '.' || m.name as name,
       c.oid,
       rn.nspname || '.' || r.relname as root,
       coalesce(c.relpersistence = 't', m.schema like 'pg\_temp%') as temporary
from unnest($1::text[], $2::text[]) as m (schema, name)
left join pg_catalog.pg_namespace n on n.nspname = m.schema
left join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = m.name
left join pg_catalog.pg_class r on r.oid = coalesce(pg_catalog.pg_partition_root(c.oid), c.oid)
left join pg_catalog.pg_namespace rn on rn.oid = r.relnamespace

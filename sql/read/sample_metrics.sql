-- What the gauges show, one row a figure: what, label, value. Every part is bounded: rows counted at most, records counted
-- at most, or one row found by an index (`now()` and not the clock where an index is to be used): rows, records.
with unsealed as (
  select r.xid, r.run, r.seq
  from redress.sealer s
  cross join lateral (
    (select r.xid, r.run, r.seq from redress.record r
     where r.xid >= s.seen_below
       and not exists (select from redress.leaf l where l.run = r.run and l.seq = r.seq and l.generation = s.generation)
     order by r.xid
     limit $2::bigint)
    union all
    (select r.xid, r.run, r.seq from redress.record r
     where r.xid = any (s.in_flight) and r.xid < s.seen_below
       and not exists (select from redress.leaf l where l.run = r.run and l.seq = r.seq and l.generation = s.generation)
     limit $2::bigint)) r
)
select 'runs' as what, k.state as label,
       (select count(*) from (select from redress.run r where r.state = k.state limit $1::bigint) r)::float8 as value
from unnest('{running,failed,compensating,stuck,completed,compensated,resolved}'::text[]) k(state)
union all
select 'overdue', '', coalesce((
  select greatest(extract(epoch from clock_timestamp() - r.next_at), 0) from redress.run r
  where r.state in ('running', 'compensating')
    and r.next_at <= now()
    and (r.owner is null
      or not exists (select from redress.worker w where w.id = r.owner and w.lease_until > clock_timestamp()))
  order by r.next_at, r.id
  limit 1), 0)::float8
union all
select 'unsigned', '', (select count(*) from (
  select from redress.run r
  where r.state in ('running', 'compensating') and r.next_at > now() + interval '50 years'
  limit $1::bigint) r)::float8
union all
select 'holds', k.scope,
       (select count(*) from (
         select from redress.hold h where h.released_at is null and h.scope = k.scope limit $1::bigint) h)::float8
from unnest('{all,saga,subject,run}'::text[]) k(scope)
union all
select 'switch', '', coalesce((
  select case s.state when 'run' then 0 when 'killed' then 1 when 'frozen' then 2 else 3 end from redress.switch s), 3)::float8
union all
select 'workers', k.lease,
       (select count(*) from (
         select from redress.worker w where (w.lease_until > clock_timestamp()) = (k.lease = 'good') limit $1::bigint) w)::float8
from unnest('{good,expired}'::text[]) k(lease)
union all
select 'executions', k.hands,
       (select count(*) from (
         select from redress.execution e
         where e.state = 'begun' and (e.lease_until > clock_timestamp()) = (k.hands = 'held')
         limit $1::bigint) e)::float8
from unnest('{held,nobody}'::text[]) k(hands)
union all
select 'pending', s.name,
       (select count(*) from (
         select from redress.record r where r.xid >= split_part(s.position, ':', 2)::xid8 limit $2::bigint) r)::float8
from (select name, position from redress.subscriber
      where position ~ '^[0-9]{1,20}:[0-9]{1,20}:' order by name limit 50) s
union all
select 'unsealed_records', '', least((select count(*) from unsealed), $2::bigint)::float8
union all
select 'unsealed_seconds', '', coalesce((
  select greatest(extract(epoch from clock_timestamp()
           - (convert_from(r.bytes, 'UTF8')::jsonb ->> 'at')::timestamptz), 0)
  from (select u.run, u.seq from unsealed u order by u.xid, u.run, u.seq limit 1) u
  join redress.record r on r.run = u.run and r.seq = u.seq), 0)::float8
union all
select 'checkpoint', '', coalesce((select s.size from redress.sealer s), 0)::float8

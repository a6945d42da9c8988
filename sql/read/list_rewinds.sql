-- Plans that go back to a phase, youngest first, each with the records of its way: run, target, made since, made
-- before (each may be null), limit. A plan's row is there only for a run that failed or was asked to go back, so this
-- does not read the logs of the others.
with made as (
  select p.run, p.digest, p.canonical, p.made_at
  from redress.plan p
  where convert_from(p.canonical, 'UTF8')::jsonb ->> 'stops_at' is not null
    and ($1::uuid is null or p.run = $1)
    and ($2::text is null or convert_from(p.canonical, 'UTF8')::jsonb ->> 'stops_at' = $2)
    and ($3::text is null or p.made_at >= $3::text::timestamptz)
    and ($4::text is null or p.made_at < $4::text::timestamptz)
  order by p.made_at desc, p.digest
  limit $5)
select m.run, r.saga, r.subject, r.basis_seq, m.digest, m.canonical,
       to_char(m.made_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as made_at,
       w.kind, w.at, w.code, w.message
from made m
join redress.run r on r.id = m.run
left join lateral (
  select k.seq, k.kind, j.record ->> 'at' as at, j.record #>> '{body,code}' as code,
         j.record #>> '{body,message}' as message
  from redress.record k
  cross join lateral (select convert_from(k.bytes, 'UTF8')::jsonb as record) j
  where k.run = m.run
    and k.kind in ('plan.started', 'plan.finished', 'compensation.failed')
    and j.record #>> '{body,plan}' = encode(m.digest, 'hex')) w on true
order by m.made_at desc, m.digest, w.seq

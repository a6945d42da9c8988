-- What is not sealed yet: how many records, the age of the oldest in seconds, and the size that is sealed.
select count(r.run) as records,
       coalesce(extract(epoch from clock_timestamp()
         - min((convert_from(r.bytes, 'UTF8')::jsonb ->> 'at')::timestamptz)), 0)::float8 as age_seconds,
       (select s.size from redress.sealer s) as size
from redress.sealer s
left join redress.record r on (r.xid >= s.seen_below or r.xid = any (s.in_flight))
  and not exists (select from redress.leaf l where l.run = r.run and l.seq = r.seq and l.generation = s.generation)

-- The head of the log: which generation, how many leaves, the newest head that was signed, and whether the ledger is opened.
select coalesce((select l.seq > 0 from redress.system_log l where l.name = 'keys'), false) as opened, s.generation, s.size, encode(c.note, 'base64') as note,
       coalesce(extract(epoch from clock_timestamp() - c.made_at), 0)::bigint as seconds
from redress.sealer s
left join lateral (
  select k.note, k.made_at from redress.checkpoint k where k.generation = s.generation order by k.size desc limit 1) c on true

-- Runs that may leave, with how many records each has: the instant before which they ended, the end of the signed log.
select id, seq
from redress.run
where id in (select redress.archivable_runs($1::text::timestamptz, $2))
order by id

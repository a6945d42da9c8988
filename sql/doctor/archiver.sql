-- Continuous archiving: whether the last attempt failed, and what waits for it.
select a.archived_count as archived, a.failed_count as failed, coalesce(a.last_failed_wal, '') as last_failed,
       coalesce(a.last_failed_time > coalesce(a.last_archived_time, '-infinity'), false) as failing,
       coalesce(extract(epoch from clock_timestamp() - a.last_archived_time), 0)::bigint as seconds
from pg_stat_archiver a

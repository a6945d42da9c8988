-- Standbys that are connected: how far behind they are. Empty without the right to see them.
select coalesce(r.application_name, '') as standby, coalesce(r.state, '') as state, coalesce(r.sync_state, '') as sync,
       coalesce(extract(epoch from r.replay_lag), 0)::float8 as seconds,
       coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn), 0)::bigint as bytes
from pg_stat_replication r
order by 5 desc
limit 20

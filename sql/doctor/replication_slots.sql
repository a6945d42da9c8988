-- Slots: who reads, how much WAL is kept for them, and how far they hold the vacuum back.
select s.slot_name::text as slot, s.slot_type as type, s.active, coalesce(s.wal_status, '') as wal_status,
       coalesce(pg_wal_lsn_diff(case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
         s.restart_lsn), 0)::bigint as retained,
       greatest(coalesce(age(s.xmin), 0), coalesce(age(s.catalog_xmin), 0)) as age
from pg_replication_slots s
order by 5 desc
limit 20

-- The settings that a ledger rests on.
select s.name, s.setting
from pg_settings s
where s.name in ('fsync', 'full_page_writes', 'synchronous_commit', 'default_transaction_isolation', 'wal_level', 'archive_mode',
                 'idle_in_transaction_session_timeout', 'max_prepared_transactions', 'max_connections',
                 'superuser_reserved_connections', 'autovacuum', 'autovacuum_freeze_max_age', 'track_commit_timestamp',
                 'zero_damaged_pages', 'ignore_checksum_failure')

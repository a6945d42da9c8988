-- What this transaction sees.
select pg_current_snapshot()::text

-- Until the end of the transaction, no lock is waited for longer than this: milliseconds.
select pg_catalog.set_config('lock_timeout', $1, true)

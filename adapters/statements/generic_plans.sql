-- Until the end of the transaction, plans are made without looking at parameter values.
select pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)

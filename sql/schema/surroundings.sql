-- What a connection stands on before anything is done.
select to_regnamespace($1) is not null as has_schema,
       pg_is_in_recovery() or current_setting('transaction_read_only') = 'on' as read_only,
       current_setting('server_version_num')::int as server_version

-- The server and this login: what they are, not how they are set.
select current_setting('server_version_num')::int as version, current_setting('server_version') as version_text,
       pg_is_in_recovery() as recovery, current_setting('transaction_read_only') = 'on' as read_only,
       extract(epoch from clock_timestamp())::float8 as now, pg_backend_pid() as pid,
       current_user::text as login, (select r.rolsuper from pg_roles r where r.rolname = current_user) as superuser,
       current_database()::text as database

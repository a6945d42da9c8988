-- What `explain.sql` found: a list of plans, or an object with sqlstate and message.
select pg_catalog.current_setting('redress.explained')::json

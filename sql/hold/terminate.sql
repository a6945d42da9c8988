-- Ends a backend: pid.
select pg_terminate_backend($1)

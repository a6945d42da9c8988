-- Connections that are open, and how many this role and this database may have (-1: no limit of its own).
select (select count(*) from pg_stat_activity a where a.backend_type = 'client backend') as open,
       (select count(*) from pg_stat_activity a where a.backend_type = 'client backend' and a.usename = current_user) as of_role,
       (select r.rolconnlimit from pg_roles r where r.rolname = current_user) as role_limit,
       (select count(*) from pg_stat_activity a where a.backend_type = 'client backend' and a.datname = current_database())
         as of_database,
       (select d.datconnlimit from pg_database d where d.datname = current_database()) as database_limit

-- Two roles nobody can log in with: cutover_executor may write, cutover_reader may only read what is public.
--
-- Roles belong to the whole server, so they are made only where they are missing, and one that is made here is marked
-- by its comment: the down bundle removes no role that somebody else made. The installer becomes a member, because
-- whoever runs the saga must be able to take the executor's role; CREATEROLE is enough for all of it.

do $$
declare
    name text;
    may_act boolean;
begin
    foreach name in array array['cutover_executor', 'cutover_reader']
    loop
        if not exists (select from pg_catalog.pg_roles where rolname = name) then
            begin
                execute format('create role %I nologin', name);
                execute format('comment on role %I is %L', name, 'made by the bundle 0001_roles of the cutover example');
            exception
                -- Another installation on this server made it in the same moment.
                when duplicate_object or unique_violation then null;
            end;
        end if;
        -- From 16 on, membership alone does not allow SET ROLE; before, the word SET is not known to pg_has_role.
        may_act := pg_catalog.pg_has_role(
            current_user, name,
            case when current_setting('server_version_num')::integer >= 160000 then 'SET' else 'MEMBER' end);
        if not may_act then
            execute format('grant %I to %I', name, current_user);
        end if;
    end loop;
end
$$;

grant usage on schema public to cutover_executor, cutover_reader;

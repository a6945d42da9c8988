-- Takes the roles away again, if the bundle made them and nothing else on this server depends on them.

do $$
declare
    name text;
begin
    if pg_catalog.to_regclass('public.information_unit') is not null then
        raise exception 'bundle 0002_units is still applied: revert the bundles in reverse order'
            using errcode = 'object_not_in_prerequisite_state';
    end if;
    foreach name in array array['cutover_executor', 'cutover_reader']
    loop
        continue when not exists (select from pg_catalog.pg_roles where rolname = name);
        execute format('revoke usage on schema public from %I', name);
        continue when pg_catalog.shobj_description(
            (select oid from pg_catalog.pg_roles where rolname = name), 'pg_authid')
            is distinct from 'made by the bundle 0001_roles of the cutover example';
        begin
            execute format('drop role %I', name);
        exception
            when dependent_objects_still_exist or insufficient_privilege then
                raise notice 'role % is kept: %', name, sqlerrm;
        end;
    end loop;
end
$$;

-- From version 1 to nothing; all rows go with it. On nothing it changes nothing; on any later version it refuses (RL002).

do $$
declare
  v int;
begin
  if to_regclass('release.schema_version') is null then
    return;
  end if;
  select version into v from release.schema_version;
  if v <> 1 then
    raise exception 'release: this step needs version 1, here is version %', v using errcode = 'RL002';
  end if;
  drop schema release cascade;
end $$;

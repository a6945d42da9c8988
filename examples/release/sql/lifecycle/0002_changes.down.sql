-- From version 2 to version 1. What was recorded of dispatches goes with it. On version 1 it changes nothing; on nothing it
-- refuses with RL001, on any other version with RL002.

do $$
declare
  v int;
begin
  if to_regclass('release.schema_version') is null then
    raise exception 'release: this step needs version 2, here is nothing' using errcode = 'RL001';
  end if;
  select version into v from release.schema_version for update;
  if v = 1 then
    return;
  elsif v <> 2 then
    raise exception 'release: this step needs version 2, here is version %', v using errcode = 'RL002';
  end if;
  drop function release.step_back(uuid, text);
  drop function release.advance(uuid, text);
  drop trigger transition_is_recorded on release.run;
  drop function release.change_run();
  drop trigger dispatch_change_is_recorded on release.dispatch;
  drop function release.change_dispatch();
  drop table release.dispatch_change;
  update release.schema_version set version = 1;
end $$;

-- From version 1 to version 2: every change of a dispatch leaves a record, and a gate counts live artefacts. Run again on
-- version 2 it changes nothing; on nothing it refuses with RL001, on any other version with RL002.

do $$
declare
  v int;
begin
  if to_regclass('release.schema_version') is null then
    raise exception 'release: this step needs version 1, here is nothing' using errcode = 'RL001';
  end if;
  select version into v from release.schema_version for update;
  if v = 2 then
    raise notice 'release: version 2 stands already';
    return;
  elsif v <> 1 then
    raise exception 'release: this step needs version 1, here is version %', v using errcode = 'RL002';
  end if;

  create table release.dispatch_change (
    id           uuid        primary key default gen_random_uuid(),
    dispatch     uuid        not null references release.dispatch (id),
    from_status  text        not null,
    to_status    text        not null,
    at           timestamptz not null default clock_timestamp()
  );
  create index dispatch_change_is_listed_by_dispatch on release.dispatch_change (dispatch, at);

  -- The ordinary path of a status change, whoever makes it: refused once cancelled, recorded otherwise.
  create function release.change_dispatch() returns trigger language plpgsql as $f$
  begin
    if old.status = 'cancelled' then
      raise exception 'dispatch % was cancelled: nothing is written into it any more', old.id using errcode = 'RL010';
    end if;
    if new.status <> old.status then
      insert into release.dispatch_change (dispatch, from_status, to_status) values (old.id, old.status, new.status);
    end if;
    return new;
  end $f$;
  create trigger dispatch_change_is_recorded before update on release.dispatch
    for each row execute function release.change_dispatch();

  -- Every move of a run is a record before the statement returns.
  create function release.change_run() returns trigger language plpgsql as $f$
  begin
    if tg_op = 'INSERT' then
      insert into release.transition (run, from_phase, to_phase) values (new.run, null, new.phase);
    elsif new.phase is distinct from old.phase then
      insert into release.transition (run, from_phase, to_phase) values (new.run, old.phase, new.phase);
    end if;
    return new;
  end $f$;
  create trigger transition_is_recorded after insert or update on release.run
    for each row execute function release.change_run();

  -- Goes from the phase before to this one; compares the phase that it reads, and asks the gate.
  create function release.advance(p_run uuid, p_phase text) returns setof release.run language plpgsql as $f$
  declare
    v_before text;
    v_live bigint;
  begin
    select b.name into v_before from release.stage s join release.stage b on b.place = s.place - 1 where s.name = p_phase;
    select count(*) into v_live from release.artefact a where a.run = p_run and a.phase = v_before and a.status = 'live';
    if v_before is not null and v_live = 0 then
      raise exception 'the gate to % is shut: % has no live artefact, run %', p_phase, v_before, p_run using errcode = 'RL011';
    end if;
    return query
      update release.run r set phase = p_phase,
        state = case when p_phase = 'ship' then 'completed' else 'active' end,
        completed_at = case when p_phase = 'ship' then clock_timestamp() end
      where r.run = p_run and r.phase is not distinct from v_before
      returning r.*;
  end $f$;

  -- Goes back from this phase to the one before, and is active again.
  create function release.step_back(p_run uuid, p_phase text) returns setof release.run language plpgsql as $f$
  begin
    return query
      update release.run r set state = 'active', completed_at = null,
        phase = (select b.name from release.stage s join release.stage b on b.place = s.place - 1 where s.name = p_phase)
      where r.run = p_run and r.phase = p_phase
      returning r.*;
  end $f$;

  update release.schema_version set version = 2;
end $$;

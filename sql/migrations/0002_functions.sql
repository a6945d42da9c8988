-- The only way in for the engine and the operator: functions of the owner, each with the search_path pinned
-- at creation (the installation's schema, then pg_temp; pg_catalog is searched first by rule).
-- SQLSTATEs of our own, class RD:
--   RDG01 isolation   RDG02 switch missing   RDG03 killed   RDG04 held     RDG05 frozen
--   RDR01 unknown run RDR02 fenced (epoch)   RDR03 state    RDR04 phase    RDR05 transaction  RDR06 log head
--   RDR07 record does not fit the chain      RDR08 coverage has changed    RDR09 unknown definition
--   RDR10 the keyring has moved on           RDS01 fenced (sealer)         RDS02 the head is another one
--   RDS03 not the next generation          RDS04 other runs than were decided about

-- The first five are called from the others, which are pinned; they use nothing but pg_catalog or run as their caller.

create function now_text() returns text language sql volatile as $$
  select pg_catalog.to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- From, event and to as one text; null when the record moves nothing.
create function transition_of(p_transition jsonb) returns text language sql immutable as $$
  select (p_transition ->> 'from') || ' ' || (p_transition ->> 'event') || ' ' || (p_transition ->> 'to')
$$;

-- Settings of the transaction: never of the session, which a pooler may give to somebody else. One expression, so that
-- PostgreSQL puts it into the statement that calls it. Setting what is set already would cost a report to the client
-- at both ends of the transaction.
create function set_limits(p_statement_ms int, p_lock_ms int, p_idle_ms int) returns text language sql volatile as $$
  select concat(
    set_config('statement_timeout', p_statement_ms::text, true),
    set_config('lock_timeout', p_lock_ms::text, true),
    set_config('idle_in_transaction_session_timeout', p_idle_ms::text, true),
    case when current_setting('TimeZone') <> 'UTC' then set_config('TimeZone', 'UTC', true) end,
    case when current_setting('DateStyle') <> 'ISO, YMD' then set_config('DateStyle', 'ISO, YMD', true) end,
    case when current_setting('IntervalStyle') <> 'iso_8601' then set_config('IntervalStyle', 'iso_8601', true) end,
    case when current_setting('bytea_output') <> 'hex' then set_config('bytea_output', 'hex', true) end,
    case when current_setting('extra_float_digits') <> '1' then set_config('extra_float_digits', '1', true) end)
$$;

-- Takes the gate, then reads the switch. The order inside one VOLATILE function is what makes it safe at
-- READ COMMITTED: the read gets a snapshot that is younger than the lock.
create function pass_switch(p_switch_no bigint) returns bigint language plpgsql volatile as $$
declare
  s record;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception 'a phase runs at read committed, not at %', current_setting('transaction_isolation')
      using errcode = 'RDG01';
  end if;
  lock table gate in row share mode;
  select max(state) as state, max(switch_no) as switch_no, max(reason) as reason, count(*) as n into s from switch;
  if s.n = 1 and s.state = 'run' then
    return s.switch_no;
  elsif s.n <> 1 then
    raise exception 'there are % switch rows instead of one: treated as killed', s.n using errcode = 'RDG02';
  elsif s.state = 'frozen' then
    raise exception 'frozen by switch %: %', s.switch_no, s.reason using errcode = 'RDG05';
  elsif s.switch_no is distinct from p_switch_no then
    raise exception 'killed by switch %: %', s.switch_no, s.reason using errcode = 'RDG03';
  end if;
  return s.switch_no;
end $$;

-- Refuses when a hold is in force that is not passed. The caller has locked the run's row before: a hold on a run
-- takes that lock, so whoever waited for it sees that hold.
create function heed_holds(p_saga text, p_subject text, p_run uuid, p_holds uuid[]) returns void
language plpgsql volatile as $$
declare
  h record;
begin
  select id, scope, reason into h from hold
  where released_at is null
    and (scope = 'all'
      or (scope = 'saga' and target = p_saga)
      or (scope = 'subject' and target = p_subject)
      or (scope = 'run' and target = p_run::text))
    and not (id = any (p_holds))
  order by at
  limit 1;
  if found then
    raise exception 'held (%): %', h.scope, h.reason using errcode = 'RDG04', detail = h.id::text;
  end if;
end $$;

-- Entry of a forward phase. Returns the transaction id, the head of the log and the time of the record.
-- Three statements, since each is paid anew in every transaction: the gate; run, limits and switch, whose snapshot is
-- younger than the gate's lock; then the holds, whose snapshot is younger than the row's lock. What is not as it should
-- be is told by the functions that refuse it.
create function enter_phase(
  p_run uuid, p_epoch bigint, p_phase text, p_saga text, p_subject text,
  p_statement_ms int, p_lock_ms int, p_idle_ms int,
  out xid text, out seq bigint, out head bytea, out at text, out switch_no bigint)
language plpgsql volatile security definer set search_path from current as $$
declare
  r record;
  v_held boolean;
begin
  lock table gate in row share mode;
  select t.epoch, t.state, t.phase, t.saga, t.subject, t.seq, t.head, set_limits(p_statement_ms, p_lock_ms, p_idle_ms),
         (select max(s.switch_no) from switch s having count(*) = 1 and max(s.state) = 'run'
             and current_setting('transaction_isolation') = 'read committed') as switch_no
    into r from run t where t.id = p_run for no key update;
  select pg_current_xact_id()::text, now_text(), exists (select from hold where released_at is null), r.seq, r.head, r.switch_no
    into xid, at, v_held, seq, head, switch_no;
  if switch_no is null then
    switch_no := pass_switch(null);
  end if;
  if v_held then
    perform heed_holds(p_saga, p_subject, p_run, '{}');
  end if;
  if r.epoch is distinct from p_epoch or r.state is distinct from 'running' or r.phase is distinct from p_phase
     or r.saga is distinct from p_saga or r.subject is distinct from p_subject then
    if r.epoch is null then
      raise exception 'unknown run %', p_run using errcode = 'RDR01';
    elsif r.epoch <> p_epoch then
      raise exception 'fenced: epoch % is no longer current (%) for run %', p_epoch, r.epoch, p_run using errcode = 'RDR02';
    elsif r.state <> 'running' then
      raise exception 'a phase needs a running run, this one is %: %', r.state, p_run using errcode = 'RDR03';
    end if;
    raise exception 'phase % is not the next one (%) of run %', p_phase, r.phase, p_run using errcode = 'RDR04';
  end if;
end $$;

-- Opens a run. `existing` is null when it was opened here; else the run that has the key already.
create function enter_start(
  p_run uuid, p_definition bytea, p_subject text, p_exclusive boolean, p_key text, p_input_hash bytea,
  p_requester text, p_phase text, p_owner uuid, p_statement_ms int, p_lock_ms int, p_idle_ms int,
  out existing uuid, out existing_input bytea, out xid text, out at text, out switch_no bigint)
language plpgsql volatile security definer set search_path from current as $$
declare
  d record;
  v_opened boolean;
begin
  perform set_limits(p_statement_ms, p_lock_ms, p_idle_ms);
  select t.saga, t.version into d from definition t where t.digest = p_definition;
  if not found then
    raise exception 'unknown definition %', encode(p_definition, 'hex') using errcode = 'RDR09';
  end if;
  switch_no := pass_switch(null);
  perform heed_holds(d.saga, p_subject, p_run, '{}');
  at := now_text();
  insert into run (id, saga, version, definition, subject, exclusive, key, input_hash, requester, opened_at,
                   state, phase, epoch, seq, head, basis_seq, basis, owner, claims, next_at)
  values (p_run, d.saga, d.version, p_definition, p_subject, p_exclusive, p_key, p_input_hash, p_requester,
          clock_timestamp(), 'running', p_phase, 1, 0, decode(repeat('00', 32), 'hex'), 0,
          decode(repeat('00', 32), 'hex'), p_owner, case when p_owner is null then 0 else 1 end, clock_timestamp())
  on conflict on constraint run_key_is_used_once do nothing;
  v_opened := found;
  -- Looked up behind the insert, which has waited for whoever archives the run that had the key.
  select pg_current_xact_id()::text, a.run, a.input_hash into xid, existing, existing_input
  from (select) one left join archived_run a on a.saga = d.saga and a.key = p_key;
  if existing is not null then
    delete from run t where v_opened and t.id = p_run;
  elsif not v_opened then
    select t.id, t.input_hash into existing, existing_input from run t where t.saga = d.saga and t.key = p_key;
  end if;
end $$;

-- Locks a run for a record that is no phase: a failure, a plan, an approval, a cancellation.
-- With an epoch it is fenced; without one (an operator) it raises the epoch when told to.
create function enter_run(
  p_run uuid, p_epoch bigint, p_raise boolean, p_statement_ms int, p_lock_ms int, p_idle_ms int,
  out xid text, out seq bigint, out head bytea, out at text, out switch_no bigint, out epoch bigint,
  out state text, out phase text, out basis_seq bigint, out basis bytea)
language plpgsql volatile security definer set search_path from current as $$
declare
  r run%rowtype;
begin
  perform set_limits(p_statement_ms, p_lock_ms, p_idle_ms);
  select * into r from run t where t.id = p_run for no key update;
  if not found then
    raise exception 'unknown run %', p_run using errcode = 'RDR01';
  end if;
  if p_epoch is not null and r.epoch <> p_epoch then
    raise exception 'fenced: epoch % is no longer current (%) for run %', p_epoch, r.epoch, p_run using errcode = 'RDR02';
  end if;
  epoch := r.epoch;
  if p_raise then
    epoch := r.epoch + 1;
    update run t set epoch = r.epoch + 1 where t.id = p_run and t.epoch = r.epoch and t.seq = r.seq;
  end if;
  select coalesce((select s.switch_no from switch s), 0) into switch_no;
  xid := pg_current_xact_id()::text;
  seq := r.seq;
  head := r.head;
  at := now_text();
  state := r.state;
  phase := r.phase;
  basis_seq := r.basis_seq;
  basis := r.basis;
end $$;

-- Entry of a compensation: the gate first, then the run. An approved plan passes a kill whose switch_no it names
-- and the holds that it names; a freeze stops it. An automatic one names nothing.
create function enter_compensation(
  p_run uuid, p_epoch bigint, p_raise boolean, p_saga text, p_subject text, p_switch_no bigint, p_holds uuid[],
  p_statement_ms int, p_lock_ms int, p_idle_ms int,
  out xid text, out seq bigint, out head bytea, out at text, out switch_no bigint, out epoch bigint,
  out state text, out phase text, out basis_seq bigint, out basis bytea)
language plpgsql volatile security definer set search_path from current as $$
declare
  n bigint;
  e record;
begin
  perform set_limits(p_statement_ms, p_lock_ms, p_idle_ms);
  n := pass_switch(p_switch_no);
  perform from run where id = p_run for no key update;
  perform heed_holds(p_saga, p_subject, p_run, p_holds);
  select * into e from enter_run(p_run, p_epoch, p_raise, p_statement_ms, p_lock_ms, p_idle_ms);
  xid := e.xid; seq := e.seq; head := e.head; at := e.at; switch_no := n; epoch := e.epoch;
  state := e.state; phase := e.phase; basis_seq := e.basis_seq; basis := e.basis;
end $$;

-- A decision counts once, and by the keyring that it was judged by: whoever changes the keyring waits for this
-- transaction or is waited for, so that the order of both is known to the sealer.
create function use_decision(p_body jsonb, p_run uuid, p_seq bigint) returns void language plpgsql volatile as $$
declare
  v_keyring bigint;
begin
  select l.seq into v_keyring from system_log l where l.name = 'keys' for share;
  if coalesce((p_body ->> 'keyring')::bigint, 0) is distinct from v_keyring then
    raise exception 'the keyring has moved on to %: judge the decision again', v_keyring using errcode = 'RDR10';
  end if;
  insert into decision_used (id, run, seq) values ((p_body ->> 'decision_id')::uuid, p_run, p_seq);
end $$;

-- Writes records at the head of a run's log and moves the run; the last statement before COMMIT.
-- The fence is in the write: epoch, state, phase and head are repeated in the WHERE, zero rows is an error.
-- p_checked: relations whose writes were proven when the saga was loaded; a trigger since then voids the proof.
-- Written for few statements: what PL/pgSQL sets up for each is paid anew in every transaction.
create function append(
  p_run uuid, p_epoch bigint, p_xid text, p_seq bigint, p_head bytea, p_was_state text, p_was_phase text,
  p_bytes bytea[], p_state text, p_phase text, p_attempts int, p_wait_ms bigint, p_keep boolean,
  p_failed_phase text, p_error_code text, p_error text, p_plan bytea, p_checked oid[])
returns bytea language plpgsql volatile security definer set search_path from current as $$
declare
  b bytea;
  j jsonb;
  v_oid oid;
  v_changed boolean;
  v_basic boolean;
  n bigint := p_seq;
  v_head bytea := p_head;
  v_basis_seq bigint;
  v_basis bytea;
begin
  if pg_current_xact_id()::text <> p_xid then
    raise exception 'the transaction is not the one that was entered (% is not %): something inside the phase ended it',
      pg_current_xact_id(), p_xid using errcode = 'RDR05';
  end if;
  -- Each is looked up, so that one that was dropped and made anew (with another oid) is no longer proven.
  if p_checked is not null then
    foreach v_oid in array p_checked loop
      v_changed := null;
      select c.relhastriggers or c.relhasrules or c.relhassubclass into v_changed from pg_class c where c.oid = v_oid;
      if v_changed is distinct from false then
        raise exception 'a declared relation was made anew or got a trigger, rule or child table' using errcode = 'RDR08';
      end if;
    end loop;
  end if;
  foreach b in array p_bytes loop
    n := n + 1;
    j := convert_from(b, 'UTF8')::jsonb;
    if j ->> 'prev' is distinct from encode(v_head, 'hex') or (j ->> 'seq')::bigint is distinct from n
       or (j ->> 'run')::uuid is distinct from p_run or (j ->> 'epoch')::bigint is distinct from p_epoch then
      raise exception 'record % does not fit the chain of run %', n, p_run using errcode = 'RDR07';
    end if;
    insert into record as r (run, seq, hash, kind, phase, epoch, switch_no, xid, transition, bytes)
    values (p_run, n, sha256('\x00'::bytea || b), j ->> 'kind', j #>> '{body,phase}', p_epoch,
            (j ->> 'switch_no')::bigint, pg_current_xact_id(), transition_of(j #> '{body,transition}'), b)
    returning r.hash, r.kind = any ('{run.opened, phase.committed, phase.failed, phase.intended, compensation.committed,
                             compensation.failed, resolved, run.cancelled, run.resumed}'::text[])
      into v_head, v_basic;
    if v_basic then
      v_basis_seq := n;
      v_basis := v_head;
    end if;
    if j -> 'body' ? 'decision_id' then
      perform use_decision(j -> 'body', p_run, n);
    end if;
  end loop;
  update run r
     set seq = n, head = v_head, basis_seq = coalesce(v_basis_seq, r.basis_seq), basis = coalesce(v_basis, r.basis),
         state = p_state, phase = p_phase, attempts = coalesce(p_attempts, r.attempts),
         claims = case when p_keep then r.claims else 0 end,
         next_at = case when p_wait_ms is null then r.next_at
                        else clock_timestamp() + p_wait_ms * interval '1 millisecond' end,
         owner = case when p_state in ('running', 'compensating') then r.owner end,
         ended_at = case when p_state in ('completed', 'compensated', 'resolved')
                         then coalesce(r.ended_at, clock_timestamp()) end,
         failed_phase = coalesce(p_failed_phase, r.failed_phase),
         error_code = coalesce(p_error_code, r.error_code),
         error = coalesce(p_error, r.error),
         plan = coalesce(p_plan, r.plan)
   where r.id = p_run and r.epoch = p_epoch and r.state = p_was_state
     and r.phase is not distinct from p_was_phase and r.seq = p_seq and r.head = p_head
     -- Read behind the insert, which waits for whoever opens the next generation.
     and (j is null or (j ->> 'generation')::bigint = (select i.generation from installation i));
  if not found then
    raise exception 'fenced: the run has moved on (epoch % now): %', (select r.epoch from run r where r.id = p_run), p_run
      using errcode = 'RDR02';
  end if;
  return v_head;
end $$;

create function put_blob(p_id uuid, p_run uuid, p_salt bytea, p_content bytea, p_commitment bytea) returns void
language sql volatile security definer set search_path from current as $$
  insert into blob (id, run, salt, content, commitment) values (p_id, p_run, p_salt, p_content, p_commitment)
$$;

create function put_plan(p_digest bytea, p_run uuid, p_basis_seq bigint, p_canonical bytea) returns void
language sql volatile security definer set search_path from current as $$
  insert into plan (digest, run, basis_seq, canonical) values (p_digest, p_run, p_basis_seq, p_canonical)
  on conflict on constraint plan_pkey do nothing
$$;

-- True when this refusal was not recorded before.
create function note_refusal(p_run uuid, p_actor text, p_code text, p_basis bytea) returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  insert into refusal (run, actor, code, basis) values (p_run, p_actor, p_code, p_basis)
  on conflict on constraint refusal_is_recorded_once do nothing;
  return found;
end $$;

create function put_definition(p_digest bytea, p_saga text, p_version int, p_canonical bytea, p_by text) returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  insert into definition (digest, saga, version, canonical, registered_by)
  values (p_digest, p_saga, p_version, p_canonical, p_by)
  on conflict on constraint definition_pkey do nothing;
  return found;
end $$;

-- Claim ---------------------------------------------------------------------------------------------------

create function beat(p_worker uuid, p_name text, p_lease_ms bigint) returns void
language sql volatile security definer set search_path from current as $$
  insert into worker (id, name, lease_until)
  values (p_worker, p_name, clock_timestamp() + p_lease_ms * interval '1 millisecond')
  on conflict on constraint worker_pkey do update set lease_until = excluded.lease_until
$$;

-- A worker that leaves gives back what it holds, without counting it as an attempt.
create function leave(p_worker uuid) returns void
language plpgsql volatile security definer set search_path from current as $$
begin
  update run set owner = null, claims = greatest(claims - 1, 0) where owner = p_worker;
  delete from worker where id = p_worker;
end $$;

-- p_active: what this worker is driving now. What it owns beside that it has lost (an answer that never came, a
-- database that was away too long, a cancellation that fenced it) and may claim again.
create function claim(p_worker uuid, p_limit int, p_definitions bytea[], p_active uuid[])
returns table (id uuid, epoch bigint, claims int)
language plpgsql volatile security definer set search_path from current as $$
begin
  if (select max(s.state) from switch s having count(*) = 1) is distinct from 'run' then
    return;
  end if;
  return query
  with next as (
    select r.id from run r
    where r.state in ('running', 'compensating')
      and r.next_at <= clock_timestamp()
      and r.definition = any (p_definitions)
      and (r.owner is null
        or (r.owner = p_worker and r.id <> all (p_active))
        or not exists (select from worker w where w.id = r.owner and w.lease_until > clock_timestamp()))
      and not exists (
        select from hold h where h.released_at is null
          and (h.scope = 'all'
            or (h.scope = 'saga' and h.target = r.saga)
            or (h.scope = 'subject' and h.target = r.subject)
            or (h.scope = 'run' and h.target = r.id::text)))
    order by r.next_at, r.id
    limit p_limit
    for no key update skip locked)
  update run r set epoch = r.epoch + 1, owner = p_worker, claims = r.claims + 1
  from next where r.id = next.id
  returning r.id, r.epoch, r.claims;
end $$;

-- Claims one named run for a caller that drives it itself.
create function claim_run(p_worker uuid, p_run uuid, out epoch bigint, out claims int, out state text)
language plpgsql volatile security definer set search_path from current as $$
begin
  update run r set epoch = r.epoch + 1, owner = p_worker, claims = r.claims + 1
  where r.id = p_run and r.state in ('running', 'compensating')
    and (r.owner is null or r.owner = p_worker
      or not exists (select from worker w where w.id = r.owner and w.lease_until > clock_timestamp()))
  returning r.epoch, r.claims, r.state into epoch, claims, state;
end $$;

-- Gives one run back without counting the claim: nothing was tried, or something wide (a hold, a kill) is in the way.
create function give_back(p_run uuid, p_epoch bigint, p_worker uuid, p_wait_ms bigint) returns void
language sql volatile security definer set search_path from current as $$
  update run set owner = null, claims = greatest(claims - 1, 0),
                 next_at = clock_timestamp() + p_wait_ms * interval '1 millisecond'
  where id = p_run and epoch = p_epoch and owner = p_worker
$$;

-- Hold, kill, release -------------------------------------------------------------------------------------

create function enter_system(
  p_log text, p_statement_ms int, p_lock_ms int, p_idle_ms int,
  out run uuid, out seq bigint, out head bytea, out at text, out switch_no bigint)
language plpgsql volatile security definer set search_path from current as $$
begin
  perform set_limits(p_statement_ms, p_lock_ms, p_idle_ms);
  select s.run, s.seq, s.head into run, seq, head from system_log s where s.name = p_log for no key update;
  select coalesce((select s.switch_no from switch s), 0) into switch_no;
  at := now_text();
end $$;

create function append_system(p_log text, p_seq bigint, p_bytes bytea[]) returns bytea
language plpgsql volatile security definer set search_path from current as $$
declare
  b bytea;
  j jsonb;
  s record;
  n bigint := p_seq;
begin
  select l.run, l.seq, l.head into s from system_log l where l.name = p_log for no key update;
  if s.seq <> p_seq then
    raise exception 'the system log has moved on: %', s.seq using errcode = 'RDR06';
  end if;
  foreach b in array p_bytes loop
    n := n + 1;
    j := convert_from(b, 'UTF8')::jsonb;
    if (j ->> 'seq')::bigint is distinct from n or (j ->> 'run')::uuid is distinct from s.run
       or j ->> 'prev' is distinct from encode(s.head, 'hex') then
      raise exception 'record % does not fit the system log', n using errcode = 'RDR07';
    end if;
    s.head := sha256('\x00'::bytea || b);
    insert into record (run, seq, hash, kind, epoch, switch_no, xid, bytes)
    values (s.run, n, s.head, j ->> 'kind', (j ->> 'epoch')::bigint, (j ->> 'switch_no')::bigint,
            pg_current_xact_id(), b);
    if j #>> '{body,decision_id}' is not null then
      perform use_decision(j -> 'body', s.run, n);
    end if;
  end loop;
  update system_log l set seq = n, head = s.head
   where l.name = p_log and (j is null or (j ->> 'generation')::bigint = (select i.generation from installation i));
  if not found then
    raise exception 'fenced: the ledger is of another generation than this engine' using errcode = 'RDR06';
  end if;
  return s.head;
end $$;

create function put_hold(p_id uuid, p_scope text, p_target text, p_run uuid, p_reason text, p_code text, p_by text)
returns void language sql volatile security definer set search_path from current as $$
  insert into hold (id, scope, target, run, reason, code, by, at)
  values (p_id, p_scope, p_target, p_run, p_reason, p_code, p_by, clock_timestamp())
  on conflict on constraint hold_pkey do nothing
$$;

create function lift_hold(p_id uuid, p_by text) returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  update hold set released_at = clock_timestamp(), released_by = p_by where id = p_id and released_at is null;
  return found;
end $$;

-- Publishes a new state of the switch; the number rises with each kill and each release and is never used again.
-- A missing row is made anew: its number continues after the last one that any record names.
create function publish_switch(p_state text, p_reason text, p_by text, out switch_no bigint)
language plpgsql volatile security definer set search_path from current as $$
begin
  if p_state not in ('run', 'killed', 'frozen') then
    raise exception 'unknown switch state %', p_state using errcode = 'RDG02';
  end if;
  -- The engine's role may stop everything, as a failed phase does; only an operator's session may let it go on.
  if p_state = 'run' and not pg_has_role(session_user, 'redress_operator', 'member') then
    raise exception 'only an operator releases the switch, % is none', session_user using errcode = '42501';
  end if;
  update switch s set state = p_state, switch_no = s.switch_no + 1, reason = p_reason, by = p_by, at = clock_timestamp()
  returning s.switch_no into switch_no;
  if not found then
    insert into switch (state, switch_no, reason, by, at)
    values (p_state, 1 + coalesce((select max(r.switch_no) from record r), 0), p_reason, p_by, clock_timestamp())
    returning switch.switch_no into switch_no;
  end if;
end $$;

-- Returns when every transaction that passed the gate before has ended, or fails with 55P03 at the time limit.
create function drain_gate(p_wait_ms int) returns void
language plpgsql volatile security definer set search_path from current as $$
begin
  perform set_config('lock_timeout', p_wait_ms::text, true);
  lock table gate in exclusive mode;
end $$;

-- Backends that hold the gate now: whom a drain waits for.
create function gate_holders() returns table (pid int, usename text, state text, query text)
language sql stable security definer set search_path from current as $$
  select a.pid, a.usename::text, a.state, left(a.query, 80)
  from pg_locks l join pg_stat_activity a on a.pid = l.pid
  where l.locktype = 'relation' and l.relation = 'gate'::regclass and l.granted
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.mode = 'RowShareLock' and l.pid <> pg_backend_pid()
$$;

-- Coverage ------------------------------------------------------------------------------------------------

-- Relations that this transaction has locked for writing: sees triggers, cascades, TRUNCATE; partitions as their
-- roots; our own tables, indexes, sequences and TOAST are left out.
create function written_relations() returns setof text
language sql volatile set search_path from current as $$
  select distinct format('%s.%s', n.nspname, c.relname)
  from pg_locks l
  join pg_class k on k.oid = l.relation
  join pg_class c on c.oid = coalesce(pg_partition_root(k.oid), k.oid)
  join pg_namespace n on n.oid = c.relnamespace
  where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted
    and l.database = (select d.oid from pg_database d where d.datname = current_database())
    and l.mode in ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock',
                   'ExclusiveLock', 'AccessExclusiveLock')
    and k.relkind not in ('i', 'I', 'S', 't')
    and n.nspname <> current_schema
    and n.nspname not like 'pg\_temp\_%'
$$;

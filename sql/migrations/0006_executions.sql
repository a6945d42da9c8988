-- What people carry out by a runbook: one row an execution. What was done stands in the log; here stands who has it in
-- hands now, and how far it has come.
create table execution (
  id           uuid        not null,
  log          uuid        not null,
  flight       text        not null,
  runbook      text        not null,
  version      int         not null,
  plan         bytea       not null,
  canonical    bytea       not null,
  made_at      timestamptz not null default clock_timestamp(),
  made_by      text        not null,
  state        text        not null default 'planned',
  done         int         not null default 0,
  token        bigint      not null default 0,
  owner        uuid,
  owner_name   text,
  taken_at     timestamptz,
  lease_until  timestamptz not null default '-infinity',
  constraint execution_pkey primary key (id),
  constraint execution_plan_is_of_its_bytes check (plan = sha256(canonical)),
  constraint execution_state_is_known check (state in ('planned', 'begun', 'done', 'unproven', 'refused', 'abandoned')),
  constraint execution_done_is_counted check (done >= 0),
  constraint execution_owner_is_whole check ((owner is null) = (owner_name is null))
);

-- Two people cannot carry out runbooks on one run at once, or one runbook that is about no run.
create unique index flight_has_one_execution on execution (flight) where state = 'begun';
create index execution_is_listed_by_log on execution (log, made_at);

create function put_execution(
  p_id uuid, p_log uuid, p_flight text, p_runbook text, p_version int, p_plan bytea, p_canonical bytea, p_by text)
returns void language sql volatile security definer set search_path from current as $$
  insert into execution (id, log, flight, runbook, version, plan, canonical, made_by)
  values (p_id, p_log, p_flight, p_runbook, p_version, p_plan, p_canonical, p_by)
$$;

-- Takes an execution in hands, unless somebody else has it: a new token fences whoever had it before.
create function take_execution(p_id uuid, p_owner uuid, p_name text, p_lease_ms bigint, out token bigint)
language plpgsql volatile security definer set search_path from current as $$
begin
  update execution e
     set owner = p_owner, owner_name = p_name, token = e.token + 1,
         taken_at = case when e.owner = p_owner then e.taken_at else clock_timestamp() end,
         lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
   where e.id = p_id and (e.owner is null or e.owner = p_owner or e.lease_until < clock_timestamp())
  returning e.token into take_execution.token;
end $$;

create function beat_execution(p_id uuid, p_token bigint, p_lease_ms bigint) returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  update execution set lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
   where id = p_id and token = p_token and owner is not null;
  return found;
end $$;

create function leave_execution(p_id uuid, p_token bigint) returns void
language sql volatile security definer set search_path from current as $$
  update execution set owner = null, owner_name = null, lease_until = '-infinity' where id = p_id and token = p_token
$$;

-- Moves an execution inside the transaction of its record; false when somebody else has it, or it was elsewhere.
create function move_execution(p_id uuid, p_token bigint, p_was text, p_done_was int, p_state text, p_done int)
returns boolean language plpgsql volatile security definer set search_path from current as $$
begin
  update execution set state = p_state, done = p_done
   where id = p_id and token = p_token and state = p_was and done = p_done_was
     and p_done between p_done_was and p_done_was + 1;
  return found;
end $$;

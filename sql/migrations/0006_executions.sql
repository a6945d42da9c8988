-- How an execution of a runbook is stored, taken in hands and moved on.

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

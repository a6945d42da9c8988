-- Who hears of records, and how far each has come: kept here, so that a restart loses nothing.
create table subscriber (
  name         text        not null,
  position     text        not null,
  owner        uuid,
  lease_until  timestamptz not null default '-infinity',
  constraint subscriber_pkey primary key (name),
  constraint subscriber_name_is_bounded check (octet_length(name) between 1 and 200)
);

-- One process at a time delivers under a name. A new name begins with what is recorded from now on.
create function take_subscriber(p_name text, p_owner uuid, p_lease_ms bigint, out taken boolean, out "position" text)
language plpgsql volatile security definer set search_path from current as $$
begin
  insert into subscriber (name, position) values (p_name, pg_current_snapshot()::text)
  on conflict on constraint subscriber_pkey do nothing;
  update subscriber s
     set owner = p_owner, lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
   where s.name = p_name and (s.owner is null or s.owner = p_owner or s.lease_until < clock_timestamp())
  returning true, s.position into taken, "position";
  taken := coalesce(taken, false);
end $$;

create function keep_position(p_name text, p_owner uuid, p_position text) returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  update subscriber set position = p_position where name = p_name and owner = p_owner;
  return found;
end $$;

create function leave_subscriber(p_name text, p_owner uuid) returns void
language sql volatile security definer set search_path from current as $$
  update subscriber set owner = null, lease_until = '-infinity' where name = p_name and owner = p_owner
$$;

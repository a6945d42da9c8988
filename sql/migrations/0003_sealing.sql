-- The sealed ledger: which record stands at which position of the log, what was signed, and who may go on.

-- Positions are dense from 0 in each generation. Append-only.
create table leaf (
  generation  bigint not null,
  position    bigint not null,
  run         uuid   not null,
  seq         bigint not null,
  hash        bytea  not null,
  constraint leaf_pkey primary key (generation, position),
  constraint leaf_stands_once unique (run, seq, generation),
  constraint leaf_position_is_not_negative check (position >= 0)
);

-- Every head that was signed: `note` is the checkpoint, byte for byte. Append-only.
create table checkpoint (
  generation  bigint      not null,
  size        bigint      not null,
  root        bytea       not null,
  note        bytea       not null,
  made_at     timestamptz not null default clock_timestamp(),
  constraint checkpoint_pkey primary key (generation, size),
  constraint checkpoint_root_is_a_hash check (octet_length(root) = 32)
);

-- The head of the log and who extends it. `edge` is the right edge of the tree. What was sealed is told by a snapshot:
-- transactions below `seen_below` that are not in `in_flight`.
create table sealer (
  one          boolean     not null default true,
  generation   bigint      not null default 1,
  size         bigint      not null default 0,
  root         bytea       not null default sha256(''),
  edge         bytea       not null default '',
  seen_below   xid8        not null default '0',
  in_flight    xid8[]      not null default '{}',
  fence        bigint      not null default 0,
  owner        uuid,
  name         text,
  lease_until  timestamptz not null default '-infinity',
  constraint sealer_pkey primary key (one),
  constraint sealer_is_one_row check (one),
  constraint sealer_size_is_not_negative check (size >= 0)
);
insert into sealer default values;

-- New records are found by their transaction: never by "numbers above the last one", which are not in commit order.
create index record_is_sealed_by_xid on record (xid);

-- Erases a blob and its salt, in the transaction that records the root's decision. False when it is not there.
create function erase_blob(p_id uuid) returns boolean
language plpgsql volatile security definer set search_path from current as $$
begin
  delete from blob where id = p_id;
  if not found then
    -- Its content lies in the archive, where people remove it; no export takes it up again.
    delete from archived_blob where id = p_id;
  end if;
  return found;
end $$;

-- Continues the ledger as the next generation, on this server: the keyring begins anew, and so does the log.
-- The decision stands in the record that follows in this transaction; without it nothing goes on. Whoever still writes
-- for the old generation has committed, or will be refused: what is carried into the new log is all that there is.
-- Returns the head of the old log.
create function open_generation(p_generation bigint, p_keys uuid, out size bigint, out root bytea)
language plpgsql volatile security definer set search_path from current as $$
begin
  lock table record in share row exclusive mode;
  update installation i
     set generation = p_generation, system_identifier = (select c.system_identifier::text from pg_control_system() c)
   where i.generation = p_generation - 1;
  if not found then
    raise exception 'generation % does not follow this one', p_generation using errcode = 'RDS03';
  end if;
  update system_log set name = 'keys/' || p_generation - 1 where name = 'keys';
  insert into system_log (name, run, seq, head) values ('keys', p_keys, 0, decode(repeat('00', 32), 'hex'));
  select s.size, s.root into size, root from sealer s for no key update;
  update sealer s
     set generation = p_generation, size = 0, root = sha256(''), edge = '', seen_below = '0', in_flight = '{}',
         fence = s.fence + 1, owner = null, lease_until = '-infinity';
end $$;

-- Gives what the old log had not sealed its places behind what it had, in the transaction that opens the next generation
-- (generation, leaves that are there): nobody signed these places but the root, in the record that opens it.
create function end_log(p_generation bigint, p_size bigint, p_runs uuid[], p_seqs bigint[], p_hashes bytea[])
returns bigint language plpgsql volatile security definer set search_path from current as $$
declare
  v_size bigint;
begin
  select coalesce(max(l.position) + 1, 0) into v_size from leaf l where l.generation = p_generation;
  if v_size <> p_size or not exists (
    select from installation i, sealer s, system_log k
    where i.generation = p_generation + 1 and s.generation = p_generation + 1 and s.size = 0
      and k.name = 'keys' and k.seq = 0) then
    raise exception 'the log of generation % goes on elsewhere than behind %', p_generation, p_size using errcode = 'RDS02';
  end if;
  insert into leaf (generation, position, run, seq, hash)
  select p_generation, p_size + u.n - 1, u.run, u.seq, u.hash
  from unnest(p_runs, p_seqs, p_hashes) with ordinality u (run, seq, hash, n);
  return p_size + cardinality(p_runs);
end $$;

-- Takes or renews the lease of the one active sealer. `taken` is false when another one has it.
create function take_seal(
  p_owner uuid, p_name text, p_lease_ms bigint,
  out taken boolean, out fence bigint, out holder text, out until timestamptz)
language plpgsql volatile security definer set search_path from current as $$
begin
  update sealer s
     set fence = case when s.owner = p_owner then s.fence else s.fence + 1 end,
         owner = p_owner, name = p_name, lease_until = clock_timestamp() + p_lease_ms * interval '1 millisecond'
   where s.owner is null or s.owner = p_owner or s.lease_until < clock_timestamp()
  returning true, s.fence, s.name, s.lease_until into taken, fence, holder, until;
  if not found then
    select false, s.fence, s.name, s.lease_until into taken, fence, holder, until from sealer s;
  end if;
end $$;

-- Gives the lease back, so that the next sealer needs not wait for it to end.
create function leave_seal(p_owner uuid) returns void
language sql volatile security definer set search_path from current as $$
  update sealer set owner = null, lease_until = '-infinity' where owner = p_owner
$$;

-- Locks the head for one batch: whoever lost the lease is refused here.
create function enter_seal(
  p_fence bigint, p_statement_ms int, p_lock_ms int, p_idle_ms int,
  out generation bigint, out size bigint, out root bytea, out edge bytea, out seen_below text, out in_flight text[])
language plpgsql volatile security definer set search_path from current as $$
declare
  v_fence bigint;
begin
  perform set_limits(p_statement_ms, p_lock_ms, p_idle_ms);
  select s.fence, s.generation, s.size, s.root, s.edge, s.seen_below::text, s.in_flight::text[]
    into v_fence, generation, size, root, edge, seen_below, in_flight
    from sealer s for no key update;
  if v_fence is distinct from p_fence then
    raise exception 'fenced: another sealer has taken over (fence % now, not %)', v_fence, p_fence using errcode = 'RDS01';
  end if;
end $$;

-- Extends the log: positions for these records, the signed head, and what was seen. The fence and the head are repeated
-- in the write.
create function extend_log(
  p_fence bigint, p_generation bigint, p_size bigint, p_root bytea, p_runs uuid[], p_seqs bigint[], p_hashes bytea[],
  p_new_root bytea, p_edge bytea, p_note bytea, p_seen_below text, p_in_flight text[])
returns bigint language plpgsql volatile security definer set search_path from current as $$
declare
  v_size bigint := p_size + cardinality(p_runs);
begin
  update sealer s
     set size = v_size, root = p_new_root, edge = p_edge, seen_below = p_seen_below::xid8,
         in_flight = p_in_flight::xid8[]
   where s.fence = p_fence and s.generation = p_generation and s.size = p_size and s.root = p_root;
  if not found then
    raise exception 'the head of the log is another one than % with this root', p_size using errcode = 'RDS02';
  end if;
  if v_size > p_size then
    insert into leaf (generation, position, run, seq, hash)
    select p_generation, p_size + u.n - 1, u.run, u.seq, u.hash
    from unnest(p_runs, p_seqs, p_hashes) with ordinality u (run, seq, hash, n);
    insert into checkpoint (generation, size, root, note) values (p_generation, v_size, p_new_root, p_note);
  end if;
  return v_size;
end $$;

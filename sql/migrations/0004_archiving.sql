-- Ended runs leave the hot tables: their records keep their places in the signed log, an archive holds their bytes, and
-- what stays here is what nobody may forget: the key that was used, how the run ended, and by which decision it left.

create table archived_run (
  run         uuid         not null,
  generation  bigint       not null,
  act_seq     bigint       not null,
  saga        text         not null,
  version     int          not null,
  definition  bytea        not null,
  subject     text,
  key         text         not null,
  input_hash  bytea        not null,
  requester   text         not null,
  opened_at   timestamptz  not null,
  ended_at    timestamptz  not null,
  state       run_state    not null,
  epoch       bigint       not null,
  seq         bigint       not null,
  head        bytea        not null,
  basis_seq   bigint       not null,
  basis       bytea        not null,
  constraint archived_run_pkey primary key (run),
  constraint archived_key_is_used_once unique (saga, key),
  constraint archived_run_has_ended check (state = any ('{completed, compensated, resolved}'::text[]))
);
create index archived_run_is_listed_by_act on archived_run (generation, act_seq);

-- Blobs that only an archive holds; one that is erased there leaves this list.
create table archived_blob (
  id   uuid not null,
  run  uuid not null,
  constraint archived_blob_pkey primary key (id)
);

-- Runs that may leave: they ended before an instant, all that they recorded lies below a position of the signed log, and
-- no hold is in force that they caused or that is on them, and nobody carries out a runbook on them.
create function archivable_runs(p_before timestamptz, p_through bigint) returns setof uuid
language sql stable set search_path from current as $$
  select r.id
  from run r
  where r.state = any ('{completed, compensated, resolved}'::text[]) and r.ended_at < p_before
    and exists (
      select from leaf l
      where l.run = r.id and l.seq = r.seq and l.hash = r.head and l.position < p_through
        and l.generation = (select i.generation from installation i))
    and not exists (
      select from hold h
      where h.released_at is null and (h.run = r.id or (h.scope = 'run' and h.target = r.id::text)))
    and not exists (select from execution e where e.log = r.id and e.state = 'begun')
$$;

-- Takes these runs out, in the transaction that records the root's decision about them. Refused when they are not
-- exactly those that the decision names by their digest.
create function archive_runs(
  p_before timestamptz, p_through bigint, p_digest bytea, p_act_seq bigint,
  out runs bigint, out records bigint)
language plpgsql volatile security definer set search_path from current as $$
declare
  v_generation bigint;
  v_digest bytea;
begin
  select i.generation into v_generation from installation i;
  perform from run r where r.id in (select archivable_runs(p_before, p_through)) order by r.id for update;
  -- Judged again behind the locks.
  insert into archived_run
  select r.id, v_generation, p_act_seq, r.saga, r.version, r.definition, r.subject, r.key, r.input_hash, r.requester,
         r.opened_at, r.ended_at, r.state, r.epoch, r.seq, r.head, r.basis_seq, r.basis
  from run r
  where r.id in (select archivable_runs(p_before, p_through));
  select count(*), sha256(coalesce(string_agg(uuid_send(a.run), ''::bytea order by a.run), ''::bytea))
    into runs, v_digest
    from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq;
  if v_digest is distinct from p_digest then
    raise exception 'the runs are no longer those that were decided about: % may leave now', runs using errcode = 'RDS04';
  end if;
  insert into archived_blob (id, run)
  select b.id, b.run from blob b
  where b.run in (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
  delete from blob b where b.run in
    (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
  delete from record r where r.run in
    (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
  get diagnostics records = row_count;
  delete from plan p where p.run in
    (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
  delete from refusal f where f.run in
    (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
  delete from execution e where e.log in
    (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
  delete from run r where r.id in
    (select a.run from archived_run a where a.generation = v_generation and a.act_seq = p_act_seq);
end $$;

-- What an event trigger keeps from being altered and dropped, by the names that the server gives; refreshed by every
-- migration.
create table guarded (
  type      text not null,
  identity  text not null,
  constraint guarded_pkey primary key (type, identity)
);

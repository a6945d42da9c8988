-- Double-entry postings: accounts and their balances, transactions that never change, metadata with tombstones.
-- Run in one transaction. The word `postings` in front of a name is the schema; the installer may choose another.
create schema postings;

-- Which version of these tables this is. The adapter works with exactly one.
create table postings.storage (
  only_one boolean constraint storage_pkey primary key default true,
  version integer not null,
  constraint storage_is_one_row check (only_one)
);
insert into postings.storage (version) values (1);

create table postings.account (
  address text collate "C" constraint account_pkey primary key,
  opened_at timestamptz not null default clock_timestamp(),
  overdraft boolean not null,
  constraint account_address check (address ~ '^[A-Za-z0-9_-]+(:[A-Za-z0-9_-]+)*$' and length(address) <= 200)
);

-- The balance is input - output; both only grow.
create table postings.balance (
  account text collate "C" not null constraint balance_account references postings.account (address),
  asset text collate "C" not null,
  input numeric(38, 0) not null,
  output numeric(38, 0) not null,
  constraint balance_pkey primary key (account, asset),
  constraint balance_is_not_negative_each_way check (input >= 0 and output >= 0),
  constraint balance_asset check (asset ~ '^[A-Z][A-Z0-9_]{0,30}(/[0-9]{1,2})?$')
);

-- One transaction. `captured` are its postings as they were committed: what a reversal uses.
create table postings.transaction (
  id uuid constraint transaction_pkey primary key,
  run uuid not null,
  phase text not null,
  reference text,
  digest bytea not null,
  reverses uuid constraint transaction_reverses references postings.transaction (id),
  effective_at timestamptz not null,
  recorded_at timestamptz not null default clock_timestamp(),
  forced_by text,
  captured jsonb,
  constraint transaction_reference unique (reference),
  constraint transaction_reversed_once unique (reverses),
  constraint transaction_reverses_another check (reverses <> id),
  constraint transaction_digest check (octet_length(digest) = 32),
  constraint transaction_forced_by_somebody check (forced_by <> '')
);
create index transaction_by_run on postings.transaction (run);

create table postings.posting (
  transaction uuid not null constraint posting_transaction references postings.transaction (id),
  number integer not null,
  source text collate "C" not null constraint posting_source references postings.account (address),
  destination text collate "C" not null constraint posting_destination references postings.account (address),
  asset text collate "C" not null,
  amount numeric(38, 0) not null,
  constraint posting_pkey primary key (transaction, number),
  constraint posting_amount check (amount > 0),
  constraint posting_moves check (source <> destination)
);
create index posting_by_source on postings.posting (source, asset);
create index posting_by_destination on postings.posting (destination, asset);

-- What is known about accounts and transactions. A key that is deleted stays as a tombstone, and its revision grows with
-- each change: a reader that kept an older revision knows that its own is older.
create table postings.metadata (
  kind text not null,
  target text collate "C" not null,
  key text collate "C" not null,
  revision bigint not null,
  value text,
  changed_at timestamptz not null default clock_timestamp(),
  constraint metadata_pkey primary key (kind, target, key),
  constraint metadata_kind check (kind in ('account', 'transaction')),
  constraint metadata_revision check (revision >= 0)
);

-- The signed receipts from which reversals were made.
create table postings.receipt (
  transaction uuid constraint receipt_pkey primary key
    constraint receipt_transaction references postings.transaction (id),
  record_sha256 bytea not null,
  note text not null,
  constraint receipt_record check (octet_length(record_sha256) = 32)
);

-- What people and programs read: live keys only.
create view postings.live_metadata as
  select kind, target, key, revision, value from postings.metadata where value is not null;

create function postings.refuse_change() returns trigger language plpgsql set search_path = pg_catalog as $$
begin
  raise exception '% of % is refused: rows here are only added', tg_op, tg_table_name using errcode = '55000';
end
$$;
create trigger transaction_is_immutable before update or delete on postings.transaction
  for each row execute function postings.refuse_change();
create trigger transaction_is_not_truncated before truncate on postings.transaction
  for each statement execute function postings.refuse_change();
create trigger posting_is_immutable before update or delete on postings.posting
  for each row execute function postings.refuse_change();
create trigger posting_is_not_truncated before truncate on postings.posting
  for each statement execute function postings.refuse_change();
create trigger receipt_is_immutable before update or delete on postings.receipt
  for each row execute function postings.refuse_change();
create trigger receipt_is_not_truncated before truncate on postings.receipt
  for each statement execute function postings.refuse_change();
create trigger metadata_keeps_tombstones before delete on postings.metadata
  for each row execute function postings.refuse_change();
create trigger metadata_is_not_truncated before truncate on postings.metadata
  for each statement execute function postings.refuse_change();
alter table postings.transaction enable always trigger transaction_is_immutable;
alter table postings.transaction enable always trigger transaction_is_not_truncated;
alter table postings.posting enable always trigger posting_is_immutable;
alter table postings.posting enable always trigger posting_is_not_truncated;
alter table postings.receipt enable always trigger receipt_is_immutable;
alter table postings.receipt enable always trigger receipt_is_not_truncated;
alter table postings.metadata enable always trigger metadata_keeps_tombstones;
alter table postings.metadata enable always trigger metadata_is_not_truncated;

-- What is told to the bank: one row for each transfer. A payee that is blocked cannot be settled.
create schema transfer;

create table transfer.blocked (
  account text constraint blocked_pkey primary key
);

create table transfer.settlement (
  run uuid constraint settlement_pkey primary key,
  transaction uuid not null constraint settlement_transaction unique,
  reference text not null,
  payee text not null,
  state text not null default 'announced',
  constraint settlement_state check (state in ('announced', 'withdrawn'))
);
insert into transfer.blocked (account) values ('users:mallory');

create schema bank;
create table bank.account (name text primary key, balance bigint not null);
insert into bank.account select 'a' || n, 1000 from generate_series(0, 31) n;
-- No unique constraint: a doubled effect must show, not be refused.
create table bank.effect (
  run uuid not null, phase text not null, way text not null, xid xid8 not null default pg_current_xact_id());
create index on bank.effect (run);
create table bank.verdict (run uuid not null, refused boolean not null, constraint verdict_is_not_refused check (not refused));

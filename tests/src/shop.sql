create schema shop;
create table shop.stock (sku text primary key, left_over int not null, constraint stock_is_not_negative check (left_over >= 0));
insert into shop.stock values ('tea', 1000000), ('cup', 1);
create table shop.reservation (
  id uuid primary key default gen_random_uuid(), run uuid not null, sku text not null, qty int not null,
  state text not null default 'live', constraint reservation_state check (state in ('live', 'withdrawn', 'shipped')));
create table shop.invoice (
  id uuid primary key default gen_random_uuid(), run uuid not null, amount numeric(12,2) not null,
  state text not null default 'open');
create table shop.dispatch (run uuid primary key, note text not null);

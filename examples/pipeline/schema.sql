-- When an environment may be announced, and what was.
create schema pipeline;

create table pipeline.change_window (
  environment text not null,
  open boolean not null default true,
  constraint change_window_pkey primary key (environment));

create table pipeline.announcement (
  id bigint generated always as identity,
  run uuid not null,
  environment text not null,
  version text not null,
  state text not null default 'live',
  constraint announcement_pkey primary key (id),
  constraint announcement_window foreign key (environment) references pipeline.change_window,
  constraint announcement_state check (state in ('live', 'withdrawn')));

-- A run that went back announces again.
create unique index announcement_once on pipeline.announcement (run) where state = 'live';

insert into pipeline.change_window values ('staging', true);

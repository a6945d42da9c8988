-- When an environment may be announced, and what was.
create schema pipeline;

create table pipeline.change_window (
  environment text not null,
  open boolean not null default true,
  constraint change_window_pkey primary key (environment));

create table pipeline.announcement (
  run uuid not null,
  environment text not null,
  version text not null,
  state text not null default 'live',
  constraint announcement_pkey primary key (run),
  constraint announcement_window foreign key (environment) references pipeline.change_window,
  constraint announcement_state check (state in ('live', 'withdrawn')));

insert into pipeline.change_window values ('staging', true);

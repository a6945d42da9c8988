-- What the team releases: which lock file is in force, one live row a project.
create schema lockfile;

create table lockfile.release (
  run uuid not null,
  project text not null,
  version text not null,
  lock_sha256 text not null,
  state text not null default 'live',
  constraint release_pkey primary key (run),
  constraint release_state check (state in ('live', 'withdrawn')),
  -- Versions 0.x are not released.
  constraint release_version check (version !~ '^0[.]'));

create unique index release_once on lockfile.release (project, version) where state = 'live';

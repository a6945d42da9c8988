//! The adapters `sql` and `backup` against a real server: what they refuse before a run, and what they do in one.

mod bounds;
mod locks;
mod restore;
mod runs;
mod survey;

use redress::definition::Definition;
use serde_json::{Value, json};

/// Tables of every kind that matters to the proof, each with what makes it so.
pub const KINDS: &str = "
    create schema k;
    create function k.writes(int) returns int language plpgsql as
      $$begin insert into k.secret values ($1); return $1; end$$;
    create function k.claims_to_be_pure(int) returns int language sql immutable as 'select 1';
    create function k.total(k_row anyelement) returns int language sql as 'select 1';
    create function k.same(int, int) returns bool language sql as 'select true';
    create operator public.@@@ (leftarg = int, rightarg = int, function = k.same);
    create procedure k.procedure() language sql as 'select 1';
    create function k.fires() returns trigger language plpgsql as
      $$begin insert into k.secret values (1); return new; end$$;
    create table k.secret (id int);
    create table k.plain (id int, t text default gen_random_uuid()::text, n int generated always as (id * 2) stored);
    create table k.unlisted (id int);
    create table k.fired (id int);
    create trigger fires before insert on k.fired for each row execute function k.fires();
    create table k.parent (id int primary key);
    create table k.referring (id int references k.parent);
    create table k.defaulted (id int, x int default k.writes(1));
    create table k.checked (id int check (k.writes(id) > 0));
    create table k.indexed (id int);
    create index on k.indexed ((k.claims_to_be_pure(id)));
    create table k.well_indexed (id int, t text);
    create index on k.well_indexed (lower(t)) where id > 0;
    create domain k.strict as text check (k.writes(length(value)) > 0);
    create domain k.mild as text check (length(value) > 0);
    create domain k.milder as k.mild;
    create type k.pair as (x int, s k.strict);
    create type k.mood as enum ('well', 'ill');
    create type k.span as range (subtype = float8);
    create table k.with_domain (id int, s k.strict);
    create table k.with_mild_domains (id int, s k.milder, a k.mild[], m k.mood);
    create table k.with_pair (id int, p k.pair);
    create table k.with_span (id int, s k.span);
    create table k.partitioned (id int) partition by range (id);
    create table k.part partition of k.partitioned for values from (0) to (100);
    create table k.inherited (id int);
    create table k.heir () inherits (k.inherited);
    create table k.ruled (id int);
    create rule also as on insert to k.ruled do also select 1;
    create table k.secured (id int);
    alter table k.secured enable row level security;
    create view k.view as select id from k.plain;
";

/// A saga of these phases, exclusive over nothing, its input open.
pub fn saga(phases: Value) -> Definition {
    let saga = json!({
        "saga": "try", "version": 1, "description": "", "input": {"type": "object"},
        "authority": {"soft_revert": "auto", "restore": "auto", "discard": "auto"}, "phases": phases,
    });
    serde_json::from_value(saga).expect("a definition")
}

/// One phase of the `sql` adapter, tried once.
pub fn phase(name: &str, writes: &[&str], compensation: &str, with: Value) -> Value {
    json!({"name": name, "adapter": "sql", "writes": writes, "residue": writes, "compensation": compensation,
           "retry": {"attempts": 1}, "with": with})
}

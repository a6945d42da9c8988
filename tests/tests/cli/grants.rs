//! `saga grants`: the script is enough for the saga, and nothing of it can be left out.

use std::collections::BTreeSet;

use crate::kit::Kit;

const TABLES: &str = "
create schema g; create schema g_fn;
create table g.item (id serial primary key, n int not null, state text not null default 'live');
create table g.source (id int primary key, n int not null);
create table g.stock (id int primary key, n int not null);
create table g.held (id int primary key);
create table g.gone (id int primary key);
create table g.audit (note text);
create table g.behind (id int primary key);
create view g.\"Odd view\" as select id from g.behind;
create table g.parted (id int) partition by range (id);
create table g.part partition of g.parted for values from (0) to (100);
create function g_fn.twice(n int) returns int language sql security definer set search_path = pg_catalog as 'select 2 * n';
revoke execute on function g_fn.twice(int) from public;
insert into g.source values (1, 5); insert into g.stock values (1, 10); insert into g.held values (1); insert into g.gone values (1), (2);
insert into g.behind values (1);";

const SAGA: &str = r#"
saga: granted
version: 1
input: {type: object}
authority: {soft_revert: auto}
snapshot:
  - {name: held, sql: select count(*) from g.held, role: ROLE}
phases:
  - name: work
    adapter: sql
    writes: [g.item, g.stock, g.gone, g.audit, g.parted]
    locks: [g.held]
    residue: [g.item, g.stock, g.gone, g.audit, g.parted]
    role: ROLE
    compensation: soft_revert
    retry: {attempts: 1}
    with:
      apply:
        - sql: insert into g.item (n) select g_fn.twice(s.n) from g.source as s returning id
          as: made
        - {sql: "insert into g.audit (note) values ('made')", rows: 1}
        - {sql: "insert into g.stock (id, n) values (1, 1) on conflict (id) do update set n = g.stock.n - 1"}
        - {sql: select id from g.held for update}
        - {sql: delete from g.gone where id = 1}
        - {sql: 'select id from g."Odd view"'}
        - {sql: insert into g.parted values (5)}
      guard:
        - {sql: "select state = 'live' from g.item where id = $1 for update", params: [/phases/work/made/0/id]}
      revert:
        - {sql: "update g.item set state = 'withdrawn' where id = $1", params: [/phases/work/made/0/id], rows: 1}
  - name: last
    adapter: sql
    retry: {attempts: 1}
    with:
      verify: [{sql: "select not ($1::jsonb ->> 'fail')::boolean", params: [/input]}]
"#;

/// Installed, with a fresh role that has no right at all; gives the grants of the script.
fn granted(kit: &Kit, role: &str) -> Vec<String> {
    kit.database.query_text(TABLES);
    kit.database.query_text(&format!("create role {role}"));
    let file = kit.write("granted.yaml", SAGA.replace("ROLE", role).as_bytes());
    // The role has no right yet: statements are judged under it when they are registered, so it gets them first.
    let all = format!(
        "grant usage on schema g, g_fn to {role}; grant all on all tables in schema g to {role};
         grant all on all sequences in schema g to {role}; grant execute on function g_fn.twice(int) to {role}"
    );
    kit.database.query_text(&all);
    kit.ok(&["saga", "register", &file]);
    kit.database
        .query_text(&all.replace("grant", "revoke").replace(" to ", " from "));
    let script = kit.ok(&["saga", "grants", "granted"]).out;
    let lines = script.lines().filter(|line| line.starts_with("grant "));
    lines.map(str::to_owned).collect()
}

/// Every single right of a script, one statement each.
fn single(grants: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for grant in grants {
        let (rights, rest) = grant
            .strip_prefix("grant ")
            .and_then(|g| g.split_once(" on "))
            .expect("a grant");
        all.extend(
            rights
                .split(", ")
                .map(|right| format!("grant {right} on {rest}")),
        );
    }
    all
}

fn starts(kit: &Kit, input: &str) -> (i32, String) {
    let ran = kit.run(&["start", "granted", "--input", input, "--wait", "--json"]);
    (ran.exit, format!("{}{}", ran.out, ran.err))
}

#[test]
fn the_script_of_grants_is_enough_and_each_of_it_is_needed() {
    let kit = Kit::new();
    let role = format!("holder_{}", std::process::id());
    let grants = granted(&kit, &role);
    let singles = single(&grants);
    let apply = |statements: &[String]| kit.database.query_text(&statements.join("\n"));
    let revoke = |statement: &str| {
        let statement = statement
            .replacen("grant ", "revoke ", 1)
            .replace(" to ", " from ");
        kit.database.query_text(&statement)
    };
    assert!(
        !grants
            .iter()
            .any(|g| g.contains("g.behind") || g.contains("g.part ")),
        "{grants:?}"
    );
    apply(&grants);
    // Forward, and back: a run that completes, one that is compensated.
    assert_eq!(starts(&kit, r#"{"fail": false}"#).0, 0, "{grants:#?}");
    assert_eq!(starts(&kit, r#"{"fail": true}"#).0, 1);
    assert_eq!(
        kit.database
            .query_text("select count(*) from g.item where state = 'withdrawn'"),
        "1"
    );
    let mut needless = BTreeSet::new();
    for left_out in &singles {
        revoke(left_out);
        let (exit, said) = starts(&kit, r#"{"fail": true}"#);
        let denied = said.contains("permission denied");
        if exit == 1 && !denied {
            needless.insert(left_out);
        }
        apply(std::slice::from_ref(left_out));
    }
    assert!(needless.is_empty(), "granted and not needed: {needless:?}");
    kit.database
        .query_text(&format!("drop owned by {role}; drop role {role}"));
}

#[test]
fn a_saga_without_roles_needs_no_grants() {
    let kit = Kit::shop();
    let value = kit.json(&["saga", "grants", "shop"], 0);
    assert_eq!(value["roles"], serde_json::json!([]));
    assert_eq!(
        value["without_role"],
        serde_json::json!(["reserve", "book"])
    );
    kit.refused(&["saga", "grants", "nobody"], 4, "RD0191");
}

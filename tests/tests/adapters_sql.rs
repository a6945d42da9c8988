//! The adapters `sql` and `backup` against a real server: what they refuse before a run, and what they do in one.

use std::sync::{Arc, Mutex};

use redress::adapter::{Adapter, AdapterError, Applied, Call, Coverage, Finding, Survey};
use redress::definition::{Definition, Phase};
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use redress::{Engine, Outcome};
use redress_adapters::backup::read_artefact;
use redress_adapters::sql::SqlAdapter;
use redress_tests::Lab;
use serde_json::{Map, Value, json};

/// Tables of every kind that matters to the proof, each with what makes it so.
const KINDS: &str = "
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

/// The sql adapter under its own name, remembering what its survey said.
#[derive(Default)]
struct Overheard {
    inner: SqlAdapter,
    coverage: Mutex<Vec<Coverage>>,
}

#[async_trait::async_trait]
impl Adapter for Overheard {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        self.inner.check(phase)
    }

    async fn survey(&self, tx: &PhaseTx<'_>, phase: &Phase) -> Result<Survey, AdapterError> {
        let survey = self.inner.survey(tx, phase).await?;
        self.coverage
            .lock()
            .expect("no test panics while it holds this")
            .push(survey.coverage.clone());
        Ok(survey)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        self.inner.apply(tx, call).await
    }

    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        self.inner.guard(tx, call, action).await
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        self.inner.revert(tx, call, action).await
    }
}

/// A saga of these phases, exclusive over nothing, its input open.
fn saga(phases: Value) -> Definition {
    let saga = json!({
        "saga": "try", "version": 1, "description": "", "input": {"type": "object"},
        "authority": {"soft_revert": "auto", "restore": "auto", "discard": "auto"}, "phases": phases,
    });
    serde_json::from_value(saga).expect("a definition")
}

fn phase(name: &str, writes: &[&str], compensation: &str, with: Value) -> Value {
    json!({"name": name, "adapter": "sql", "writes": writes, "residue": writes, "compensation": compensation,
           "retry": {"attempts": 1}, "with": with})
}

async fn findings(engine: &Engine, phases: Value) -> Vec<(String, &'static str)> {
    let found = engine
        .check_definition(&saga(phases))
        .await
        .expect("the database answers");
    found.into_iter().map(|f| (f.path, f.code)).collect()
}

async fn run(engine: &Engine, phases: Value, input: Value) -> Outcome {
    engine
        .register(&saga(phases))
        .await
        .expect("a sound definition");
    let start = engine.start("try", input);
    engine.start_and_drive(start).await.expect("driven").1
}

/// P-coverage, the static layer: exact where nothing but the plans can write, and never claimed elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn plans_prove_what_is_written_only_where_nothing_else_can_write() {
    let lab = Lab::new().await;
    lab.sql(KINDS);
    let overheard = Arc::new(Overheard::default());
    let engine = lab
        .engine_with(Arc::clone(&overheard) as Arc<dyn Adapter>)
        .await;
    let tables = lab.sql("select string_agg(format('k.%s', relname), ',') from pg_class where relnamespace = 'k'::regnamespace and relkind in ('r', 'p') and relname <> 'unlisted'");
    let writes: Vec<&str> = tables.split(',').collect();
    let cases = [
        ("insert into k.plain (id) values (1)", true),
        (
            "update k.plain set t = lower(t) where id in (select id from k.referring)",
            true,
        ),
        (
            "with d as (delete from k.plain returning id) insert into k.well_indexed (id) select id from d",
            true,
        ),
        (
            "merge into k.plain p using k.parent q on p.id = q.id when matched then delete",
            true,
        ),
        (
            "insert into k.well_indexed (id, t) values (1, 'a') on conflict do nothing",
            true,
        ),
        (
            "insert into k.with_mild_domains values (1, 'a', '{b}', 'well')",
            true,
        ),
        ("insert into k.fired values (1)", false),
        ("insert into k.parent values (1)", false),
        ("insert into k.referring values (1)", false),
        ("insert into k.defaulted (id) values (1)", false),
        ("insert into k.checked (id) values (1)", false),
        ("insert into k.indexed (id) values (1)", false),
        ("insert into k.with_domain (id) values (1)", false),
        ("insert into k.with_pair (id) values (1)", false),
        ("insert into k.with_span (id) values (1)", false),
        ("insert into k.partitioned values (1)", false),
        ("insert into k.part values (1)", false),
        ("insert into k.inherited values (1)", false),
        ("insert into k.ruled values (1)", false),
        ("insert into k.secured values (1)", false),
        ("select k.writes(1)", false),
        ("select \"k\".\"writes\" (1)", false),
        ("select k . /* */ writes (1)", false),
        ("select 'x'::k.strict", false),
        ("select 1 @@@ 1", false),
        ("select id from k.view", false),
        ("select p.total from k.plain p", false),
        ("select set_config('search_path', 'k', true)", false),
        (
            "select query_to_xml('select k.writes(1)', true, true, '')",
            false,
        ),
        ("select lo_create(0)", false),
        ("select U&'k\\0000'", false),
        ("truncate k.plain", false),
        ("call k.procedure()", false),
        ("do $$begin end$$", false),
    ];
    for (statement, proven) in cases {
        // Refused by the server itself, which is as good as not proven.
        let phases = json!([phase(
            "p",
            &writes,
            "none",
            json!({"apply": [{"sql": statement}]})
        )]);
        let found = findings(&engine, phases).await;
        let heard = std::mem::take(&mut *overheard.coverage.lock().expect("not poisoned"));
        let is_proven = matches!(heard.as_slice(), [Coverage::Proven(_)]) && found.is_empty();
        assert_eq!(is_proven, proven, "{statement} {found:?}");
    }
}

/// What only the database can say is said before a run, with place and code.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_is_found_with_its_place() {
    let lab = Lab::new().await;
    lab.sql(KINDS);
    let engine = lab.engine().await;
    let insert = json!([{"sql": "insert into k.plain (id) values (1)"}]);
    let cases: Vec<(Value, &[(&str, &str)])> = vec![
        (
            json!({"apply": insert, "guard": [{"sql": "select id > 0 from k.plain for update"}]}),
            &[],
        ),
        (
            json!({"apply": [{"sql": "insert into k.unlisted values (1)"}]}),
            &[("/apply/0/sql", "RD0302")],
        ),
        (
            json!({"apply": [{"sql": "with d as (delete from k.unlisted returning id) insert into k.plain (id) select id from d"}]}),
            &[("/apply/0/sql", "RD0302")],
        ),
        (
            json!({"apply": insert, "revert": [{"sql": "delete from k.unlisted"}]}),
            &[("/revert/0/sql", "RD0302")],
        ),
        (
            json!({"apply": [{"sql": "insert into k.nowhere values (1)"}]}),
            &[("/apply/0/sql", "RD0140")],
        ),
        (
            json!({"apply": [{"sql": "insert into k.plain (id) values (1); commit"}]}),
            &[("/apply/0/sql", "RD0140")],
        ),
        (
            json!({"apply": [{"sql": "selec 1"}]}),
            &[("/apply/0/sql", "RD0140")],
        ),
        (
            json!({"apply": [{"sql": "select $1::int"}]}),
            &[("/apply/0/sql", "RD0141")],
        ),
        (
            json!({"apply": [{"sql": "select array[1] as a", "as": "x"}]}),
            &[("/apply/0/sql", "RD0142")],
        ),
        (
            json!({"apply": [{"sql": "select 1 as a, 2 as a", "as": "x"}]}),
            &[("/apply/0/sql", "RD0142")],
        ),
        (
            json!({"apply": [{"sql": "update k.plain set t = 'x'", "as": "x"}]}),
            &[("/apply/0/sql", "RD0142")],
        ),
        (
            json!({"apply": insert, "verify": [{"sql": "select 1"}]}),
            &[("/verify/0/sql", "RD0144")],
        ),
        (
            json!({"apply": insert, "guard": [{"sql": "select id > 0 from k.plain"}]}),
            &[("/guard/0/sql", "RD0143")],
        ),
        (
            json!({"apply": insert, "guard": [{"sql": "select id > 0 from k.plain for key share"}]}),
            &[("/guard/0/sql", "RD0143")],
        ),
        (
            json!({"apply": insert, "guard": [{"sql": "select id > 0 from k.plain for update skip locked"}]}),
            &[("/guard/0/sql", "RD0143")],
        ),
        (
            json!({"apply": insert, "guard": [{"sql": "update k.plain set t = 'x' returning true"}]}),
            &[("/guard/0/sql", "RD0145"), ("/guard/0/sql", "RD0143")],
        ),
    ];
    for (with, expected) in cases {
        let phases = json!([phase("p", &["k.plain"], "none", with.clone())]);
        let expected: Vec<(String, &str)> = expected
            .iter()
            .map(|(path, code)| (format!("/phases/0/with{path}"), *code))
            .collect();
        assert_eq!(findings(&engine, phases).await, expected, "{with}");
    }
    // A right that is missing is found; what a statement's own constants do is the run's business.
    lab.sql("create role helpless; grant usage on schema k to helpless");
    let mut phases = json!([phase(
        "p",
        &["k.plain"],
        "none",
        json!({"apply": insert, "verify": insert})
    )]);
    phases[0]["with"]["verify"][0]["sql"] = json!("select true from k.plain");
    phases[0]["role"] = json!("helpless");
    let denied =
        ["/apply/0/sql", "/verify/0/sql"].map(|path| (format!("/phases/0/with{path}"), "RD0140"));
    assert_eq!(findings(&engine, phases).await, denied);
    let with = json!({"apply": [{"sql": "select 1 / 0"}]});
    assert_eq!(
        findings(&engine, json!([phase("p", &[], "none", with)])).await,
        []
    );
    // A lock in a branch that NULL parameters would fold away counts.
    let hidden = "select coalesce((select bool_and(s.t <> 'x') from (select t from k.plain where id = $1 for update) s), true)";
    let with = json!({"apply": insert, "guard": [{"sql": hidden, "params": ["/input/id"]}]});
    assert_eq!(
        findings(&engine, json!([phase("p", &["k.plain"], "none", with)])).await,
        []
    );
    let backup = |sql: &str| {
        json!([{"name": "p", "adapter": "backup", "writes": [], "compensation": "none",
                "with": {"rows": [{"name": "a", "sql": sql}]}}])
    };
    assert_eq!(
        findings(&engine, backup("select id, t from k.plain order by id")).await,
        []
    );
    let found = findings(&engine, backup("delete from k.plain returning id")).await;
    assert_eq!(found, [("/phases/0/with/rows/0/sql".to_owned(), "RD0145")]);
}

/// A statement reads what earlier ones kept; a restore puts back what was captured.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_puts_back_what_was_captured_before_the_phase() {
    let lab = Lab::new().await;
    lab.sql(
        "create schema a; create table a.item (id int primary key, price numeric(9,2), note text);
             create table a.log (item int, run uuid);
             insert into a.item values (1, 9.50, null), (2, 1, 'x'), (3, 7, 'y')",
    );
    let engine = lab.engine().await;
    let change = phase(
        "change",
        &["a.item", "a.log"],
        "restore",
        json!({
            "capture": [{"sql": "select id, price, note from a.item where id < 3 order by id for update", "as": "was"}],
            "apply": [
                {"sql": "update a.item set price = $1, note = 'new' where id < 3 returning id", "params": ["/input/price"],
                 "rows": {"min": 1, "max": 2}, "as": "changed"},
                {"sql": "insert into a.log values ($1, $2)", "params": ["/phases/change/changed/1/id", "/run/id"], "rows": 1},
                {"sql": "insert into a.log values ($1, $2)", "params": ["/undo/capture/was/0/id", "/run/id"], "rows": 1},
            ],
            "verify": [{"sql": "select price is not null from a.item where id = $1",
                        "params": ["/phases/change/changed/0/id"], "rows": 1}],
            "guard": [{"sql": "select note = 'new' from a.item where id < 3 for update", "rows": 2}],
            "revert": [{"sql": "update a.item i set price = w.price, note = w.note \
                                from jsonb_to_recordset($1) as w (id int, price numeric, note text) where w.id = i.id",
                        "params": ["/undo/capture/was"], "rows": 2}],
        }),
    );
    let fail = phase(
        "fail",
        &["a.log"],
        "none",
        json!({"apply": [{"sql": "insert into a.log select 1 / (price * 0), null from a.item"}]}),
    );
    let outcome = run(&engine, json!([change, fail]), json!({"price": 12})).await;
    let Outcome::Compensated(run) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        lab.sql("select * from a.item order by id"),
        "1|9.50|\n2|1.00|x\n3|7.00|y"
    );
    assert_eq!(lab.sql("select item from a.log order by 1"), "1\n2");
    let body = lab.sql(&format!(
        "select convert_from(bytes, 'UTF8')::jsonb #>> '{{body,touched}}' from redress.record where run = '{}' and kind = 'phase.committed'",
        run.id
    ));
    assert_eq!(body, r#"{"a.log": 2, "a.item": 2}"#);
}

/// Statements leave together; what is reported is the first that was wrong, not the echo of the transaction's death.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_wrong_statement_of_a_flight_is_the_one_reported() {
    let insert = json!({"sql": "insert into a.item values ($1)", "params": ["/input/id"]});
    let cases = [
        (
            json!({"apply": [{"sql": "delete from a.item where id = -1", "rows": 1}, {"sql": "select 1 / 0"}]}),
            "RD0312",
            "apply 1 touched 0 rows, expected 1",
        ),
        (
            json!({"apply": [insert, insert, {"sql": "select 1 / 0"}]}),
            "RD0303",
            "apply 2: duplicate key",
        ),
        (
            json!({"apply": [insert, {"sql": "select true", "params": []}], "verify": [{"sql": "select null::bool"}]}),
            "RD0311",
            "verify 1, row 1 is null",
        ),
        (
            json!({"apply": [insert], "verify": [{"sql": "select x from unnest(array[true, false]) x"}]}),
            "RD0311",
            "verify 1, row 2 is false",
        ),
        (
            json!({"apply": [insert], "verify": [{"sql": "select true where false", "rows": {"min": 1}}]}),
            "RD0311",
            "at least 1",
        ),
        (
            json!({"apply": [insert, {"sql": "select $1::int", "params": ["/input/nothing"]}]}),
            "RD0313",
            "apply 2: nothing stands at /input/nothing",
        ),
    ];
    for (with, code, text) in cases {
        let lab = Lab::new().await;
        lab.sql("create schema a; create table a.item (id int primary key)");
        let outcome = run(
            &lab.engine().await,
            json!([phase("p", &["a.item"], "none", with.clone())]),
            json!({"id": 1}),
        )
        .await;
        let (found, message) = outcome.run().error.clone().expect("the run failed");
        assert!(
            found == code && message.contains(text),
            "{with}: {found} {message}"
        );
        assert_eq!(lab.sql("select count(*) from a.item"), "0", "{with}");
    }
}

/// Coverage beyond the plans: a function that writes, and a trigger that appears after the proof.
#[tokio::test(flavor = "multi_thread")]
async fn an_undeclared_write_is_refused_however_it_is_hidden() {
    let lab = Lab::new().await;
    lab.sql(KINDS);
    let engine = lab.engine().await;
    let hidden = json!([phase(
        "p",
        &["k.plain"],
        "none",
        json!({"apply": [{"sql": "select k.writes(1)"}]})
    )]);
    let outcome = run(&engine, hidden, json!({})).await;
    assert_eq!(outcome.run().error.clone().expect("refused").0, "RD0302");

    let later = Lab::new().await;
    later.sql(KINDS);
    let engine = later.engine().await;
    let plain = json!([phase(
        "p",
        &["k.plain"],
        "none",
        json!({"apply": [{"sql": "insert into k.plain (id) values (1)"}]})
    )]);
    let outcome = run(&engine, plain.clone(), json!({})).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    later.sql(
        "create trigger fires before insert on k.plain for each row execute function k.fires()",
    );
    let outcome = run(&engine, plain, json!({})).await;
    assert_eq!(outcome.run().error.clone().expect("refused").0, "RD0302");
    assert_eq!(
        later.sql("select (select count(*) from k.plain), (select count(*) from k.secret)"),
        "1|0"
    );
}

/// A guard that says no leaves the run to a person and the rows as they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_false_stops_the_revert() {
    let lab = Lab::new().await;
    lab.sql(
        "create schema a; create table a.item (id int, state text); create table a.other (id int)",
    );
    let engine = lab.engine().await;
    let make = phase(
        "make",
        &["a.item"],
        "soft_revert",
        json!({
            "apply": [{"sql": "insert into a.item values (1, 'enacted'), (2, 'draft')"}],
            "guard": [{"sql": "select state = 'draft' from a.item order by id desc for update"}],
            "revert": [{"sql": "update a.item set state = 'withdrawn'"}],
        }),
    );
    let fail = phase(
        "fail",
        &["a.other"],
        "none",
        json!({"apply": [{"sql": "insert into a.other select 1 / count(*) from a.other"}]}),
    );
    let outcome = run(&engine, json!([make, fail]), json!({})).await;
    assert!(
        matches!(outcome, Outcome::Stuck(_) | Outcome::Held(_)),
        "{outcome:?}"
    );
    assert_eq!(
        lab.sql("select state from a.item order by id"),
        "enacted\ndraft"
    );
    let said = lab.sql("select convert_from(bytes, 'UTF8') from redress.record order by seq");
    assert!(
        said.contains("guard refused: guard 1, row 2 is false"),
        "{said}"
    );
}

/// A backup keeps the rows as they are, is found by its hash, and is discarded, not reverted.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_named_by_its_content_and_read_back_by_it() {
    let lab = Lab::new().await;
    lab.sql("create schema a; create table a.item (id int, t text, n numeric, at timestamptz);
             insert into a.item values (1, E'two\nlines', 1.50, '2026-01-02 03:04:05+00'), (2, null, 2, null), (3, 'z', 3, null)");
    let engine = lab.engine().await;
    let phases = json!([
        {"name": "keep", "adapter": "backup", "writes": [], "compensation": "none", "with": {"rows": [
            {"name": "item", "sql": "select id, t, n, at from a.item where id <= $1 order by id", "params": ["/input/upto"]},
            {"name": "count", "sql": "select count(*) as n from a.item"},
        ]}},
        phase("fail", &["a.item"], "none", json!({"apply": [{"sql": "update a.item set id = id / 0"}]})),
    ]);
    let outcome = run(&engine, phases, json!({"upto": 2})).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    let entry = lab.sql("select convert_from(bytes, 'UTF8')::jsonb #>> '{body,output,artefact,0}' from redress.record where kind = 'phase.committed'");
    let entry: Value = serde_json::from_str(&entry).expect("json");
    let hash = entry["sha256"].as_str().expect("a hash");
    let path = lab
        .path("artefacts")
        .join(entry["file"].as_str().expect("a name"));
    let lines = read_artefact(&path, &hash.parse().expect("a hash")).expect("read back");
    let rows: Vec<Value> = lines
        .iter()
        .map(|line| json!([line.name, line.row]))
        .collect();
    let expected = json!([
        ["item", {"id": 1, "t": "two\nlines", "n": "1.50", "at": "2026-01-02 03:04:05+00"}],
        ["item", {"id": 2, "t": null, "n": "2", "at": null}],
        ["count", {"n": "3"}],
    ]);
    assert_eq!(
        (Value::Array(rows), entry["rows"].as_u64()),
        (expected, Some(3))
    );
    assert_eq!(
        std::fs::read_dir(lab.path("artefacts"))
            .expect("a folder")
            .count(),
        1
    );
}

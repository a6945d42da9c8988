//! What is judged before a run: statements, columns, guards, and whether plans prove what is written.

use std::sync::{Arc, Mutex};

use redress::Engine;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Coverage, Finding, Survey};
use redress::definition::Phase;
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use redress_adapters::sql::SqlAdapter;
use redress_tests::Lab;
use serde_json::{Map, Value, json};

use crate::{KINDS, phase, saga};

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

async fn findings(engine: &Engine, phases: Value) -> Vec<(String, &'static str)> {
    let found = engine
        .check_definition(&saga(phases))
        .await
        .expect("the database answers");
    found.into_iter().map(|f| (f.path, f.code)).collect()
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

//! What several promises need: sagas of any length over one table, and adapters that do as they are told.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding};
use redress::alert::AlertSink;
use redress::definition::{Definition, Phase};
use redress::ledger::Hash;
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use redress::{Engine, Error, Outcome, RunRow};
use redress_tests::Lab;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How long a test waits for what must happen.
pub const LIMIT: Duration = Duration::from_secs(20);

/// One row for each phase of a run, never deleted by a soft revert.
pub const MARKS: &str = "
create table shop.mark (
  run uuid not null, phase text not null, state text not null default 'live', note text,
  constraint mark_pkey primary key (run, phase),
  constraint mark_state check (state in ('live', 'withdrawn', 'shipped')));
create table shop.audit (note text not null);
create table shop.verdict (run uuid not null, phase text not null, decision text not null, signature text not null)";

/// A saga from JSON; `fields` are put over the usual ones.
#[track_caller]
pub fn saga(name: &str, phases: Vec<Value>, fields: Value) -> Definition {
    let mut saga = json!({
        "saga": name, "version": 1, "description": "", "input": {"type": "object"},
        "authority": {"soft_revert": "auto"}, "phases": phases,
    });
    merge(&mut saga, fields);
    serde_json::from_value(saga).expect("a saga")
}

/// A phase that adds its own row and withdraws it on the way back; `fields` are put over the usual ones.
pub fn mark(name: &str, fields: Value) -> Value {
    let own =
        |sql: &str| json!({"sql": sql.replace("PHASE", name), "params": ["/run/id"], "rows": 1});
    let mut phase = json!({
        "name": name, "adapter": "sql", "writes": ["shop.mark"], "compensation": "soft_revert",
        "residue": ["shop.mark"], "retry": {"attempts": 2, "backoff": "10ms", "max": "20ms"}, "timeout": "5s",
        "with": {
            "apply": [own("insert into shop.mark (run, phase) values ($1, 'PHASE')")],
            "guard": [own("select state <> 'shipped' from shop.mark where run = $1 and phase = 'PHASE' for update")],
            "revert": [own("update shop.mark set state = 'withdrawn' where run = $1 and phase = 'PHASE' and state = 'live'")],
        },
    });
    merge(&mut phase, fields);
    phase
}

/// Phases `p1` to `pn`, each a [`mark`].
pub fn marks(n: usize) -> Vec<Value> {
    (1..=n).map(|i| mark(&format!("p{i}"), json!({}))).collect()
}

/// A phase of an adapter that a test wrote.
pub fn act(name: &str, adapter: &str, fields: Value) -> Value {
    let mut phase = json!({
        "name": name, "adapter": adapter, "writes": ["shop.mark"], "compensation": "soft_revert",
        "residue": ["shop.mark"], "retry": {"attempts": 1, "backoff": "10ms", "max": "20ms"}, "timeout": "5s",
        "with": {},
    });
    merge(&mut phase, fields);
    phase
}

/// Puts the fields of one object over those of another.
pub fn merge(into: &mut Value, from: Value) {
    let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) else {
        return;
    };
    into.extend(from);
}

/// Registers and drives a saga with an empty input.
pub async fn run(engine: &Engine, saga: &Definition) -> Outcome {
    engine.register(saga).await.expect("registered");
    again(engine, saga).await
}

/// Drives a registered saga once more.
pub async fn again(engine: &Engine, saga: &Definition) -> Outcome {
    let start = engine.start(saga.saga.as_str(), json!({}));
    engine.start_and_drive(start).await.expect("driven").1
}

/// Opens a run without driving it.
pub async fn open(engine: &Engine, saga: &Definition) -> Uuid {
    engine.register(saga).await.expect("registered");
    let start = engine.start(saga.saga.as_str(), json!({}));
    start.open().await.expect("opened").run
}

/// The phases of a run's records of one kind, in order.
pub fn phases(lab: &Lab, run: &RunRow, kind: &str) -> Vec<String> {
    let sql = format!(
        "select phase from redress.record where run = '{}' and kind = '{kind}' order by seq",
        run.id
    );
    lab.sql(&sql).lines().map(str::to_owned).collect()
}

/// Phase and state of a run's rows, in the order of the names.
pub fn rows(lab: &Lab, run: &RunRow) -> String {
    let sql = format!(
        "select phase || ' ' || state from shop.mark where run = '{}' order by phase",
        run.id
    );
    lab.sql(&sql).replace('\n', ", ")
}

/// The last body of one kind among a run's records.
#[track_caller]
pub fn body(lab: &Lab, run: Uuid, kind: &str) -> Value {
    let sql = format!(
        "select convert_from(bytes, 'UTF8') from redress.record where run = '{run}' and kind = '{kind}' order by seq desc limit 1"
    );
    let record: Value = serde_json::from_str(&lab.sql(&sql)).expect("a record of that kind");
    record["body"].clone()
}

/// The outcome's code, when it has one.
pub fn code(run: &RunRow) -> &str {
    run.error.as_ref().map_or("", |(code, _)| code)
}

/// Polls until the condition holds.
#[track_caller]
pub fn until<F>(what: &str, mut condition: F) -> impl Future<Output = ()>
where
    F: AsyncFnMut() -> bool,
{
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        let start = Instant::now();
        while !condition().await {
            assert!(
                start.elapsed() < LIMIT,
                "{caller}: not within {LIMIT:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Fails the test when something that must end does not.
#[track_caller]
pub fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    let what = what.to_owned();
    async move {
        match tokio::time::timeout(limit, work).await {
            Ok(value) => value,
            Err(_) => panic!("{caller}: not within {limit:?}: {what}"),
        }
    }
}

/// The code of an error that must have come.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> &'static str {
    match result {
        Ok(value) => panic!("it was not refused: {value:?}"),
        Err(error) => error.code(),
    }
}

/// A digest that belongs to nothing.
pub fn nowhere() -> Hash {
    Hash::of(b"nowhere")
}

type Doing<'a, T> = Pin<Box<dyn Future<Output = Result<T, AdapterError>> + Send + 'a>>;
type Apply = dyn for<'a> Fn(&'a PhaseTx<'a>, &'a Call<'a>) -> Doing<'a, Applied> + Send + Sync;
type Revert = dyn for<'a> Fn(&'a PhaseTx<'a>, &'a Call<'a>) -> Doing<'a, ()> + Send + Sync;

/// An adapter whose work a test writes as closures.
pub struct Act {
    name: &'static str,
    outside: bool,
    apply: Box<Apply>,
    guard: Box<Revert>,
    revert: Box<Revert>,
}

impl Act {
    /// Works by this closure; guard and revert say yes and do nothing.
    pub fn new(
        name: &'static str,
        apply: impl for<'a> Fn(&'a PhaseTx<'a>, &'a Call<'a>) -> Doing<'a, Applied>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            name,
            outside: false,
            apply: Box::new(apply),
            guard: Box::new(|_, _| Box::pin(async { Ok(()) })),
            revert: Box::new(|_, _| Box::pin(async { Ok(()) })),
        }
    }

    /// Adds the phase's row to `shop.mark`, and withdraws it on the way back.
    pub fn marking(name: &'static str) -> Self {
        Self::new(name, |tx, call| Box::pin(put_mark(tx, call)))
            .reverts(|tx, call| Box::pin(withdraw_mark(tx, call)))
    }

    /// Says that its compensations work outside the database, so that a plan goes stepwise.
    pub fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    /// Sets the way back.
    pub fn reverts(
        mut self,
        revert: impl for<'a> Fn(&'a PhaseTx<'a>, &'a Call<'a>) -> Doing<'a, ()> + Send + Sync + 'static,
    ) -> Self {
        self.revert = Box::new(revert);
        self
    }

    /// Ready to be registered.
    pub fn done(self) -> Arc<dyn Adapter> {
        Arc::new(self)
    }
}

/// Adds the phase's row.
pub async fn put_mark(tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
    let sql = "insert into shop.mark (run, phase) values ($1, $2)";
    tx.query_values(sql, &values(call)).await?;
    Ok(Applied::default())
}

/// Withdraws the phase's row.
pub async fn withdraw_mark(tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<(), AdapterError> {
    let sql =
        "update shop.mark set state = 'withdrawn' where run = $1 and phase = $2 and state = 'live'";
    let rows = tx.query_values(sql, &values(call)).await?;
    match rows.count {
        1 => Ok(()),
        count => Err(AdapterError::Business(format!("{count} rows to withdraw"))),
    }
}

fn values(call: &Call<'_>) -> [Value; 2] {
    [
        call.context["run"]["id"].clone(),
        json!(call.phase.name.as_str()),
    ]
}

#[async_trait]
impl Adapter for Act {
    fn name(&self) -> &str {
        self.name
    }

    fn in_database(&self) -> bool {
        !self.outside
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        (self.apply)(tx, call).await
    }

    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        _: Action,
    ) -> Result<(), AdapterError> {
        (self.guard)(tx, call).await
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        _: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        (self.revert)(tx, call).await.map(|()| Map::new())
    }
}

/// What an adapter says to each call; mocked, because `mockall` cannot name the lifetimes of a phase's transaction.
#[mockall::automock]
pub trait Says: Send + Sync {
    /// The answer to `apply` of this phase.
    fn apply(&self, phase: &str) -> Result<(), AdapterError>;
    /// The answer to `guard`.
    fn guard(&self, phase: &str) -> Result<(), AdapterError>;
    /// The answer to `revert`.
    fn revert(&self, phase: &str) -> Result<(), AdapterError>;
}

/// An adapter that does what a [`mark`] does, and then says what its mock says.
pub struct Told {
    name: &'static str,
    says: MockSays,
}

impl Told {
    /// Ready to be registered.
    pub fn by(name: &'static str, says: MockSays) -> Arc<dyn Adapter> {
        Arc::new(Self { name, says })
    }
}

#[async_trait]
impl Adapter for Told {
    fn name(&self) -> &str {
        self.name
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        let applied = put_mark(tx, call).await?;
        self.says.apply(call.phase.name.as_str())?;
        Ok(applied)
    }

    async fn guard(&self, _: &PhaseTx<'_>, call: &Call<'_>, _: Action) -> Result<(), AdapterError> {
        self.says.guard(call.phase.name.as_str())
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        _: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        withdraw_mark(tx, call).await?;
        self.says.revert(call.phase.name.as_str())?;
        Ok(Map::new())
    }
}

mockall::mock! {
    /// A sink that hears of failures.
    pub Sink {}

    #[async_trait]
    impl AlertSink for Sink {
        async fn deliver(&self, alert: &Value) -> Result<(), String>;
    }
}

/// Ledger and tables agree, and every record and decision verifies.
#[track_caller]
pub fn sound(engine: &Engine) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let report = engine.audit_verify().await.expect("audited");
        let verdict = report.verdict;
        assert!(
            matches!(verdict, redress::ledger::verify::Verdict::Verified),
            "{caller}: {verdict:?}"
        );
        let check = engine.check().await.expect("checked");
        assert!(check.ok, "{caller}: {:?}", check.findings);
    }
}

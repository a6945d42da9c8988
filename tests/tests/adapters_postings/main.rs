//! The adapter `postings` against a real server: one test a point of the design page, and many transfers at once.

mod crowd;
mod facts;
mod reversal;
mod tables;

use std::sync::Arc;

use redress::definition::Definition;
use redress::ledger::key::SigningKey;
use redress::{Engine, Outcome, RunRow};
use redress_adapters::postings::replay::{Ledger, replay};
use redress_adapters::postings::{PostingsAdapter, Schema};
use redress_tests::Lab;
use serde_json::{Map, Value, json};

/// Every table that a phase of postings may write.
pub const TABLES: [&str; 6] = [
    "postings.account",
    "postings.balance",
    "postings.transaction",
    "postings.posting",
    "postings.metadata",
    "postings.receipt",
];

/// A laboratory with the tables of postings.
pub async fn lab() -> Lab {
    let lab = Lab::new().await;
    for script in Schema::default().up() {
        lab.sql(&script);
    }
    lab
}

/// A phase of postings, tried once.
pub fn phase(name: &str, with: Value) -> Value {
    json!({"name": name, "adapter": "postings", "writes": TABLES, "residue": TABLES, "compensation": "soft_revert",
           "retry": {"attempts": 1}, "timeout": "20s", "with": with})
}

/// A saga of one name for each content.
pub fn saga(name: &str, phases: Value) -> Definition {
    let saga = json!({
        "saga": name, "version": 1, "description": "", "input": {"type": "object"},
        "authority": {"soft_revert": "auto"}, "phases": phases,
    });
    serde_json::from_value(saga).expect("a definition")
}

/// Registers and drives.
pub async fn run(engine: &Engine, saga: &Definition, input: Value) -> Outcome {
    engine.register(saga).await.expect("a sound definition");
    again(engine, saga, input).await
}

/// Drives what is registered.
pub async fn again(engine: &Engine, saga: &Definition, input: Value) -> Outcome {
    let start = engine.start(saga.saga.as_str(), input);
    engine.start_and_drive(start).await.expect("driven").1
}

/// A run that must have completed.
#[track_caller]
pub fn completed(outcome: Outcome) -> RunRow {
    match outcome {
        Outcome::Completed(run) => run,
        other => panic!("not completed: {other:?}"),
    }
}

/// The code with which a run ended.
#[track_caller]
pub fn code(outcome: &Outcome) -> String {
    let error = &outcome.run().error;
    error
        .as_ref()
        .unwrap_or_else(|| panic!("no error: {outcome:?}"))
        .0
        .clone()
}

/// Code and message.
#[track_caller]
pub fn said(outcome: &Outcome) -> String {
    let (code, message) = outcome.run().error.clone().expect("an error");
    format!("{code} {message}")
}

/// A payment from the input: `from`, `to`, `amount`, and perhaps a reference.
pub fn pay() -> Definition {
    let with = json!({
        "accounts": ["*"],
        "open": [{"account": "world", "overdraft": true}],
        "transactions": [{"as": "payment", "postings":
            [{"source": "/input/from", "destination": "/input/to", "asset": "EUR/2", "amount": "/input/amount"}]}],
    });
    saga("pay", json!([phase("pay", with)]))
}

/// Pays, and gives the id of the transaction.
pub async fn paid(lab: &Lab, engine: &Engine, from: &str, to: &str, amount: &str) -> String {
    let input = json!({"from": from, "to": to, "amount": amount});
    let run = completed(run(engine, &pay(), input).await);
    transaction(lab, &run)
}

/// The transaction that a run committed.
pub fn transaction(lab: &Lab, run: &RunRow) -> String {
    lab.sql(&format!(
        "select id from postings.transaction where run = '{}' and reverses is null",
        run.id
    ))
}

/// The body of a run's record of one kind.
#[track_caller]
pub fn body(lab: &Lab, run: &RunRow, kind: &str) -> Value {
    let sql = format!(
        "select convert_from(bytes, 'UTF8') from redress.record where run = '{}' and kind = '{kind}' order by seq desc limit 1",
        run.id
    );
    let record: Value = serde_json::from_str(&lab.sql(&sql)).expect("a record of that kind");
    record["body"].clone()
}

/// Account, asset and balance, in order.
pub fn balances(lab: &Lab) -> String {
    let sql =
        "select account || ' ' || (input - output) from postings.balance order by account, asset";
    lab.sql(sql).replace('\n', ", ")
}

/// The tables are what the postings say, both ways, and the ledger is sound.
pub async fn sound(lab: &Lab, engine: &Engine) {
    let session = redress::db::connect(&lab.url().parse().expect("a URL"))
        .await
        .expect("connected");
    let report = replay(
        &session,
        &Schema::default(),
        &Ledger::read(engine).await.expect("read"),
    )
    .await
    .expect("replayed");
    assert!(report.ok, "{:?}", report.findings);
    let check = engine.check().await.expect("checked");
    assert!(check.ok, "{:?}", check.findings);
}

/// A saga that reverses; `fields` go into the revert.
pub fn refund(name: &str, fields: Value) -> Definition {
    let mut revert = json!({"as": "refund"});
    let map: &mut Map<String, Value> = revert.as_object_mut().expect("an object");
    map.extend(fields.as_object().expect("an object").clone());
    let with = json!({"accounts": ["*"], "keys": ["*"], "reverts": [revert]});
    saga(name, json!([phase("refund", with)]))
}

/// An engine that signs receipts and believes its own.
pub async fn signing(lab: &Lab) -> Engine {
    let key = SigningKey::from_seed("engine-1", &[7; 32]).expect("a key");
    let adapter = PostingsAdapter::trusting(vec![key.vkey().clone()]);
    lab.builder(lab.url())
        .adapter(Arc::new(adapter))
        .signer(key)
        .build()
        .await
        .expect("an engine")
}

//! systems.md 3, through the example `transfer`: the files as they are, and what a failure leaves, queried from outside.
//! The adapter's own points are in `tests/adapters_postings`.

use std::collections::BTreeMap;

use redress::definition::load_yaml;
use redress::{Engine, Outcome, RunRow};
use redress_adapters::postings::Schema;
use redress_examples::transfer::{DEPOSIT_YAML, DOWN, REFUND_YAML, SAGA_YAML, UP};
use redress_tests::Lab;
use serde_json::{Value, json};

use crate::common::{code, sound};

/// The example installed, and Alice with 100 euros.
async fn bank() -> (Lab, Engine) {
    let lab = Lab::new().await;
    for script in Schema::default().up() {
        lab.sql(&script);
    }
    lab.sql(UP);
    let engine = lab.engine().await;
    for (name, text) in [
        ("deposit", DEPOSIT_YAML),
        ("transfer", SAGA_YAML),
        ("refund", REFUND_YAML),
    ] {
        let (definition, _) = load_yaml(text.as_bytes(), name, None).expect("a sound file");
        engine.register(&definition).await.expect("registered");
    }
    let deposit = json!({"reference": "wire-1", "account": "users:alice", "amount": "10000"});
    completed(drive(&engine, "deposit", deposit).await);
    (lab, engine)
}

async fn drive(engine: &Engine, saga: &str, input: Value) -> Outcome {
    engine
        .start_and_drive(engine.start(saga, input))
        .await
        .expect("driven")
        .1
}

async fn pay(engine: &Engine, reference: &str, payee: &str, amount: &str) -> Outcome {
    let input = json!({"reference": reference, "payer": "users:alice", "payee": payee, "amount": amount, "fee": "25"});
    drive(engine, "transfer", input).await
}

fn refund(id: &str, reference: &str) -> Value {
    json!({"transaction": id, "reference": reference, "payer": "users:alice", "payee": "users:bob", "why": "wrong size"})
}

#[track_caller]
fn completed(outcome: Outcome) -> RunRow {
    match outcome {
        Outcome::Completed(run) => run,
        other => panic!("not completed: {other:?}"),
    }
}

fn balance(lab: &Lab, account: &str) -> String {
    lab.sql(&format!(
        "select input - output from postings.balance where account = '{account}'"
    ))
}

fn id_of(lab: &Lab, reference: &str) -> String {
    lab.sql(&format!(
        "select id from postings.transaction where reference = '{reference}'"
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_leaves_the_payer_with_its_fee_or_not_at_all() {
    let (lab, engine) = bank().await;
    completed(pay(&engine, "order-7", "users:bob", "2500").await);
    assert_eq!(balance(&lab, "users:alice"), "7475");
    assert_eq!(
        (balance(&lab, "users:bob"), balance(&lab, "fees")),
        ("2500".into(), "25".into())
    );
    // The fee alone could still be paid; the transaction is one.
    let outcome = pay(&engine, "order-8", "users:bob", "7475").await;
    assert_eq!(code(outcome.run()), "RD0350");
    assert_eq!(balance(&lab, "users:alice"), "7475");
    sound(&engine).await;
}

/// The second phase fails: the payment is reversed by a new transaction, nothing is edited.
#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_cannot_be_settled_is_reversed_by_new_postings() {
    let (lab, engine) = bank().await;
    let outcome = pay(&engine, "order-9", "users:mallory", "500").await;
    let Outcome::Compensated(run) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(code(&run), "RD0312");
    assert_eq!(
        (balance(&lab, "users:alice"), balance(&lab, "users:mallory")),
        ("10000".into(), "0".into())
    );
    let of_run = format!(
        "select count(*), count(reverses) from postings.transaction where run = '{}'",
        run.id
    );
    assert_eq!(lab.sql(&of_run), "2|1");
    assert_eq!(lab.sql("select count(*) from transfer.settlement"), "0");
    let why = "select count(*) from postings.live_metadata where key = 'reason' and value <> ''";
    assert_eq!(lab.sql(why), "1");
    sound(&engine).await;
}

/// A completed payment is taken back by a person's plan: settlement and postings in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_completed_payment_is_taken_back_by_a_plan() {
    let (lab, engine) = bank().await;
    let run = completed(pay(&engine, "order-7", "users:bob", "2500").await);
    let plan = engine
        .plan(run.id, BTreeMap::new(), "wrong order")
        .await
        .expect("planned");
    let outcome = engine.apply(&plan).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    assert_eq!(balance(&lab, "users:alice"), "10000");
    assert_eq!(
        lab.sql("select state from transfer.settlement"),
        "withdrawn"
    );
    let when = "select count(distinct t.recorded_at::text || r.kind) from postings.transaction t, redress.record r \
                where t.reverses is not null and r.kind = 'plan.finished'";
    assert_eq!(lab.sql(when), "1");
    sound(&engine).await;
}

/// Once, under one reference, forced by somebody or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_refund_happens_once_and_overdraws_only_when_somebody_forces_it() {
    let (lab, engine) = bank().await;
    completed(pay(&engine, "order-7", "users:bob", "2500").await);
    let id = id_of(&lab, "order-7");
    let mut dry = refund(&id, "refund-7");
    dry["dry_run"] = json!(true);
    completed(drive(&engine, "refund", dry).await);
    assert_eq!(balance(&lab, "users:bob"), "2500");
    // Bob has spent it.
    let spent = json!({"reference": "order-b", "payer": "users:bob", "payee": "users:carol", "amount": "2400", "fee": "0"});
    let refused = drive(&engine, "transfer", spent.clone()).await;
    assert_eq!(code(refused.run()), "RD0358", "an amount of 0 is none");
    let mut spent = spent;
    spent["fee"] = json!("1");
    completed(drive(&engine, "transfer", spent).await);
    let refused = drive(&engine, "refund", refund(&id, "refund-7")).await;
    assert_eq!(code(refused.run()), "RD0350");
    let mut forced = refund(&id, "refund-7");
    forced["forced_by"] = json!("otto");
    completed(drive(&engine, "refund", forced).await);
    assert_eq!(balance(&lab, "users:bob"), "-2401");
    let reversal = "select t.forced_by, t.effective_at = o.effective_at from postings.transaction t \
                    join postings.transaction o on o.id = t.reverses";
    assert_eq!(lab.sql(reversal), "otto|t");
    let again = drive(&engine, "refund", refund(&id, "refund-7b")).await;
    assert_eq!(code(again.run()), "RD0354");
    let other = drive(
        &engine,
        "refund",
        refund(&id_of(&lab, "order-b"), "refund-7"),
    )
    .await;
    assert_eq!(
        code(other.run()),
        "RD0302",
        "between accounts that the refund does not declare"
    );
    sound(&engine).await;
}

/// The bundles take away what they made, and nothing else stands in the way.
#[tokio::test(flavor = "multi_thread")]
async fn the_bundles_revert_in_order() {
    let (lab, _engine) = bank().await;
    lab.sql(DOWN);
    for script in Schema::default().down() {
        lab.sql(&script);
    }
    let left = "select count(*) from pg_namespace where nspname in ('postings', 'transfer')";
    assert_eq!(lab.sql(left), "0");
}

//! The engine inside somebody's own program, as its front page shows it.

use async_trait::async_trait;
use redress::adapter::AdapterError;
use redress::definition::builder::Phase;
use redress::definition::{Authority, Compensation};
use redress::phase_tx::PhaseTx;
use redress::plan::Action;
use redress::tokio_postgres::{Client, NoTls};
use redress::typed::{LocalPhase, TypedSaga};
use redress::{Engine, Error, Outcome};
use redress_tests::Lab;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;

async fn caller(lab: &Lab) -> Client {
    let (client, wire) = redress::tokio_postgres::connect(lab.url(), NoTls)
        .await
        .expect("a connection");
    tokio::spawn(wire);
    client
}

async fn lab() -> (Lab, Engine) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let line = saga(
        "line",
        marks(2),
        json!({"subject": "/input/doc", "exclusive": true,
               "snapshot": [{"name": "notes", "sql": "select count(*) from shop.audit"}]}),
    );
    engine.register(&line).await.expect("registered");
    (lab, engine)
}

/// The words of the front page, each arm of the outcome, and nothing else needed.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_starts_drives_and_learns_the_outcome() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let key = redress::ledger::SigningKey::generate("engine").expect("randomness");
    let engine = Engine::builder(redress::db::pool(lab.url(), 4).expect("a pool"))
        .signer(key)
        .trust(lab.trust())
        .adapters(redress_adapters::standard())
        .register(saga("line", marks(2), json!({})))
        .expect("a sound definition")
        .build()
        .await
        .expect("an engine");
    let run = engine
        .start("line", json!({}))
        .key("doc-42")
        .await
        .expect("opened");
    let said = match engine.drive(run).await.expect("driven") {
        Outcome::Completed(run) => format!("completed {}", run.state),
        Outcome::Compensated(run) => format!("compensated {}", run.id),
        Outcome::Held(run) => format!("held {}", run.id),
        Outcome::Stuck(run) => format!("stuck {}", run.id),
    };
    assert_eq!(said, "completed completed");
    let receipts = engine.sign_receipts(run).await.expect("signed");
    assert_eq!(receipts.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_started_in_a_transaction_exists_when_that_commits() {
    let (lab, engine) = lab().await;
    let mut client = caller(&lab).await;
    // Rolled back: nothing, and the key is free.
    let transaction = client.transaction().await.expect("begun");
    engine
        .start_in(&transaction, "line", json!({"doc": "a"}))
        .key("a")
        .await
        .expect("opened");
    transaction.rollback().await.expect("rolled back");
    assert_eq!(lab.sql("select count(*) from redress.run"), "0");
    assert_eq!(lab.sql("select count(*) from redress.record"), "0");
    // Committed, with the caller's own row, which the snapshot before the run has seen.
    let transaction = client.transaction().await.expect("begun");
    transaction
        .execute("insert into shop.audit values ('mine')", &[])
        .await
        .expect("written");
    let started = engine
        .start_in(&transaction, "line", json!({"doc": "a"}))
        .key("a")
        .open()
        .await
        .expect("opened");
    assert!(started.opened);
    assert_eq!(lab.sql("select count(*) from redress.run"), "0");
    transaction.commit().await.expect("committed");
    assert_eq!(lab.sql("select count(*) from shop.audit"), "1");
    let (_stop, stopping) = watch::channel(false);
    engine
        .worker()
        .until_idle()
        .run(stopping)
        .await
        .expect("worked");
    let view = engine.show(started.run).await.expect("shown");
    assert_eq!(view.state.as_str(), "completed");
    let opened = body(&lab, started.run, "run.opened");
    assert_eq!(opened["pre"]["notes"][0]["count"], json!("1"));
    sound(&engine).await;
    // The same key means the same run, in a transaction too.
    let transaction = client.transaction().await.expect("begun");
    let again = engine
        .start_in(&transaction, "line", json!({"doc": "a"}))
        .key("a")
        .open()
        .await
        .expect("answered");
    assert_eq!((again.run, again.opened), (started.run, false));
    transaction.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_refused_leaves_the_caller_s_transaction_as_it_was() {
    let (lab, engine) = lab().await;
    let mut client = caller(&lab).await;
    let first = engine.start("line", json!({"doc": "a"})).key("a").await;
    let first = first.expect("opened");
    let transaction = client.transaction().await.expect("begun");
    transaction
        .batch_execute(
            "set local statement_timeout = '7s'; set local timezone = 'Asia/Tokyo'; set local datestyle = 'German';
             insert into shop.audit values ('mine')",
        )
        .await
        .expect("prepared");
    let settings = "select current_setting('statement_timeout') || current_setting('timezone') || current_setting('datestyle')
                    || current_setting('lock_timeout') || current_setting('idle_in_transaction_session_timeout')";
    let before: String = transaction.query_one(settings, &[]).await.unwrap().get(0);
    let check = async |input: serde_json::Value, key: &str, code: &str| {
        let start = engine.start_in(&transaction, "line", input).key(key);
        assert_eq!(refused(start.await), code, "{key}");
    };
    check(json!({"doc": "b"}), "a", "RD0211").await;
    check(json!({"doc": "a"}), "b", "RD0212").await;
    check(json!({"doc": 7}), "c", "RD0192").await;
    let unknown = engine.start_in(&transaction, "nothing", json!({})).await;
    assert_eq!(refused(unknown), "RD0191");
    engine
        .hold(
            redress::definition::HoldScope::Saga,
            Some("line"),
            "look",
            false,
        )
        .await
        .expect("held");
    let held = engine
        .start_in(&transaction, "line", json!({"doc": "d"}))
        .await;
    assert_eq!(
        held.as_ref().map_err(Error::code).err(),
        Some("RD0204"),
        "{held:?}"
    );
    let after: String = transaction.query_one(settings, &[]).await.unwrap().get(0);
    assert_eq!(after, before);
    transaction
        .commit()
        .await
        .expect("the caller's own work stands");
    assert_eq!(lab.sql("select count(*) from shop.audit"), "1");
    let runs = lab.sql("select string_agg(id::text, ',') from redress.run");
    assert_eq!(runs.parse::<Uuid>(), Ok(first));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_in_a_transaction_of_another_isolation_is_refused() {
    let (lab, engine) = lab().await;
    let mut client = caller(&lab).await;
    let transaction = client
        .build_transaction()
        .isolation_level(redress::tokio_postgres::IsolationLevel::Serializable)
        .start()
        .await
        .expect("begun");
    let start = engine.start_in(&transaction, "line", json!({"doc": "a"}));
    assert_eq!(refused(start.await), "RD0201");
    transaction.rollback().await.expect("rolled back");
    assert_eq!(lab.sql("select count(*) from redress.run"), "0");
}

#[derive(Serialize, Deserialize)]
struct Order {
    sku: String,
}

#[derive(Serialize, Deserialize)]
struct Placed {
    phase: String,
    letters: i32,
}

/// Writes a row and gives how long the word was; fails on a word that nobody sells.
struct Place;

#[async_trait]
impl LocalPhase for Place {
    type Input = Order;
    type Output = Placed;

    fn declare(&self) -> Phase {
        Phase::named("place")
            .writes(["shop.mark"])
            .residue(["shop.mark"])
            .compensation(Compensation::SoftRevert)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, order: Order) -> Result<Placed, AdapterError> {
        let sql =
            "insert into shop.mark (run, phase, note) values (gen_random_uuid(), $1, 'typed')";
        tx.execute(sql, &[&order.sku]).await?;
        let letters = i32::try_from(order.sku.len()).unwrap_or_default();
        Ok(Placed {
            phase: order.sku,
            letters,
        })
    }

    async fn revert(&self, tx: &PhaseTx<'_>, done: Placed, _: Action) -> Result<(), AdapterError> {
        let sql = "update shop.mark set state = 'withdrawn' where phase = $1 and state = 'live'";
        tx.execute(sql, &[&done.phase]).await?;
        Ok(())
    }
}

/// Takes what the phase before gave.
struct Count;

#[async_trait]
impl LocalPhase for Count {
    type Input = Placed;
    type Output = ();

    fn declare(&self) -> Phase {
        Phase::named("count")
            .writes(["shop.audit"])
            .residue(["shop.audit"])
    }

    async fn apply(&self, tx: &PhaseTx<'_>, placed: Placed) -> Result<(), AdapterError> {
        if placed.letters > 5 {
            return Err(AdapterError::Business("too long a word".to_owned()));
        }
        let note = placed.letters.to_string();
        tx.execute("insert into shop.audit values ($1)", &[&note])
            .await?;
        Ok(())
    }

    async fn revert(&self, _: &PhaseTx<'_>, (): (), _: Action) -> Result<(), AdapterError> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saga_in_rust_fits_by_its_types_and_is_undone_like_any_other() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let saga = TypedSaga::<Order>::new("typed", 1)
        .with(|saga| {
            saga.input(json!({"type": "object", "required": ["sku"]}))
                .authority("soft_revert", Authority::Auto)
        })
        .then(Place)
        .then(Count)
        .build()
        .expect("a sound saga");
    let engine = lab
        .builder(lab.url())
        .saga(saga)
        .expect("a sound saga")
        .build()
        .await
        .expect("an engine");
    let run = engine
        .start("typed", json!({"sku": "tea"}))
        .await
        .expect("opened");
    let outcome = engine.drive(run).await.expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert_eq!(lab.sql("select note from shop.audit"), "3");
    let run = engine
        .start("typed", json!({"sku": "biscuits"}))
        .await
        .expect("opened");
    let outcome = engine.drive(run).await.expect("driven");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    let marks = "select string_agg(phase || ' ' || state, ', ' order by phase) from shop.mark";
    assert_eq!(lab.sql(marks), "biscuits withdrawn, tea live");
    // What does not fit holds the run, and says where.
    let run = engine
        .start("typed", json!({"sku": 7}))
        .await
        .expect("opened");
    let outcome = engine.drive(run).await.expect("driven");
    let Outcome::Held(row) = &outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(code(row), "RD0309");
    sound(&engine).await;
}

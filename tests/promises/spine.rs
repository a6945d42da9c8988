//! A run goes forward, fails, is compensated, held, approved and released.

use redress::Outcome;
use redress_tests::Lab;
use redress_tests::lab::SHOP_SAGA;
use serde_json::json;

/// P1: five records at most, n commits, everything in one place.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_completes_and_its_log_says_so() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    let start = engine.start("order", json!({"order": "A1", "sku": "tea", "qty": 3}));
    let (_, outcome) = engine.start_and_drive(start).await.expect("driven");
    let Outcome::Completed(run) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        lab.kinds(&run),
        [
            "run.opened",
            "phase.committed",
            "phase.committed",
            "phase.committed",
            "run.sealed"
        ]
    );
    assert_eq!(
        lab.sql("select left_over from shop.stock where sku = 'tea'"),
        "999997"
    );
    assert_eq!(
        lab.sql("select count(distinct xid) from redress.record"),
        "3"
    );
}

/// P6, P7: a failure is compensated in reverse order, in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_is_compensated_in_one_transaction() {
    let lab = Lab::new().await;
    lab.sql("alter table shop.dispatch add constraint never check (note <> 'sent')");
    let engine = lab.engine().await;
    engine
        .register(&Lab::read(SHOP_SAGA))
        .await
        .expect("registered");
    let start = engine.start("order", json!({"order": "A1", "sku": "tea", "qty": 3}));
    let (_, outcome) = engine.start_and_drive(start).await.expect("driven");
    let Outcome::Compensated(run) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        lab.sql("select left_over from shop.stock where sku = 'tea'"),
        "1000000"
    );
    assert_eq!(lab.sql("select state from shop.reservation"), "withdrawn");
    assert_eq!(lab.sql("select state from shop.invoice"), "reversed");
    let unwind = format!(
        "select count(*), count(distinct xid) from redress.record where run = '{}' and kind in ('compensation.committed', 'plan.finished')",
        run.id
    );
    assert_eq!(lab.sql(&unwind), "3|1");
}

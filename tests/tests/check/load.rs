//! Checks run while workers work: what is under way is no finding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use redress::ledger::verify::Verdict;

use crate::history::{Copy, drive, input};

/// One attempt in three must be repeated.
const FLAKY: &str = "
create function shop.flaky() returns trigger language plpgsql as $$ begin
  if random() < 0.33 then raise exception 'try again' using errcode = '40001'; end if;
  return new;
end $$;
create trigger flaky before insert on shop.invoice for each row execute function shop.flaky()";

#[tokio::test(flavor = "multi_thread")]
async fn load_makes_no_false_findings() {
    const CHECKS_MIN: usize = 10;
    const RUNS_MIN: u64 = 40;
    let copy = Copy::new().await;
    copy.sql(FLAKY);
    let engine = copy.engine().await;
    let stop = Arc::new(AtomicBool::new(false));
    let driven = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for client in 0..4 {
        let (engine, stop, driven) = (engine.clone(), Arc::clone(&stop), Arc::clone(&driven));
        clients.push(tokio::spawn(async move {
            for run in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                // Each fails and is compensated or held: the history left a constraint that no dispatch passes.
                let saga = if run % 3 == 0 { "asking" } else { "order" };
                drive(&engine, saga, input(&format!("load-{client}-{run}"))).await;
                driven.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    let mut checks = 0;
    while checks < CHECKS_MIN || driven.load(Ordering::Relaxed) < RUNS_MIN {
        let report = engine.check().await.expect("checked");
        assert!(report.ok, "{report:#?}");
        let audit = engine.audit_verify().await.expect("verified");
        assert_eq!(audit.verdict, Verdict::Verified);
        checks += 1;
        let ended = clients.iter().any(tokio::task::JoinHandle::is_finished);
        assert!(!ended, "a client failed");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("a client");
    }
    let again = "select count(*) from redress.record where transition like '% attempt_failed %'";
    assert_ne!(copy.sql(again), "0");
    let report = engine.check().await.expect("checked");
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.runs, 6 + driven.load(Ordering::Relaxed));
}

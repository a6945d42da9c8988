//! Checks run while workers work: what is under way is no finding.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
    const CHECKS: usize = 20;
    let copy = Copy::new().await;
    copy.sql(FLAKY);
    let engine = copy.engine().await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for client in 0..4 {
        let (engine, stop) = (engine.clone(), Arc::clone(&stop));
        clients.push(tokio::spawn(async move {
            let mut runs = 0;
            while !stop.load(Ordering::Relaxed) {
                // Odd ones fail and are compensated or held: the history left a constraint that no dispatch passes.
                let saga = if runs % 3 == 0 { "asking" } else { "order" };
                drive(&engine, saga, input(&format!("load-{client}-{runs}"))).await;
                runs += 1;
            }
            runs
        }));
    }
    for _ in 0..CHECKS {
        let report = engine.check().await.expect("checked");
        assert!(report.ok, "{report:#?}");
        let audit = engine.audit_verify().await.expect("verified");
        assert_eq!(audit.verdict, Verdict::Verified);
    }
    stop.store(true, Ordering::Relaxed);
    let mut runs = 0;
    for client in clients {
        runs += client.await.expect("a client");
    }
    assert!(runs > 10, "the load was no load: {runs} runs");
    let again = "select count(*) from redress.record where event = 'attempt_failed'";
    assert_ne!(copy.sql(again), "0");
    let report = engine.check().await.expect("checked");
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.runs, 6 + runs);
}

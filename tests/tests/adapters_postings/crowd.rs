//! Many transfers between few accounts: the sum stays, nothing is overdrawn, nobody waits for ever.

use futures_util::StreamExt;
use redress::Outcome;
use serde_json::json;

use crate::{again, balances, code, completed, lab, paid, run, saga, sound};

/// Accounts are locked in one order and judged under lock.
#[tokio::test(flavor = "multi_thread")]
async fn many_transfers_at_once_keep_the_sum_and_never_overdraw() {
    const TRANSFERS: usize = 240;
    let lab = lab().await;
    let engine = lab.engine().await;
    for account in ["a", "b", "c", "d"] {
        paid(&lab, &engine, "world", account, "50").await;
    }
    let names = ["a", "b", "c", "d"];
    // Two legs each, in every order of accounts: unsorted locking would deadlock at once.
    let with = json!({"accounts": ["a", "b", "c", "d"], "transactions": [{"postings": "/input/postings"}]});
    let transfer = saga("transfer", json!([crate::phase("move", with)]));
    engine.register(&transfer).await.expect("registered");
    let jobs = (0..TRANSFERS).map(|n| {
        let (from, via, to) = (names[n % 4], names[(n % 4 + 1 + n / 4 % 3) % 4], names[(n / 16 + n + 2) % 4]);
        let amount = (n % 40 + 1).to_string();
        let mut postings = Vec::new();
        for (source, destination) in [(from, via), (via, to), (from, to)] {
            if source != destination {
                postings.push(json!({"source": source, "destination": destination, "asset": "EUR/2", "amount": amount}));
            }
        }
        again(&engine, &transfer, json!({"postings": postings}))
    });
    let outcomes: Vec<Outcome> = futures_util::stream::iter(jobs)
        .buffer_unordered(16)
        .collect()
        .await;
    let done = outcomes
        .iter()
        .filter(|o| matches!(o, Outcome::Completed(_)))
        .count();
    for refused in outcomes
        .iter()
        .filter(|o| !matches!(o, Outcome::Completed(_)))
    {
        assert_eq!(code(refused), "RD0350");
    }
    assert!(
        done > 0 && done < TRANSFERS,
        "both happen: {done} of {TRANSFERS}"
    );
    assert_eq!(
        lab.sql("select sum(input - output) from postings.balance where account <> 'world'"),
        "200"
    );
    assert_eq!(
        lab.sql(
            "select count(*) from postings.balance where account <> 'world' and input < output"
        ),
        "0"
    );
    assert_eq!(
        lab.sql("select deadlocks from pg_stat_database where datname = current_database()"),
        "0"
    );
    sound(&lab, &engine).await;
}

/// A reference is used once, also when many come with it at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn one_reference_is_one_transaction_whoever_comes_first() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let with = json!({
        "accounts": ["*"], "open": [{"account": "world", "overdraft": true}],
        "transactions": [{"as": "payment", "reference": "/input/key", "postings":
            [{"source": "world", "destination": "/input/to", "asset": "EUR/2", "amount": "10"}]}],
    });
    let mut phase = crate::phase("pay", with);
    phase["retry"] = json!({"attempts": 5, "backoff": "10ms", "max": "50ms"});
    let saga = saga("once", json!([phase]));
    engine.register(&saga).await.expect("registered");
    let all = (0..8).map(|_| again(&engine, &saga, json!({"key": "k", "to": "alice"})));
    for outcome in futures_util::future::join_all(all).await {
        completed(outcome);
    }
    assert_eq!(balances(&lab), "alice 10, world -10");
    let other = again(&engine, &saga, json!({"key": "k", "to": "bob"})).await;
    assert_eq!(code(&other), "RD0355");
    // A run whose transaction was there already takes nothing back.
    let fail = json!({"name": "fail", "adapter": "sql", "retry": {"attempts": 1}, "with": {"apply": [{"sql": "select 1 / 0"}]}});
    let mut definition = serde_json::to_value(&saga).expect("plain data");
    definition["saga"] = json!("once-and-fail");
    definition["phases"]
        .as_array_mut()
        .expect("phases")
        .push(fail);
    let definition = serde_json::from_value(definition).expect("a definition");
    let outcome = run(&engine, &definition, json!({"key": "k", "to": "alice"})).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    assert_eq!(balances(&lab), "alice 10, world -10");
}

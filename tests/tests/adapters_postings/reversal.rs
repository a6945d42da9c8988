//! Reversals: from what was captured, once, under one reference, at a time, forced or not.

use std::collections::BTreeMap;

use redress::{Error, Outcome};
use serde_json::{Value, json};

use crate::{
    again, balances, body, code, completed, lab, paid, pay, phase, refund, run, saga, said,
    signing, sound, transaction,
};

/// Makes a transaction look as an older version left it.
const FORGET: &str = "alter table postings.transaction disable trigger user;
    update postings.transaction set captured = null where id = 'ID';
    alter table postings.transaction enable always trigger transaction_is_immutable;
    alter table postings.transaction enable always trigger transaction_is_not_truncated";

/// systems.md 3.1: the reversal uses the postings captured when the transaction committed; the log is never scanned.
#[tokio::test(flavor = "multi_thread")]
async fn a_reversal_uses_the_captured_postings_and_not_the_log() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = paid(&lab, &engine, "world", "alice", "100").await;
    // The log says something else by now; who captured does not ask it.
    lab.sql(
        "alter table postings.posting disable trigger user; update postings.posting set amount = 1;
         alter table postings.posting enable always trigger posting_is_immutable;
         alter table postings.posting enable always trigger posting_is_not_truncated",
    );
    let refund = refund("refund", json!({"transaction": "/input/id"}));
    completed(run(&engine, &refund, json!({"id": id})).await);
    assert_eq!(balances(&lab), "alice 0, world 0");
    let mirrored = "select source, destination, amount from postings.posting p \
                    join postings.transaction t on t.id = p.transaction where t.reverses is not null";
    assert_eq!(lab.sql(mirrored), "alice|world|100");
}

/// systems.md 3.1: the compensation of a phase needs its record alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_run_reverses_what_its_record_captured() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let with = json!({
        "accounts": ["world", "shop:*"], "keys": ["order", "tier", "reason"],
        "open": [{"account": "world", "overdraft": true}],
        "transactions": [
            {"as": "one", "metadata": {"order": "7"}, "effective": "2026-01-02T03:04:05+01:00", "postings": [
                {"source": "world", "destination": "shop:a", "asset": "EUR/2", "amount": "70"},
                {"source": "shop:a", "destination": "shop:b", "asset": "EUR/2", "amount": "30"}]},
            {"as": "two", "postings": [{"source": "world", "destination": "shop:a", "asset": "PT", "amount": "5"}]}],
        "metadata": [{"account": "shop:a", "set": {"tier": "gold"}}],
        "compensation": {"effective": "original", "metadata": {"reason": "/plan/reason"}},
    });
    let fail = json!({"name": "fail", "adapter": "sql", "retry": {"attempts": 1}, "with": {"apply": [{"sql": "select 1 / 0"}]}});
    let outcome = run(
        &engine,
        &saga("try", json!([phase("move", with), fail])),
        json!({}),
    )
    .await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        balances(&lab),
        "shop:a 0, shop:a 0, shop:b 0, world 0, world 0"
    );
    let undo = body(&lab, &row, "phase.committed")["undo"].clone();
    assert_eq!(undo["transactions"][0]["postings"][0]["amount"], "70");
    assert_eq!(
        undo["transactions"][0]["effective"],
        "2026-01-02T02:04:05.000000Z"
    );
    let reversals = "select count(*), count(*) filter (where t.effective_at = o.effective_at) \
                     from postings.transaction t join postings.transaction o on o.id = t.reverses";
    assert_eq!(lab.sql(reversals), "2|2");
    // The tier is gone as a tombstone; what is known about the transactions stays, with the reason beside it.
    assert_eq!(
        lab.sql("select key, value from postings.live_metadata where kind = 'account'"),
        ""
    );
    assert_eq!(
        lab.sql("select revision from postings.metadata where key = 'tier'"),
        "2"
    );
    assert_eq!(
        lab.sql("select value from postings.live_metadata where key = 'order'"),
        "7"
    );
    assert_eq!(
        lab.sql("select count(*) from postings.live_metadata where key = 'reason'"),
        "2"
    );
    sound(&lab, &engine).await;
}

/// systems.md 3.1: three different errors.
#[tokio::test(flavor = "multi_thread")]
async fn legacy_absent_and_impossible_are_three_errors() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let saga = refund("refund", json!({"transaction": "/input/id"}));
    let old = paid(&lab, &engine, "world", "alice", "100").await;
    lab.sql(&FORGET.replace("ID", &old));
    let legacy = run(&engine, &saga, json!({"id": old})).await;
    assert!(said(&legacy).contains("LegacyRecord"), "{}", said(&legacy));
    let nobody = json!({"id": "0190a000-0000-7000-8000-000000000000"});
    let absent = again(&engine, &saga, nobody).await;
    // A row that is there and whose captured postings are nothing: our own rules exclude it.
    let broken = paid(&lab, &engine, "world", "alice", "100").await;
    lab.sql(&FORGET.replace("null", "'[]'").replace("ID", &broken));
    let impossible = again(&engine, &saga, json!({"id": broken})).await;
    assert_eq!(
        [code(&legacy), code(&absent), code(&impossible)],
        ["RD0351", "RD0352", "RD0353"]
    );
    assert!(
        matches!(impossible, Outcome::Held(_)),
        "loudly: {impossible:?}"
    );
    assert_eq!(balances(&lab), "alice 200, world -200");
}

/// systems.md 3.1: the row of a committed phase that is gone is loud, whatever the record says.
#[tokio::test(flavor = "multi_thread")]
async fn a_committed_transaction_that_is_gone_is_inconsistent() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let row = completed(
        run(
            &engine,
            &pay(),
            json!({"from": "world", "to": "a", "amount": "1"}),
        )
        .await,
    );
    lab.sql(
        "alter table postings.transaction disable trigger user; alter table postings.posting disable trigger user;
         delete from postings.posting; delete from postings.transaction",
    );
    let plan = engine
        .plan(row.id, BTreeMap::new(), "back")
        .await
        .expect("planned");
    let error = engine.apply(&plan).await.expect_err("refused");
    assert!(
        matches!(error, Error::Stuck { .. }) && error.to_string().contains("inconsistent"),
        "{error}"
    );
}

/// The note with one character in the middle of its signature changed, whatever that character was.
fn broken(note: &str) -> String {
    let at = note.trim_end().len() - 40;
    let other = if &note[at..=at] == "A" { "B" } else { "A" };
    let mut changed = note.to_owned();
    changed.replace_range(at..=at, other);
    changed
}

/// systems.md 3.1: a signed receipt is a source; one that is not ours, or for something else, is none.
#[tokio::test(flavor = "multi_thread")]
async fn a_signed_receipt_is_a_source_of_a_reversal() {
    let lab = lab().await;
    let engine = signing(&lab).await;
    let row = completed(
        run(
            &engine,
            &pay(),
            json!({"from": "world", "to": "alice", "amount": "100"}),
        )
        .await,
    );
    let id = transaction(&lab, &row);
    let receipts = engine.sign_receipts(row.id).await.expect("signed");
    let seq = lab.sql(&format!(
        "select seq from redress.record where run = '{}' and kind = 'phase.committed'",
        row.id
    ));
    let note = receipts
        .iter()
        .find(|(r, _)| r.seq.to_string() == seq)
        .expect("a receipt");
    let note = String::from_utf8(note.1.to_bytes()).expect("text");
    let sql = format!(
        "select convert_from(bytes, 'UTF8') from redress.record where run = '{}' and seq = {seq}",
        row.id
    );
    let record = lab.sql(&sql);
    let saga = refund(
        "refund",
        json!({"transaction": "/input/id", "receipt": {"note": "/input/note", "record": "/input/record"}}),
    );
    let input =
        |id: &str, note: &str, record: &str| json!({"id": id, "note": note, "record": record});
    let other = run(&engine, &saga, input(&id, &broken(&note), &record)).await;
    let forged = again(
        &engine,
        &saga,
        input(&id, &note, &record.replace("\"100\"", "\"900\"")),
    )
    .await;
    let elsewhere = "0190a000-0000-7000-8000-000000000000";
    let wrong = again(&engine, &saga, input(elsewhere, &note, &record)).await;
    assert_eq!(
        [code(&other), code(&forged), code(&wrong)],
        ["RD0359", "RD0359", "RD0359"]
    );
    // An engine that was given no key believes none.
    let deaf = lab.engine().await;
    let unknown = again(&deaf, &saga, input(&id, &note, &record)).await;
    assert_eq!(code(&unknown), "RD0359");
    assert_eq!(balances(&lab), "alice 100, world -100");
    // The row is of an older format: the receipt alone knows what was moved.
    lab.sql(&FORGET.replace("ID", &id));
    completed(again(&engine, &saga, input(&id, &note, &record)).await);
    assert_eq!(balances(&lab), "alice 0, world 0");
    assert_eq!(
        lab.sql("select count(*) from postings.receipt where note like '%/receipt/gen/%'"),
        "1"
    );
}

/// systems.md 3.2: a second revert is refused, also when both come at once and no program looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_revert_is_refused() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = paid(&lab, &engine, "world", "alice", "100").await;
    let saga = refund("refund", json!({"transaction": "/input/id"}));
    engine.register(&saga).await.expect("registered");
    let all = (0..6).map(|_| again(&engine, &saga, json!({"id": id})));
    let outcomes = futures_util::future::join_all(all).await;
    let done = outcomes
        .iter()
        .filter(|o| matches!(o, Outcome::Completed(_)))
        .count();
    assert_eq!(done, 1, "{outcomes:?}");
    for refused in outcomes
        .iter()
        .filter(|o| !matches!(o, Outcome::Completed(_)))
    {
        assert_eq!(code(refused), "RD0354");
    }
    assert_eq!(balances(&lab), "alice 0, world 0");
    let double = lab.try_sql(&format!(
        "insert into postings.transaction (id, run, phase, digest, reverses, effective_at) \
         values (gen_random_uuid(), gen_random_uuid(), 'p', sha256(''), '{id}', now())"
    ));
    assert!(
        double
            .expect_err("refused")
            .contains("transaction_reversed_once")
    );
    sound(&lab, &engine).await;
}

/// systems.md 3.2: a compensation does not reverse what somebody else reversed meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_reversed_already_is_not_compensated() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let row = completed(
        run(
            &engine,
            &pay(),
            json!({"from": "world", "to": "a", "amount": "5"}),
        )
        .await,
    );
    let saga = refund("refund", json!({"transaction": "/input/id"}));
    completed(run(&engine, &saga, json!({"id": transaction(&lab, &row)})).await);
    let plan = engine
        .plan(row.id, BTreeMap::new(), "back")
        .await
        .expect("planned");
    let error = engine.apply(&plan).await.expect_err("refused");
    assert_eq!(error.code(), "RD0354", "{error}");
    assert!(
        matches!(error, Error::GuardRefused { .. }),
        "nothing was begun: {error}"
    );
}

/// systems.md 3.2: one key, one target.
#[tokio::test(flavor = "multi_thread")]
async fn two_reverts_under_one_key_with_different_targets_are_a_conflict() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let first = paid(&lab, &engine, "world", "alice", "100").await;
    let second = paid(&lab, &engine, "world", "alice", "100").await;
    let saga = refund(
        "refund",
        json!({"transaction": "/input/id", "reference": "/input/key"}),
    );
    completed(run(&engine, &saga, json!({"id": first, "key": "k"})).await);
    let conflict = again(&engine, &saga, json!({"id": second, "key": "k"})).await;
    assert_eq!(code(&conflict), "RD0355");
    // The same key and target again: the same reversal, and this run takes nothing of it back.
    let same = completed(again(&engine, &saga, json!({"id": first, "key": "k"})).await);
    let committed = body(&lab, &same, "phase.committed");
    assert_eq!(committed["output"]["refund"][0]["existing"], true);
    assert_eq!(committed["undo"]["transactions"], json!([]));
    assert_eq!(balances(&lab), "alice 100, world -100");
}

/// systems.md 3.2: effective date, metadata, dry run.
#[tokio::test(flavor = "multi_thread")]
async fn a_revert_has_its_effective_date_and_metadata_and_can_be_tried() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = paid(&lab, &engine, "world", "alice", "100").await;
    let saga = refund(
        "refund",
        json!({"transaction": "/input/id", "effective": "original", "metadata": "/input/facts", "dry_run": "/input/dry"}),
    );
    let input = |dry: Value| json!({"id": id, "facts": {"why": "wrong size"}, "dry": dry});
    let tried = completed(run(&engine, &saga, input(json!(true))).await);
    let output = body(&lab, &tried, "phase.committed")["output"]["refund"][0].clone();
    assert_eq!(
        (&output["dry_run"], &output["postings"][0]["source"]),
        (&json!(true), &json!("alice"))
    );
    assert_eq!(balances(&lab), "alice 100, world -100");
    assert_eq!(lab.sql("select count(*) from postings.transaction"), "1");
    completed(again(&engine, &saga, input(json!(false))).await);
    let same = "select t.effective_at = o.effective_at, m.value from postings.transaction t \
                join postings.transaction o on o.id = t.reverses \
                join postings.live_metadata m on m.target = t.id::text and m.key = 'why'";
    assert_eq!(lab.sql(same), "t|wrong size");
    let nonsense = again(&engine, &saga, input(json!("yes"))).await;
    assert_eq!(code(&nonsense), "RD0358");
    sound(&lab, &engine).await;
}

/// systems.md 3.2: an overdraft refuses the revert unless forced; who forced is kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_overdraft_refuses_the_revert_unless_somebody_forces_it() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = paid(&lab, &engine, "world", "alice", "100").await;
    paid(&lab, &engine, "alice", "bob", "60").await;
    let saga = refund(
        "refund",
        json!({"transaction": "/input/id", "force": "/input/by"}),
    );
    let refused = run(&engine, &saga, json!({"id": id})).await;
    assert_eq!(code(&refused), "RD0350");
    assert!(
        said(&refused).contains("account alice has 40 EUR/2, 100 is needed"),
        "{}",
        said(&refused)
    );
    completed(again(&engine, &saga, json!({"id": id, "by": "otto"})).await);
    assert_eq!(balances(&lab), "alice -60, bob 60, world 0");
    assert_eq!(
        lab.sql("select forced_by from postings.transaction where reverses is not null"),
        "otto"
    );
    sound(&lab, &engine).await;
    // Who may force and did not need to is not noted.
    let other = paid(&lab, &engine, "world", "carol", "1").await;
    completed(again(&engine, &saga, json!({"id": other, "by": "otto"})).await);
    assert_eq!(
        lab.sql("select count(*) from postings.transaction where forced_by is not null"),
        "1"
    );
}

/// systems.md 3.2: an automatic compensation never forces; an approved plan does, in the signer's name.
#[tokio::test(flavor = "multi_thread")]
async fn a_compensation_overdraws_only_in_the_name_of_who_approved_it() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let with = json!({
        "accounts": ["*"], "open": [{"account": "world", "overdraft": true}],
        "transactions": [{"postings": [{"source": "world", "destination": "alice", "asset": "EUR/2", "amount": "100"}]}],
        "compensation": {"force": "/decision/principal"},
    });
    let row = completed(
        run(
            &engine,
            &saga("try", json!([phase("move", with)])),
            json!({}),
        )
        .await,
    );
    paid(&lab, &engine, "alice", "bob", "60").await;
    let plan = engine
        .plan(row.id, BTreeMap::new(), "back")
        .await
        .expect("planned");
    let error = engine.apply(&plan).await.expect_err("refused");
    assert_eq!(error.code(), "RD0350", "{error}");
    engine
        .approve(&plan, &lab.sovereign, "let it")
        .await
        .expect("approved");
    let outcome = engine.apply(&plan).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)));
    assert_eq!(balances(&lab), "alice -60, bob 60, world 0");
    let forced = lab.sql("select forced_by from postings.transaction where reverses is not null");
    assert!(forced.contains("sofia"), "{forced}");
    sound(&lab, &engine).await;
}

//! The ledger is sealed, anchored and exported, and strangers verify it.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex};

use redress::archive::Archives;
use redress::definition::HoldScope;
use redress::ledger::bundle::{Remembered, Report, Verdict};
use redress::ledger::keyring::body;
use redress::ledger::note::Note;
use redress::ledger::trust::Trust;
use redress::ledger::{Checkpoint, Kind, Receipt, SigningKey, leaf_hash, log_origin};
use redress::receipt::ReceiptSink;
use redress::seal::{FileAnchor, SealError};
use redress::{Engine, Error, KeyChange, Outcome, StoredPlan};
use redress_tests::{Lab, TestCluster, TestDatabase, Vault};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::common::*;

async fn lab() -> (Lab, Engine) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    (lab, engine)
}

/// A few runs: completed ones, and one that fails and is compensated.
async fn some_runs(engine: &Engine, completed: usize) {
    let good = saga("good", marks(2), json!({}));
    engine.register(&good).await.expect("registered");
    for _ in 0..completed {
        let outcome = again(engine, &good).await;
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    }
    let mut phases = marks(1);
    let fails =
        json!({"with": {"apply": [{"sql": "select 1 / 0"}], "revert": [{"sql": "select 1"}]}});
    phases.push(mark("p2", fails));
    let outcome = run(engine, &saga("bad", phases, json!({}))).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
}

fn records(lab: &Lab) -> u64 {
    lab.sql("select count(*) from redress.record")
        .parse()
        .unwrap()
}

/// What a superuser can do: changes append-only tables and leaves them as they were.
fn behind_the_triggers(lab: &Lab, tables: &[&str], change: &str) {
    let all = |what: &str| -> String {
        let each = tables.iter().flat_map(|table| {
            ["is_append_only", "is_not_truncated"]
                .map(|name| format!("alter table redress.{table} {what} trigger {table}_{name};"))
        });
        each.collect()
    };
    lab.sql(&format!(
        "{} {change}; {}",
        all("disable"),
        all("enable always")
    ));
}

#[track_caller]
fn seal_error(result: Result<impl std::fmt::Debug, Error>) -> SealError {
    match result {
        Err(Error::Seal(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_and_exported_is_verified_by_a_stranger() {
    let (lab, engine) = lab().await;
    some_runs(&engine, 5).await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    let sealed = sealer.seal().await.expect("sealed");
    assert_eq!(
        (sealed.records, sealed.head.size),
        (records(&lab), records(&lab))
    );
    let report = vault.export(&engine, "first", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(
        (report.size, report.records),
        (Some(sealed.head.size), sealed.records)
    );
    // Published files are the same log: the newest checkpoint, byte for byte.
    let published = fs::read(vault.path("log/checkpoint")).unwrap();
    assert_eq!(published, fs::read(vault.path("first/checkpoint")).unwrap());
    assert_eq!(published, fs::read(vault.path("anchor/head")).unwrap());
    // Later ones continue it.
    some_runs(&engine, 3).await;
    let more = sealer.seal().await.expect("sealed");
    assert!(more.records > 0 && more.head.size == records(&lab));
    let remembered = Remembered::read(&published, &vault.trust).expect("a checkpoint");
    vault.export(&engine, "second", None).await;
    let report = vault.verify("second", std::slice::from_ref(&remembered));
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(report.consistent_with, [sealed.head.size]);
    // The older folder is a shorter log than the newer head: whoever remembers that finds it.
    let newer = fs::read(vault.path("second/checkpoint")).unwrap();
    let newer = Remembered::read(&newer, &vault.trust).unwrap();
    let report = vault.verify("first", &[newer]);
    let failure = report.first_failure.expect("a failure");
    assert_eq!((report.verdict, failure.code), (Verdict::Failed, "RD0657"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_no_new_head() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    let first = sealer.seal().await.expect("sealed");
    let again = sealer.seal().await.expect("sealed");
    assert_eq!((again.records, again.head), (0, first.head));
    assert_eq!(lab.sql("select count(*) from redress.checkpoint"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_nobody_opened_is_not_sealed() {
    let (lab, engine) = lab().await;
    some_runs(&engine, 1).await;
    let vault = Vault::closed(&lab, &engine);
    let error = seal_error(vault.sealer(&engine).seal().await);
    assert!(matches!(error, SealError::NotOpened), "{error}");
    let error = seal_error(
        engine
            .export(&vault.path("none"), None, &vault.log, &mut Archives::none())
            .await,
    );
    assert!(matches!(error, SealError::Nothing), "{error}");
    assert!(!vault.path("none").exists());
    assert_eq!(lab.sql("select count(*) from redress.leaf"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_batches_make_the_same_log_as_one() {
    let (lab, engine) = lab().await;
    some_runs(&engine, 9).await;
    let vault = Vault::open(&lab, &engine).await;
    let sealed = vault.sealer(&engine).batch(3).seal().await.expect("sealed");
    assert_eq!(sealed.head.size, records(&lab));
    let heads: u64 = lab
        .sql("select count(*) from redress.checkpoint")
        .parse()
        .unwrap();
    assert!(heads > 3, "{heads} heads");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_a_long_transaction_is_sealed_when_it_commits() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    sealer.seal().await.expect("sealed");
    // A transaction that got its id before all others and commits last, with a record of its own.
    let (mut late, connection) = tokio_postgres::connect(lab.url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let open = late.transaction().await.unwrap();
    open.query_one("select pg_current_xact_id()::text", &[])
        .await
        .unwrap();
    some_runs(&engine, 2).await;
    let before = sealer.seal().await.expect("sealed");
    assert_eq!(before.head.size, records(&lab));
    // Its record: a hold, as the operator's function writes it, behind the head of the system log.
    let insert = "with l as (select run, seq, head from redress.system_log where name = 'system' for update),
        r as (select l.run, l.seq + 1 as seq, convert_to('{\"actor\":\"test\",\"at\":\"2026-05-01T12:00:00.000000Z\",\"body\":{\"code\":\"X\",\"hold\":\"0190f5a0-0000-7000-8000-000000000001\",\"reason\":\"r\",\"run\":null,\"scope\":\"all\",\"target\":null},\"engine\":\"test\",\"epoch\":0,\"generation\":1,\"idem\":null,\"kind\":\"hold.set\",\"origin\":\"' || (select origin from redress.installation) || '\",\"policy\":null,\"prev\":\"' || encode(l.head, 'hex') || '\",\"run\":\"' || l.run || '\",\"seq\":' || l.seq + 1 || ',\"switch_no\":1,\"v\":1}', 'UTF8') as bytes from l)
        select redress.append_system('system', r.seq - 1, array[r.bytes]) from r";
    open.query_one(insert, &[]).await.unwrap();
    some_runs(&engine, 1).await;
    sealer.seal().await.expect("sealed");
    open.commit().await.unwrap();
    let after = sealer.seal().await.expect("sealed");
    assert_eq!((after.records, after.head.size), (1, records(&lab)));
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sealer_at_a_time() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut first = vault.sealer(&engine);
    first.seal().await.expect("sealed");
    let mut second = vault.sealer(&engine);
    let error = seal_error(second.seal().await);
    assert!(
        matches!(&error, SealError::Busy { name, .. } if name == "test"),
        "{error}"
    );
    // Its lease runs out: the other one takes over, and the first one is fenced.
    lab.sql("update redress.sealer set lease_until = '-infinity'");
    some_runs(&engine, 1).await;
    second.seal().await.expect("sealed");
    let error = seal_error(first.seal().await);
    assert!(matches!(error, SealError::Busy { .. }), "{error}");
    second.leave().await.expect("left");
    some_runs(&engine, 1).await;
    first.seal().await.expect("sealed");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_under_a_running_sealer_is_a_fork() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    some_runs(&engine, 2).await;
    sealer.seal().await.expect("sealed");
    let backup = "create schema backup; create table backup.leaf as table redress.leaf;
        create table backup.checkpoint as table redress.checkpoint; create table backup.sealer as table redress.sealer";
    lab.sql(backup);
    some_runs(&engine, 2).await;
    sealer.seal().await.expect("sealed");
    let signed = fs::read(vault.path("anchor/head")).unwrap();
    // As after a restore: the rows of the older moment.
    behind_the_triggers(
        &lab,
        &["leaf", "checkpoint"],
        "delete from redress.leaf; insert into redress.leaf table backup.leaf;
         delete from redress.checkpoint; insert into redress.checkpoint table backup.checkpoint;
         delete from redress.sealer; insert into redress.sealer table backup.sealer",
    );
    some_runs(&engine, 1).await;
    let heads = lab.sql("select count(*) from redress.checkpoint");
    for mut sealer in [sealer, vault.sealer(&engine)] {
        let error = seal_error(sealer.seal().await);
        assert!(matches!(error, SealError::Fork(_)), "{error}");
        assert!(error.to_string().contains("FORK") && error.to_string().contains("ledger-fork"));
        assert_eq!(error.code(), "RD0735");
        sealer.leave().await.expect("left");
    }
    assert_eq!(
        lab.sql("select count(*) from redress.checkpoint"),
        heads,
        "nothing was signed"
    );
    assert_eq!(fs::read(vault.path("anchor/head")).unwrap(), signed);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_anchor_a_log_is_not_extended_until_a_person_says_so() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    sealer.seal().await.expect("sealed");
    sealer.leave().await.expect("left");
    fs::remove_file(vault.path("anchor/head")).unwrap();
    let mut another = vault.sealer(&engine);
    let error = seal_error(another.seal().await);
    assert!(matches!(error, SealError::NoAnchor { .. }), "{error}");
    another.leave().await.expect("left");
    vault
        .sealer(&engine)
        .first_anchor()
        .seal()
        .await
        .expect("sealed");
    assert!(vault.path("anchor/head").exists());
    fs::write(vault.path("anchor/head"), "no checkpoint").unwrap();
    lab.sql("update redress.sealer set lease_until = '-infinity'");
    let error = seal_error(vault.sealer(&engine).seal().await);
    assert!(matches!(error, SealError::Anchor { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_does_not_fit_its_chain_is_not_sealed() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    sealer.seal().await.expect("sealed");
    some_runs(&engine, 2).await;
    let change = |change: &str| behind_the_triggers(&lab, &["record"], change);
    lab.sql("create schema backup; create table backup.record as table redress.record");
    let restore = "delete from redress.record; insert into redress.record table backup.record";
    let some =
        "run = (select run from redress.record where seq = 2 and kind = 'phase.committed' limit 1)";
    change(&format!(
        "update redress.record set bytes = overlay(bytes placing 'x' from 20) where seq = 2 and {some}"
    ));
    let error = seal_error(sealer.seal().await);
    assert!(matches!(error, SealError::Chain { seq: 2, .. }), "{error}");
    change(restore);
    change(&format!(
        "delete from redress.record where seq = 2 and {some}"
    ));
    let error = seal_error(sealer.seal().await);
    assert!(matches!(error, SealError::Gap { seq: 3, .. }), "{error}");
    change(restore);
    sealer.seal().await.expect("sealed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_key_that_was_rotated_signs_no_more() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    sealer.seal().await.expect("sealed");
    let new = SigningKey::generate(vault.log.name()).unwrap();
    let change = KeyChange {
        kind: Kind::KeyRotated,
        body: body::rotate(vault.log.id(), new.vkey()),
    };
    engine
        .change_keyring(change, &[&lab.sovereign], "yearly")
        .await
        .expect("rotated");
    let error = seal_error(sealer.seal().await);
    assert!(matches!(error, SealError::OtherKey { .. }), "{error}");
    sealer.leave().await.expect("left");
    let anchor = FileAnchor::new(vault.path("anchor/head"));
    let mut sealer = engine.sealer(new, anchor, vault.path("log"));
    sealer.seal().await.expect("sealed with the new key");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_keys_stand_in_the_order_in_which_they_counted() {
    let (lab, engine) = lab().await;
    // Decided before the ledger was opened, by a key that the opening registers.
    let release = async |engine: &Engine| {
        let hold = engine
            .hold(HoldScope::All, None, "wait", false)
            .await
            .expect("held");
        engine
            .release_hold(hold.id, &lab.sovereign, "again")
            .await
            .expect("released");
    };
    release(&engine).await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    release(&engine).await;
    // The reviewer's key is revoked between two decisions of the sovereign; all in one batch.
    let change = KeyChange {
        kind: Kind::KeyRevoked,
        body: body::revoke(lab.reviewer.id()),
    };
    engine
        .change_keyring(change, &[&lab.sovereign], "left the house")
        .await
        .expect("revoked");
    release(&engine).await;
    some_runs(&engine, 2).await;
    sealer.seal().await.expect("sealed");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_run_is_exported_with_all_that_its_decisions_rest_on() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 3).await;
    let outcome = again(&engine, &saga("good", marks(2), json!({}))).await;
    let run = outcome.run().id;
    vault.sealer(&engine).seal().await.expect("sealed");
    let report = vault.export(&engine, "one", Some(run)).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert!(report.complete && report.records < records(&lab));
    // A receipt for one record says the same on its own.
    let receipt = engine
        .receipt(run, Some("p1"), &mut Archives::none())
        .await
        .expect("a receipt");
    assert_eq!(leaf_hash(&receipt.record), receipt.hash);
    receipt
        .proof
        .verify(&receipt.hash, vault.log.vkey())
        .expect("the log signed it");
    let none = engine.receipt(run, Some("p9"), &mut Archives::none()).await;
    assert!(matches!(none, Err(Error::UnknownPhase { .. })), "{none:?}");
}

#[derive(Default)]
struct Kept(Mutex<Vec<(Receipt, Vec<u8>)>>);

impl ReceiptSink for Kept {
    fn receive(&self, receipt: &Receipt, note: &Note) {
        self.0
            .lock()
            .unwrap()
            .push((receipt.clone(), note.to_bytes()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_has_a_receipt_the_moment_it_is_committed() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let key = SigningKey::generate("engine-1").unwrap();
    let vkey = key.vkey().clone();
    let kept = Arc::new(Kept::default());
    let builder = lab.builder(lab.url()).signer(key).receipts(kept.clone());
    let engine = builder.build().await.expect("an engine");
    some_runs(&engine, 2).await;
    let receipts = std::mem::take(&mut *kept.0.lock().unwrap());
    let committed = lab.sql(
        "select run || ' ' || seq || ' ' || encode(hash, 'hex') from redress.record order by 1",
    );
    let mut told = Vec::new();
    for (receipt, note) in &receipts {
        assert_eq!(Receipt::verify(note, &vkey).as_ref(), Ok(receipt));
        told.push(format!("{} {} {}", receipt.run, receipt.seq, receipt.hash));
    }
    told.sort();
    assert_eq!(told.join("\n"), committed, "one for each record of a run");
    // A record whose COMMIT got no answer: signed when it is asked for.
    let run = receipts[0].0.run;
    let signed = engine.sign_receipts(run).await.expect("signed");
    let of_run = receipts.iter().filter(|(receipt, _)| receipt.run == run);
    assert_eq!(signed.len(), of_run.count());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_two_heads_are_proven_to_be_of_one_log() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    let old = sealer.seal().await.expect("sealed").head;
    some_runs(&engine, 4).await;
    let new = sealer.seal().await.expect("sealed").head;
    let proof = engine
        .consistency(old.size, new.size)
        .await
        .expect("a proof");
    assert_eq!((proof.old.1, proof.new.1), (old.root, new.root));
    redress::ledger::tree::verify_consistency(
        old.size,
        &old.root,
        new.size,
        &new.root,
        &proof.hashes,
    )
    .expect("it continues");
    let error = seal_error(engine.consistency(old.size, new.size + 1).await);
    assert!(matches!(error, SealError::Sizes { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_following_sealer_seals_while_sagas_run_and_stops_when_told() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    let (stop, stopping) = watch::channel(false);
    let following = tokio::spawn(async move {
        let mut heads = Vec::new();
        let result = sealer
            .follow(stopping, |sealed| heads.push(sealed.head.size))
            .await;
        (result, heads)
    });
    for _ in 0..4 {
        some_runs(&engine, 4).await;
    }
    let all = records(&lab);
    until("everything is sealed", async || {
        lab.sql("select size from redress.sealer")
            .parse::<u64>()
            .unwrap()
            == all
    })
    .await;
    stop.send_replace(true);
    let (result, heads) = within(LIMIT, "the sealer stops", following).await.unwrap();
    result.expect("stopped");
    assert!(heads.windows(2).all(|pair| pair[0] < pair[1]), "{heads:?}");
    assert_eq!(lab.sql("select owner is null from redress.sealer"), "t");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let published = fs::read(vault.path("log/checkpoint")).unwrap();
    assert_eq!(Checkpoint::peek(&published).unwrap().size, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_blob_is_gone_and_the_ledger_holds() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    let saga = saga("long", marks(1), json!({}));
    engine.register(&saga).await.expect("registered");
    let start = engine.start("long", json!({"letter": "dear sir ".repeat(3_000)}));
    let run = engine
        .start_and_drive(start)
        .await
        .expect("driven")
        .1
        .run()
        .id;
    vault.sealer(&engine).seal().await.expect("sealed");
    let report = vault.export(&engine, "with", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let blob: uuid::Uuid = lab
        .sql(&format!(
            "select id from redress.blob where run = '{run}' limit 1"
        ))
        .parse()
        .unwrap();
    assert!(vault.path(&format!("with/blobs/{blob}")).exists());
    // Nobody else than the root may, and nothing happens.
    let refused = engine.erase_blob(blob, &[&lab.reviewer], "asked").await;
    assert!(matches!(refused, Err(Error::Act(_))), "{refused:?}");
    assert_eq!(lab.sql("select count(*) from redress.blob"), "1");
    engine
        .erase_blob(blob, &[&lab.sovereign], "the person asked for it")
        .await
        .expect("erased");
    assert_eq!(lab.sql("select count(*) from redress.blob"), "0");
    lab.sql("update redress.sealer set lease_until = '-infinity'");
    vault.sealer(&engine).seal().await.expect("sealed");
    let report = vault.export(&engine, "without", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert!(!vault.path(&format!("without/blobs/{blob}")).exists());
    let again = engine.erase_blob(blob, &[&lab.sovereign], "again").await;
    assert!(matches!(again, Err(Error::UnknownBlob(_))), "{again:?}");
    let report = engine.check().await.expect("checked");
    assert!(report.ok, "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_run_that_was_deleted_whole_is_missed() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 2).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    lab.sql(
        "alter table redress.record disable trigger all; create temporary table gone as select id from redress.run limit 1;
         delete from redress.record where run in (table gone); delete from redress.run where id in (table gone);
         alter table redress.record enable always trigger record_is_append_only;
         alter table redress.record enable always trigger record_is_not_truncated",
    );
    let audit = engine.audit_verify().await.expect("read");
    assert!(
        matches!(
            audit.verdict,
            redress::ledger::Verdict::Failed { code: "RD0746", .. }
        ),
        "{:?}",
        audit.verdict
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_that_were_changed_behind_the_triggers_are_found() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 2).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    let good = engine.check().await.expect("checked");
    assert!(good.ok, "{:?}", good.findings);
    lab.sql(
        "create schema backup; create table backup.leaf as table redress.leaf;
         create table backup.checkpoint as table redress.checkpoint; create table backup.sealer as table redress.sealer",
    );
    for change in [
        "update redress.leaf set hash = sha256('x') where position = 3",
        "update redress.leaf set seq = 9 where position = 4",
        "delete from redress.leaf where position = 5",
        "delete from redress.leaf where position = (select max(position) from redress.leaf)",
        "delete from redress.checkpoint",
        "update redress.sealer set root = sha256('x')",
        "delete from redress.sealer",
    ] {
        behind_the_triggers(&lab, &["leaf", "checkpoint"], change);
        let report = engine.check().await.expect("checked");
        let codes: Vec<&str> = report.findings.iter().map(|found| found.code).collect();
        assert!(codes.contains(&"RD0746"), "{change}: {codes:?}");
        let audit = engine.audit_verify().await.expect("read");
        let redress::ledger::Verdict::Failed { code, .. } = audit.verdict else {
            panic!("{change}: {:?}", audit.verdict);
        };
        assert_eq!(code, "RD0746", "{change}");
        behind_the_triggers(
            &lab,
            &["leaf", "checkpoint"],
            "delete from redress.leaf; insert into redress.leaf table backup.leaf;
             delete from redress.checkpoint; insert into redress.checkpoint table backup.checkpoint;
             delete from redress.sealer; insert into redress.sealer table backup.sealer",
        );
    }
    // What the triggers and rights refuse, and whose absence is found.
    for refused in [
        "delete from redress.leaf",
        "set session_replication_role = replica; update redress.leaf set hash = ''",
        "truncate redress.checkpoint",
    ] {
        let error = lab.try_sql(refused).expect_err(refused);
        assert!(error.starts_with("RDA01"), "{refused}: {error}");
    }
    lab.sql("alter table redress.leaf disable trigger leaf_is_append_only");
    let report = engine.check().await.expect("checked");
    assert_eq!(
        report.findings.first().map(|found| found.code),
        Some("RD0694")
    );
}

/// Dumps a database and restores it on another server, as a person would.
fn restored(from: &Lab, to: &TestCluster) -> Option<TestDatabase> {
    let dump = TestCluster::binaries().bin.join("pg_dump");
    if !dump.exists() {
        eprintln!(
            "SKIPPED: there is no pg_dump beside the server, {}",
            dump.display()
        );
        return None;
    }
    let dumped = TestCluster::binaries()
        .command("pg_dump")
        .args(["--inserts", "--dbname", from.url()])
        .output()
        .expect("pg_dump runs");
    assert!(
        dumped.status.success(),
        "{}",
        String::from_utf8_lossy(&dumped.stderr)
    );
    let text = String::from_utf8(dumped.stdout).expect("UTF-8");
    let text: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .collect();
    let copy = to.fresh_database();
    copy.query_text(&text.join("\n"));
    Some(copy)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_restored_elsewhere_goes_on_as_a_new_generation() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 3).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    let remembered = fs::read(vault.path("log/checkpoint")).unwrap();
    // The new server has the roles, as any that redress was installed on.
    let cluster = TestCluster::own();
    redress_tests::lab::migrate(cluster.fresh_database().url()).await;
    let Some(copy) = restored(&lab, &cluster) else {
        return;
    };
    // Nothing works there by itself: it is another server. (The clusters of the tests are copies of one and are alike
    // in this; a real one has a number of its own.)
    copy.query_text("update redress.installation set system_identifier = '1'");
    let refused = lab
        .builder(copy.url())
        .build()
        .await
        .err()
        .expect("refused");
    assert_eq!(refused.code(), "RD0705", "{refused}");
    let name = log_origin(&engine.installation().origin, 2);
    let log = SigningKey::generate(&name).unwrap();
    let ceremony = lab
        .builder(copy.url())
        .restored()
        .build()
        .await
        .expect("built");
    // Only the root, and only behind a head that the log signed.
    let attempts: [(&[u8], &SigningKey); 2] =
        [(&remembered, &lab.reviewer), (b"no head", &lab.sovereign)];
    for (head, signer) in attempts {
        let refused = ceremony
            .open_generation(head, log.vkey(), &[signer], "moved")
            .await;
        assert!(refused.is_err(), "{refused:?}");
        assert_eq!(
            copy.query_text("select generation from redress.installation"),
            "1"
        );
    }
    let generation = ceremony
        .open_generation(&remembered, log.vkey(), &[&lab.sovereign], "moved")
        .await
        .expect("opened");
    assert_eq!(generation, 2);
    let moved = lab.builder(copy.url()).build().await.expect("an engine");
    let good = saga("good", marks(2), json!({}));
    let outcome = again(&moved, &good).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    let report = moved.check().await.expect("checked");
    assert!(report.ok, "{:?}", report.findings);
    let audit = moved.audit_verify().await.expect("verified");
    assert_eq!(audit.verdict, redress::ledger::Verdict::Verified);
    let anchor = FileAnchor::new(vault.path("anchor/second"));
    let mut trust = vault.trust.clone();
    trust.add_log(log.vkey().clone()).unwrap();
    let seed = SigningKey::generate(&name).unwrap();
    let error = seal_error(
        moved
            .sealer(seed, FileAnchor::new(vault.path("x")), vault.path("y"))
            .seal()
            .await,
    );
    assert!(matches!(error, SealError::OtherKey { .. }), "{error}");
    lab_leave(&copy);
    let exporter = vault.path("moved");
    let mut sealer = moved.sealer(log, anchor, vault.path("log2"));
    let sealed = sealer.seal().await.expect("sealed");
    assert_eq!(
        sealed.head.size.to_string(),
        copy.query_text("select count(*) from redress.record")
    );
    moved
        .export(&exporter, None, sealer.key(), &mut Archives::none())
        .await
        .expect("exported");
    let old = Remembered::read(&remembered, &trust).expect("a checkpoint");
    let report = redress::ledger::bundle::verify(&exporter, &trust, &[old]).expect("read");
    // What was carried is judged as in its own generation.
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(report.first_failure, None);
}

/// What goes from generation to generation: whoever seals and exports does it with the newest log key.
struct Moved<'v> {
    vault: &'v Vault,
    trust: Trust,
    log: SigningKey,
    seed: [u8; 32],
    number: i64,
}

impl<'v> Moved<'v> {
    /// Opens the next generation behind a head, on the database at this URL.
    async fn open(
        lab: &Lab,
        vault: &'v Vault,
        url: &str,
        trust: &Trust,
        head: &[u8],
    ) -> (Self, Engine) {
        let ceremony = lab.builder(url).restored().build().await.expect("built");
        let before = ceremony.installation();
        let number = before.generation + 1;
        let seed = *leaf_hash(Uuid::now_v7().as_bytes()).as_bytes();
        let name = log_origin(&before.origin, number);
        let log = SigningKey::from_seed(&name, &seed).expect("a key");
        let opened = ceremony
            .open_generation(head, log.vkey(), &[&lab.sovereign], "moved")
            .await;
        assert_eq!(opened.expect("opened"), number);
        let mut trust = trust.clone();
        trust.add_log(log.vkey().clone()).expect("another key");
        let engine = lab.builder(url).build().await.expect("an engine");
        let moved = Self {
            vault,
            trust,
            log,
            seed,
            number,
        };
        (moved, engine)
    }

    /// Seals in small batches, exports, and verifies with nothing but the reviewer's trust.
    async fn verify(
        &self,
        engine: &Engine,
        name: &str,
        run: Option<Uuid>,
        remembered: &[&[u8]],
    ) -> Report {
        let key = SigningKey::from_seed(self.log.name(), &self.seed).expect("the same key");
        let anchor = self.vault.path(&format!("anchor/{}", self.number));
        let mut sealer = engine
            .sealer(key, FileAnchor::new(anchor), self.published())
            .batch(7);
        sealer.seal().await.expect("sealed");
        sealer.leave().await.expect("left");
        let folder = self.vault.path(name);
        engine
            .export(&folder, run, &self.log, &mut Archives::none())
            .await
            .expect("exported");
        let read = |bytes: &&[u8]| Remembered::read(bytes, &self.trust).expect("a checkpoint");
        let remembered: Vec<Remembered> = remembered.iter().map(read).collect();
        redress::ledger::bundle::verify(&folder, &self.trust, &remembered).expect("read")
    }

    fn published(&self) -> std::path::PathBuf {
        self.vault.path(&format!("log{}", self.number))
    }

    fn head(&self) -> Vec<u8> {
        fs::read(self.published().join("checkpoint")).expect("a head")
    }
}

#[track_caller]
fn verified(report: &Report, cut_off: bool) {
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let words: Vec<&str> = report.warnings.iter().map(|word| word.as_str()).collect();
    assert!(!words.contains(&"carried-records"), "{words:?}");
    assert_eq!(words.contains(&"older-log-cut-off"), cut_off, "{words:?}");
}

/// A completed run whose revert needs the sovereign, and its plan.
async fn planned(engine: &Engine) -> (Uuid, StoredPlan) {
    let line = saga(
        "line",
        marks(2),
        json!({"authority": {"soft_revert": {"sovereign": 1}}}),
    );
    let outcome = run(engine, &line).await;
    let plan = engine
        .plan(outcome.run().id, BTreeMap::new(), "undo")
        .await
        .expect("planned");
    (outcome.run().id, plan)
}

/// Holds and their releases, the last by a key that is revoked afterwards.
async fn decided(lab: &Lab, engine: &Engine) {
    // The reviewer's signature alone releases nothing; it stands in the ledger as well.
    for signers in [&[&lab.sovereign][..], &[&lab.reviewer, &lab.sovereign]] {
        let hold = engine
            .hold(HoldScope::All, None, "wait", false)
            .await
            .expect("held");
        for signer in signers {
            let signed = engine.release_hold(hold.id, signer, "again").await;
            signed.expect("recorded");
        }
    }
    let change = KeyChange {
        kind: Kind::KeyRevoked,
        body: body::revoke(lab.reviewer.id()),
    };
    engine
        .change_keyring(change, &[&lab.sovereign], "left the house")
        .await
        .expect("revoked");
}

/// Decisions, plans and open runs of a generation are judged in the next one, and in the one behind that.
#[tokio::test(flavor = "multi_thread")]
async fn what_older_generations_did_is_verified_in_the_newest() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 3).await;
    let (undone, plan) = planned(&engine).await;
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    engine.apply(&plan).await.expect("undone");
    decided(&lab, &engine).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    let first = vault.published().expect("a head");
    // Behind the last head: a plan that waits, a run that has not begun, and nobody sealed them.
    let (waits, plan) = planned(&engine).await;
    let good = saga("good", marks(2), json!({}));
    let begun = open(&engine, &good).await;
    let (second, moved) = Moved::open(&lab, &vault, lab.url(), &vault.trust, &first).await;
    let report = second.verify(&moved, "carried", None, &[&first]).await;
    verified(&report, false);
    assert!(!report.complete, "a run is open");
    // They go on in the new generation.
    let outcome = moved.drive(begun).await.expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    moved
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    moved.apply(&plan).await.expect("undone");
    some_runs(&moved, 2).await;
    verified(&second.verify(&moved, "two", None, &[&first]).await, false);
    for (name, run) in [("run-a", undone), ("run-b", waits), ("run-c", begun)] {
        verified(&second.verify(&moved, name, Some(run), &[]).await, false);
    }
    let head = second.head();
    // The engine of the old generation writes nothing more.
    let late = engine.drive(open(&moved, &good).await).await;
    assert!(late.is_err(), "{late:?}");
    // And once more.
    let (third, last) = Moved::open(&lab, &vault, lab.url(), &second.trust, &head).await;
    some_runs(&last, 1).await;
    let report = third.verify(&last, "three", None, &[&first, &head]).await;
    verified(&report, false);
    verified(&third.verify(&last, "run-d", Some(waits), &[]).await, false);
    sound(&last).await;
}

/// A generation that nobody sealed is carried on as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_of_which_nothing_was_sealed_is_carried_on() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 2).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    let first = vault.published().expect("a head");
    let (second, moved) = Moved::open(&lab, &vault, lab.url(), &vault.trust, &first).await;
    some_runs(&moved, 1).await;
    let beginning = Checkpoint {
        origin: second.log.name().to_owned(),
        size: 0,
        root: redress::ledger::Frontier::new().root(),
    };
    let beginning = beginning.sign(&second.log).expect("signed").to_bytes();
    let (third, last) = Moved::open(&lab, &vault, lab.url(), &second.trust, &beginning).await;
    some_runs(&last, 1).await;
    let report = third.verify(&last, "three", None, &[&first]).await;
    verified(&report, false);
    assert_eq!(
        report.records.to_string(),
        lab.sql("select count(*) from redress.record")
    );
}

/// A backup is older than the head that somebody remembers: what is lost is said, what is there is verified.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_lost_the_end_of_its_log_goes_on_and_says_so() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 2).await;
    let mut sealer = vault.sealer(&engine);
    sealer.seal().await.expect("sealed");
    let early = vault.published().expect("a head");
    some_runs(&engine, 1).await;
    let cluster = TestCluster::own();
    redress_tests::lab::migrate(cluster.fresh_database().url()).await;
    let Some(copy) = restored(&lab, &cluster) else {
        return;
    };
    some_runs(&engine, 1).await;
    sealer.seal().await.expect("sealed");
    let late = vault.published().expect("a head");
    let (second, moved) = Moved::open(&lab, &vault, copy.url(), &vault.trust, &late).await;
    some_runs(&moved, 1).await;
    let report = second.verify(&moved, "two", None, &[&early, &late]).await;
    verified(&report, true);
}

/// Records that were changed before the generation was opened are found before anybody signs for them.
#[tokio::test(flavor = "multi_thread")]
async fn no_generation_is_opened_over_records_that_are_not_those_that_were_signed() {
    let (lab, engine) = lab().await;
    let vault = Vault::open(&lab, &engine).await;
    some_runs(&engine, 2).await;
    vault.sealer(&engine).seal().await.expect("sealed");
    let head = vault.published().expect("a head");
    let leaf = "update redress.leaf set hash = sha256('x') where position = 9";
    behind_the_triggers(&lab, &["leaf"], leaf);
    let ceremony = lab.builder(lab.url()).restored().build().await.unwrap();
    let log = SigningKey::generate(&log_origin(&engine.installation().origin, 2)).unwrap();
    let opened = ceremony
        .open_generation(&head, log.vkey(), &[&lab.sovereign], "moved")
        .await;
    assert!(matches!(seal_error(opened), SealError::Fork(_)));
    assert_eq!(lab.sql("select generation from redress.installation"), "1");
}

/// As after the death of a sealer whose lease ran out.
fn lab_leave(database: &TestDatabase) {
    database.query_text("update redress.sealer set lease_until = '-infinity'");
}

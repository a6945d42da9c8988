//! Ended runs leave the database by a decision of the root, and the ledger stays whole.

use std::collections::BTreeMap;
use std::fs;

use redress::archive::{Archives, Archiving};
use redress::definition::HoldScope;
use redress::ledger::bundle::Verdict;
use redress::ledger::{Kind, SigningKey, leaf_hash, log_origin};
use redress::seal::FileAnchor;
use redress::{Engine, Error, KeyChange, Outcome};
use redress_runbooks::execute;
use redress_tests::{Lab, Vault};
use serde_json::json;
use uuid::Uuid;

use crate::common::*;

/// Later than anything here.
const LATER: &str = "2999-01-01T00:00:00.000000Z";

/// A laboratory whose ledger is open, with a few ended runs that are sealed.
async fn sealed(runs: usize) -> (Lab, Engine, Vault, Vec<Uuid>) {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let vault = Vault::open(&lab, &engine).await;
    let good = saga("good", marks(2), json!({}));
    engine.register(&good).await.expect("registered");
    let mut ids = Vec::new();
    for at in 0..runs {
        let start = engine
            .start("good", json!({"n": at}))
            .key(format!("key-{at}"));
        let (started, outcome) = engine.start_and_drive(start).await.expect("driven");
        assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
        ids.push(started.run);
    }
    let mut phases = marks(1);
    let fails =
        json!({"with": {"apply": [{"sql": "select 1 / 0"}], "revert": [{"sql": "select 1"}]}});
    phases.push(mark("p2", fails));
    let outcome = run(&engine, &saga("bad", phases, json!({}))).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    ids.push(outcome.run().id);
    reseal(&lab, &engine, &vault).await;
    (lab, engine, vault, ids)
}

async fn reseal(lab: &Lab, engine: &Engine, vault: &Vault) {
    lab.sql("update redress.sealer set lease_until = '-infinity'");
    vault.sealer(engine).seal().await.expect("sealed");
}

async fn written(engine: &Engine, vault: &Vault, name: &str) -> Archiving {
    let mut archives = vault.archives();
    engine
        .archive(&vault.path(name), LATER, &vault.log, &mut archives)
        .await
        .expect("written")
}

async fn let_go(engine: &Engine, lab: &Lab, change: KeyChange) -> Result<(), Error> {
    let reason = "ninety days have passed";
    engine
        .change_keyring(change, &[&lab.sovereign], reason)
        .await
        .map(drop)
}

fn count(lab: &Lab, table: &str) -> u64 {
    lab.sql(&format!("select count(*) from redress.{table}"))
        .parse()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_runs_leave_the_tables_and_the_ledger_is_verified_as_a_whole() {
    let (lab, engine, vault, ids) = sealed(4).await;
    looked_at(&lab, &engine, ids[0]).await;
    reseal(&lab, &engine, &vault).await;
    assert_eq!(count(&lab, "execution"), 1);
    let size = vault.export(&engine, "before", None).await.size;
    let archiving = written(&engine, &vault, "archive").await;
    let report = vault.verify("archive", &[]);
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let leaves = archiving.leaves.clone().expect("runs that leave");
    assert_eq!(leaves.runs, ids.len() as u64);
    // Nobody else than the root may, and nothing happens.
    let change = archiving.change().expect("a change");
    let refused = engine
        .change_keyring(change, &[&lab.reviewer], "tidy")
        .await;
    assert!(matches!(refused, Err(Error::Act(_))), "{refused:?}");
    let before = count(&lab, "record");
    let change = archiving.change().expect("a change");
    let_go(&engine, &lab, change).await.expect("let go");
    assert_eq!(count(&lab, "run"), 0);
    assert_eq!(count(&lab, "record"), before + 1 - leaves.records);
    assert_eq!(count(&lab, "plan"), 0);
    assert_eq!(count(&lab, "execution"), 0);
    assert_eq!(count(&lab, "archived_run"), ids.len() as u64);
    sound(&engine).await;
    // The log goes on, and is exported and verified from its first record to its last.
    let next = again(&engine, &saga("good", marks(2), json!({}))).await;
    reseal(&lab, &engine, &vault).await;
    let report = vault.export(&engine, "after", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert!(report.size > size);
    let head = fs::read(vault.path("before/checkpoint")).expect("a checkpoint");
    let head = redress::ledger::bundle::Remembered::read(&head, &vault.trust).expect("remembered");
    assert_eq!(vault.verify("after", &[head]).verdict, Verdict::Verified);
    // One run of each kind: one that left, one that stands.
    for run in [ids[1], next.run().id] {
        let report = vault
            .export(&engine, &format!("one-{run}"), Some(run))
            .await;
        assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
        assert!(report.complete);
    }
    let receipt = engine
        .receipt(ids[0], Some("p1"), &mut vault.archives())
        .await
        .expect("a receipt");
    assert_eq!(leaf_hash(&receipt.record), receipt.hash);
    let size = i64::try_from(report.size.unwrap_or_default()).unwrap();
    engine
        .consistency(1, u64::try_from(size).unwrap())
        .await
        .expect("no archive is needed for a proof between heads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_archive_holds_what_left_before() {
    let (lab, engine, vault, first) = sealed(2).await;
    let archiving = written(&engine, &vault, "archive").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    again(&engine, &saga("good", marks(2), json!({}))).await;
    reseal(&lab, &engine, &vault).await;
    let archiving = written(&engine, &vault, "second").await;
    assert_eq!(archiving.leaves.clone().expect("one more").runs, 1);
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    sound(&engine).await;
    reseal(&lab, &engine, &vault).await;
    fs::remove_dir_all(vault.path("archive")).expect("no longer needed");
    fs::rename(vault.path("second"), vault.path("archive")).expect("the newest has all");
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    let report = vault.export(&engine, "one", Some(first[0])).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert!(
        written(&engine, &vault, "third").await.leaves.is_none(),
        "nothing is left to leave"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_an_archived_run_still_means_that_run() {
    let (lab, engine, vault, ids) = sealed(2).await;
    let archiving = written(&engine, &vault, "archive").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    let start = |n: usize| {
        engine
            .start("good", json!({"n": n}))
            .key(format!("key-{}", 1))
    };
    let same = start(1).open().await.expect("answered");
    assert_eq!((same.run, same.opened), (ids[1], false));
    let (same, outcome) = engine.start_and_drive(start(1)).await.expect("answered");
    assert_eq!((same.run, same.opened), (ids[1], false));
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    let other = start(7).open().await;
    assert!(matches!(other, Err(Error::Conflict { .. })), "{other:?}");
    assert_eq!(count(&lab, "run"), 0);
    assert_eq!(lab.sql("select count(*) from shop.mark"), "5");
    // What needs its records says where they are, and changes nothing.
    for code in [
        refused(engine.show(ids[1]).await),
        refused(engine.log(ids[1], 0).await),
        refused(engine.plan(ids[1], BTreeMap::new(), "wrong").await),
        refused(
            engine
                .receipt(ids[1], None, &mut Archives::none())
                .await
                .map(drop),
        ),
        refused(
            engine
                .export(&vault.path("none"), None, &vault.log, &mut Archives::none())
                .await,
        ),
    ] {
        assert_eq!(code, "RD0748");
    }
    assert!(!vault.path("none").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_waits_for_the_archiving_finds_the_run_that_left() {
    let (lab, engine, vault, ids) = sealed(1).await;
    let archiving = written(&engine, &vault, "archive").await;
    let leaves = archiving.leaves.clone().expect("runs that leave");
    let change = archiving.change().expect("a change");
    // Somebody holds the last row that the archiving needs, so it waits with the others locked.
    let config = lab.url().parse().expect("a URL that parses");
    let holding = redress::db::connect(&config).await.expect("a connection");
    let hold = format!(
        "begin; select from redress.run where id = '{}' for update",
        ids[1]
    );
    holding.batch_execute(&hold).await.expect("held");
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    let others = async {
        until("the archiving waits", async || lab.sql(waiting) == "1").await;
        let starts = (0..4).map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move {
                let start = engine.start("good", json!({"n": 0})).key("key-0");
                start.open().await
            })
        });
        let starts: Vec<_> = starts.collect();
        until("the starts were made", async || {
            starts.iter().all(tokio::task::JoinHandle::is_finished) || lab.sql(waiting) != "1"
        })
        .await;
        holding.batch_execute("rollback").await.expect("released");
        for start in starts {
            let started = start.await.unwrap().expect("answered");
            assert_eq!((started.run, started.opened), (ids[0], false));
        }
    };
    let (gone, ()) = tokio::join!(let_go(&engine, &lab, change), others);
    gone.expect("let go");
    let start = engine.start("good", json!({"n": 0})).key("key-0");
    let started = start.open().await.expect("answered");
    assert_eq!((started.run, started.opened), (ids[0], false));
    assert_eq!(count(&lab, "archived_run"), leaves.runs);
    assert_eq!(count(&lab, "run"), 0);
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_sealed_or_ended_or_is_held_stays() {
    let (lab, engine, vault, ids) = sealed(2).await;
    // Ended, and not sealed yet.
    let young = again(&engine, &saga("good", marks(2), json!({}))).await;
    let target = ids[0].to_string();
    engine
        .hold(HoldScope::Run, Some(&target), "look at it", false)
        .await
        .expect("held");
    let archiving = written(&engine, &vault, "archive").await;
    assert_eq!(
        archiving.leaves.clone().expect("two leave").runs,
        ids.len() as u64 - 1
    );
    let early = engine.archivable("2001-01-01T00:00:00.000000Z").await;
    assert_eq!(early.expect("asked"), 0);
    // Between the archive and the decision, somebody holds another of them.
    let target = ids[1].to_string();
    engine
        .hold(HoldScope::Run, Some(&target), "this one too", false)
        .await
        .expect("held");
    let before = count(&lab, "record");
    let change = archiving.change().expect("a change");
    let stale = let_go(&engine, &lab, change).await;
    assert_eq!(refused(stale), "RD0750");
    assert_eq!(count(&lab, "record"), before);
    assert_eq!(count(&lab, "archived_run"), 0);
    let archiving = written(&engine, &vault, "newer").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    let left = format!(
        "select count(*) from redress.run where id in ('{}', '{}', '{}')",
        ids[0],
        ids[1],
        young.run().id
    );
    assert_eq!(lab.sql(&left), "3");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_is_believed_only_where_it_fits_the_log() {
    let (lab, engine, vault, ids) = sealed(2).await;
    let archiving = written(&engine, &vault, "archive").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    reseal(&lab, &engine, &vault).await;
    let size = archiving.exported.head.size;
    let entries = vault.path(&format!("archive/tile/entries/000.p/{size}"));
    let whole = fs::read(&entries).expect("entries");
    let mut changed = whole.clone();
    // A letter of a record that left: its length and its form stay.
    let text = String::from_utf8_lossy(&whole).into_owned();
    let at = text.find("good").expect("the saga's name");
    let at = whole
        .windows(4)
        .position(|four| four == b"good")
        .unwrap_or(at);
    changed[at] = b'f';
    fs::write(&entries, &changed).expect("changed");
    let result = engine
        .export(
            &vault.path("none"),
            Some(ids[0]),
            &vault.log,
            &mut vault.archives(),
        )
        .await;
    assert_eq!(refused(result), "RD0749");
    fs::write(&entries, &whole[..whole.len() / 2]).expect("cut off");
    let result = engine.receipt(ids[0], None, &mut vault.archives()).await;
    assert_eq!(refused(result.map(drop)), "RD0749");
    fs::remove_file(&entries).expect("removed");
    let result = engine.receipt(ids[0], None, &mut vault.archives()).await;
    assert_eq!(refused(result.map(drop)), "RD0749");
    fs::remove_file(vault.path("archive/checkpoint")).expect("removed");
    let folders = [vault.path("archive")];
    assert_eq!(refused(Archives::open(&folders)), "RD0749");
    // The published log is as good an archive.
    let folders = [vault.path("log")];
    let mut published = Archives::open(&folders).expect("the published log");
    engine
        .receipt(ids[0], None, &mut published)
        .await
        .expect("a receipt");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_somebody_deletes_are_missed() {
    let (lab, engine, vault, ids) = sealed(3).await;
    let run = ids[0];
    // As if it had been archived, by an owner who knows the tables.
    let entered = format!(
        "insert into redress.archived_run
         select id, 1, 99, saga, version, definition, subject, key, input_hash, requester, opened_at, ended_at, state,
                epoch, seq, head, basis_seq, basis
         from redress.run where id = '{run}';
         delete from redress.record where run = '{run}'; delete from redress.run where id = '{run}'"
    );
    lab.sql(&entered);
    let report = engine.check().await.expect("checked");
    let codes: Vec<&str> = report.findings.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["RD0747"], "{:?}", report.findings);
    // One more slipped into a decision about others.
    let archiving = written_without(&engine, &vault, &lab, run).await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    lab.sql(
        "alter table redress.archived_run disable trigger archived_run_is_append_only;
         update redress.archived_run set act_seq = (select max(act_seq) from redress.archived_run where act_seq <> 99)
         where act_seq = 99;
         alter table redress.archived_run enable always trigger archived_run_is_append_only",
    );
    let report = engine.check().await.expect("checked");
    let codes: Vec<&str> = report.findings.iter().map(|one| one.code).collect();
    assert_eq!(codes, ["RD0747"], "{:?}", report.findings);
    // And who only deletes cannot.
    let other = again(&engine, &saga("good", marks(2), json!({}))).await;
    let delete = format!(
        "delete from redress.record where run = '{}'",
        other.run().id
    );
    assert!(lab.try_sql(&delete).is_err());
}

/// An archive of the rest: the published log still has what was deleted.
async fn written_without(engine: &Engine, vault: &Vault, lab: &Lab, _gone: Uuid) -> Archiving {
    reseal(lab, engine, vault).await;
    let folders = [vault.path("log")];
    let mut archives = Archives::open(&folders).expect("the published log");
    engine
        .archive(&vault.path("archive"), LATER, &vault.log, &mut archives)
        .await
        .expect("written")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_of_an_archived_run_is_exported_until_it_is_erased() {
    let (lab, engine, vault, _) = sealed(0).await;
    let long = saga("long", marks(1), json!({}));
    engine.register(&long).await.expect("registered");
    let start = engine.start("long", json!({"letter": "dear sir ".repeat(3_000)}));
    engine.start_and_drive(start).await.expect("driven");
    reseal(&lab, &engine, &vault).await;
    let blob: Uuid = lab
        .sql("select id from redress.blob limit 1")
        .parse()
        .unwrap();
    let archiving = written(&engine, &vault, "archive").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    assert_eq!(count(&lab, "blob"), 0);
    reseal(&lab, &engine, &vault).await;
    let report = vault.export(&engine, "with", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert!(vault.path(&format!("with/blobs/{blob}")).exists());
    engine
        .erase_blob(blob, &[&lab.sovereign], "the person asked for it")
        .await
        .expect("erased");
    reseal(&lab, &engine, &vault).await;
    let report = vault.export(&engine, "without", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert!(!vault.path(&format!("without/blobs/{blob}")).exists());
    let again = engine.erase_blob(blob, &[&lab.sovereign], "again").await;
    assert!(matches!(again, Err(Error::UnknownBlob(_))), "{again:?}");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_and_holds_of_an_archived_run_are_not_forgotten() {
    let (lab, engine, vault, _) = sealed(0).await;
    let held = saga(
        "held",
        vec![
            mark("p1", json!({})),
            mark(
                "p2",
                json!({"with": {"apply": [{"sql": "select 1 / 0"}], "revert": [{"sql": "select 1"}]}}),
            ),
        ],
        json!({"authority": {"soft_revert": {"sovereign": 1}}}),
    );
    let outcome = run(&engine, &held).await;
    assert!(matches!(outcome, Outcome::Held(_)), "{outcome:?}");
    let id = outcome.run().id;
    let plan = engine.find_plan(&id.to_string()).await.expect("a plan");
    engine
        .approve(&plan, &lab.sovereign, "undo it")
        .await
        .expect("approved");
    let outcome = engine.apply(&plan).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    let holds = engine.holds().await.expect("holds");
    for hold in &holds {
        engine
            .release_hold(hold.id, &lab.sovereign, "looked at")
            .await
            .expect("released");
    }
    reseal(&lab, &engine, &vault).await;
    let used = count(&lab, "decision_used");
    let archiving = written(&engine, &vault, "archive").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    assert_eq!(count(&lab, "run"), 0);
    assert_eq!(count(&lab, "decision_used"), used);
    sound(&engine).await;
    reseal(&lab, &engine, &vault).await;
    let report = vault.export(&engine, "all", None).await;
    assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    assert_eq!(
        archiving.change().map(|change| change.kind),
        Some(Kind::RunsArchived)
    );
}

/// What left the database before a generation was opened is carried into it from its archive, and only from there.
#[tokio::test(flavor = "multi_thread")]
async fn archived_runs_are_carried_into_a_later_generation() {
    let (lab, engine, vault, ids) = sealed(2).await;
    let archiving = written(&engine, &vault, "archive").await;
    let_go(&engine, &lab, archiving.change().expect("a change"))
        .await
        .expect("let go");
    reseal(&lab, &engine, &vault).await;
    let head = vault.published().expect("a head");
    let name = log_origin(&engine.installation().origin, 2);
    let log = || SigningKey::from_seed(&name, &[7; 32]).expect("a key");
    engine
        .open_generation(&head, log().vkey(), &[&lab.sovereign], "moved")
        .await
        .expect("opened");
    let moved = lab.engine().await;
    let anchor = || FileAnchor::new(vault.path("anchor/second"));
    let mut sealer = moved.sealer(log(), anchor(), vault.path("second"));
    let missing = sealer.seal().await;
    assert!(matches!(missing, Err(Error::Archived(_))), "{missing:?}");
    let mut sealer = sealer.archives(vault.archives());
    sealer.seal().await.expect("sealed");
    let mut trust = vault.trust.clone();
    trust.add_log(log().vkey().clone()).expect("another key");
    for (folder, run) in [("all", None), ("one", Some(ids[0]))] {
        let folder = vault.path(folder);
        moved
            .export(&folder, run, &log(), &mut vault.archives())
            .await
            .expect("exported");
        let report = redress::ledger::bundle::verify(&folder, &trust, &[]).expect("read");
        assert_eq!(report.verdict, Verdict::Verified, "{report:?}");
    }
    sound(&moved).await;
}

/// A runbook is carried out on a run that has ended: its log grows, and is sealed once more.
async fn looked_at(lab: &Lab, engine: &Engine, run: Uuid) {
    let operator = execute::Operator {
        engine,
        key: &lab.sovereign,
        person: lab.sovereign.vkey().name().to_string(),
        host: "here".to_owned(),
    };
    let request = execute::Request {
        runbook: crate::runbook::written_for_any("[{id: w, wait: {for: 1ms}}]"),
        run: Some(run),
        params: Default::default(),
        reason: "a look".to_owned(),
    };
    let (execution, _) = execute::plan(&operator, &request).await.expect("planned");
    let given = execute::Given::default();
    let applied = execute::apply(&operator, &execution.id.to_string(), &given, &|_, _| {}).await;
    applied.expect("carried out");
}

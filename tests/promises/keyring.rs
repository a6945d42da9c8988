//! Whose keys count once the ledger is open: a decision and a change of the keyring at once, and what was begun in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redress::ledger::checkpoint::log_origin;
use redress::ledger::key::{Role, SigningKey};
use redress::ledger::keyring::{KeyRole, Keyring, Root, body as key_body};
use redress::ledger::{Kind, Trust, Vkey};
use redress::{Engine, KeyChange, Outcome, Released, StoredPlan};
use redress_tests::Lab;
use serde_json::{Value, json};

use crate::common::*;

/// An engine whose ledger is open: Sofia is the root, Rene and Otto are registered.
async fn opened(lab: &Lab) -> (Engine, Keyring) {
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let keyring = open_ledger(lab, &engine).await;
    (engine, keyring)
}

async fn open_ledger(lab: &Lab, engine: &Engine) -> Keyring {
    let log = log_key(engine);
    let root = Root::new(&[lab.sovereign.vkey().clone()], 1).expect("a root");
    let others: [(Vkey, KeyRole); 2] = [
        (lab.reviewer.vkey().clone(), Role::Reviewer.into()),
        (lab.operator.vkey().clone(), Role::Operator.into()),
    ];
    engine
        .open_ledger(&root, log.vkey(), &others, &[&lab.sovereign], "day one")
        .await
        .expect("opened")
}

/// The log's own key, always the same.
fn log_key(engine: &Engine) -> SigningKey {
    let installation = engine.installation();
    let name = log_origin(&installation.origin, installation.generation);
    SigningKey::from_seed(&name, &[9; 32]).expect("a key")
}

/// A reviewer alone may approve the way back.
fn by_reviewer() -> Value {
    json!({"authority": {"soft_revert": {"reviewer": 1}}, "on_unrecovered": {"hold": "run", "kill": false}})
}

/// A failed run and its plan, which a reviewer may approve.
async fn to_be_approved(engine: &Engine) -> StoredPlan {
    let fails =
        json!({"compensation": "none", "with": {"apply": [{"sql": "select 1/0 from shop.mark"}]}});
    let outcome = run(
        engine,
        &saga(
            "line",
            vec![mark("p1", json!({})), mark("p2", fails)],
            by_reviewer(),
        ),
    )
    .await;
    let id = outcome.run().id;
    engine.find_plan(&id.to_string()).await.expect("a plan")
}

fn revoking(key: &SigningKey) -> KeyChange {
    KeyChange {
        kind: Kind::KeyRevoked,
        body: key_body::revoke(key.id()),
    }
}

/// Waits until so many sessions wait for the keyring's row.
async fn waiting(lab: &Lab, count: usize) {
    let sql = format!(
        "select count(*) >= {count} from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    );
    until("they wait for the keyring", async || lab.sql(&sql) == "t").await;
}

/// The keyring's row, locked by somebody who does nothing.
fn lock(lab: &Lab) -> postgres::Client {
    let mut client = postgres::Client::connect(lab.url(), postgres::NoTls).expect("connected");
    client
        .batch_execute(
            "begin; select 1 from redress.system_log where name = 'keys' for no key update",
        )
        .expect("locked");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_behind_a_revocation_is_refused_and_judged_anew() {
    let lab = Arc::new(Lab::new().await);
    let (engine, _) = opened(&lab).await;
    let plan = to_be_approved(&engine).await;
    let holder = tokio::task::block_in_place(|| lock(&lab));
    let revoked = {
        let (engine, lab) = (engine.clone(), Arc::clone(&lab));
        let change = revoking(&lab.reviewer);
        tokio::spawn(async move {
            engine
                .change_keyring(change, &[&lab.sovereign], "left")
                .await
        })
    };
    waiting(&lab, 1).await;
    // Judged while the key counts; recorded behind the revocation.
    let approved = {
        let (engine, plan, lab) = (engine.clone(), plan.clone(), Arc::clone(&lab));
        tokio::spawn(async move { engine.approve(&plan, &lab.reviewer, "agreed").await })
    };
    waiting(&lab, 2).await;
    tokio::task::block_in_place(|| drop(holder));
    within(LIMIT, "the revocation", revoked)
        .await
        .unwrap()
        .expect("revoked");
    let approved = within(LIMIT, "the approval", approved).await.unwrap();
    assert_eq!(refused(approved), "RD0219");
    assert_eq!(
        lab.sql("select count(*) from redress.record where kind = 'plan.approved'"),
        "0"
    );
    // Judged anew, it is the key that is refused.
    let again = engine.approve(&plan, &lab.reviewer, "agreed").await;
    assert_eq!(refused(again), "RD0570");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_before_a_revocation_is_recorded_and_counts_for_nothing_that_begins_later() {
    let lab = Arc::new(Lab::new().await);
    let (engine, _) = opened(&lab).await;
    let plan = to_be_approved(&engine).await;
    let holder = tokio::task::block_in_place(|| lock(&lab));
    let approved = {
        let (engine, plan, lab) = (engine.clone(), plan.clone(), Arc::clone(&lab));
        tokio::spawn(async move { engine.approve(&plan, &lab.reviewer, "agreed").await })
    };
    waiting(&lab, 1).await;
    let revoked = {
        let (engine, lab) = (engine.clone(), Arc::clone(&lab));
        let change = revoking(&lab.reviewer);
        tokio::spawn(async move {
            engine
                .change_keyring(change, &[&lab.sovereign], "left")
                .await
        })
    };
    waiting(&lab, 2).await;
    tokio::task::block_in_place(|| drop(holder));
    within(LIMIT, "the approval", approved)
        .await
        .unwrap()
        .expect("approved");
    within(LIMIT, "the revocation", revoked)
        .await
        .unwrap()
        .expect("revoked");
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    let record = body(&lab, plan.plan.run, "plan.approved");
    assert_eq!(record["keyring"], 3, "judged by the keyring of the opening");
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_by_a_key_that_is_revoked_later_still_lets_workers_go_on() {
    let lab = Lab::new().await;
    let (engine, _) = opened(&lab).await;
    let dan = SigningKey::generate("dan").expect("randomness");
    let register = KeyChange {
        kind: Kind::KeyRegistered,
        body: key_body::register(dan.vkey(), KeyRole::SOVEREIGN),
    };
    engine
        .kill("stop", Duration::from_secs(10), false)
        .await
        .expect("killed");
    assert_eq!(refused(engine.release_kill(&dan, "over").await), "RD0547");
    engine
        .change_keyring(register, &[&lab.sovereign], "new")
        .await
        .expect("registered");
    let released = engine.release_kill(&dan, "over").await.expect("released");
    assert_eq!(released, Released::Done);
    engine
        .change_keyring(revoking(&dan), &[&lab.sovereign], "left")
        .await
        .expect("revoked");
    // Another process has proven nothing yet.
    let fresh = lab.engine().await;
    let outcome = run(&fresh, &saga("line", marks(2), json!({}))).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    fresh
        .kill("again", Duration::from_secs(10), false)
        .await
        .expect("killed");
    assert_eq!(refused(fresh.release_kill(&dan, "over").await), "RD0570");
    assert_eq!(
        fresh.release_kill(&lab.sovereign, "over").await.unwrap(),
        Released::Done
    );
    sound(&fresh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_is_recorded_as_it_was_signed_or_not_at_all() {
    let lab = Lab::new().await;
    let (engine, before) = opened(&lab).await;
    let records = || lab.sql("select count(*) from redress.record");
    let count = records();
    let none = engine
        .prepare_act(revoking(&lab.operator), &[], "left")
        .await
        .expect("written");
    assert_eq!(engine.act_lacks(&none).await.unwrap().len(), 1);
    assert_eq!(refused(engine.submit_act(&none).await), "RD0545");
    let other = engine
        .prepare_act(revoking(&lab.operator), &[&lab.reviewer], "left")
        .await;
    assert_eq!(refused(other), "RD0571");
    let mut signed = none.clone();
    signed.countersign(&lab.sovereign).unwrap();
    // What is no act of the root is never written among the keys, whoever signed it.
    let change = || KeyChange {
        kind: Kind::Decision,
        body: json!({"envelope": {}}),
    };
    let prepared = engine.prepare_act(change(), &[&lab.sovereign], "x").await;
    assert_eq!(refused(prepared), "RD0550");
    let changed = engine
        .change_keyring(change(), &[&lab.sovereign], "x")
        .await;
    assert_eq!(refused(changed), "RD0672");
    // Not possible: said before anybody signs.
    let root = engine.prepare_act(revoking(&lab.sovereign), &[], "x").await;
    assert_eq!(refused(root), "RD0574");
    assert_eq!(records(), count);
    let after = engine.submit_act(&signed).await.expect("recorded");
    assert_eq!(after.basis().unwrap().seq, before.basis().unwrap().seq + 1);
    assert_eq!(refused(engine.submit_act(&signed).await), "RD0556");
    assert_eq!(refused(engine.act_lacks(&signed).await), "RD0556");
    sound(&engine).await;
}

/// A plan that goes stepwise is finished by the approvals that it was begun with.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_begun_in_time_is_finished_after_the_signer_s_key_was_revoked() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let times = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&times);
    let adapter = Act::marking("act").outside().reverts(move |tx, call| {
        let first = seen.fetch_add(1, Ordering::SeqCst) == 0;
        Box::pin(async move {
            withdraw_mark(tx, call).await?;
            if first {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    });
    let engine = lab.engine_with(adapter.done()).await;
    open_ledger(&lab, &engine).await;
    let fails =
        json!({"compensation": "none", "with": {"apply": [{"sql": "select 1/0 from shop.mark"}]}});
    let line = saga(
        "line",
        vec![
            act("p1", "act", json!({})),
            act("p2", "act", json!({})),
            mark("p3", fails),
        ],
        by_reviewer(),
    );
    let id = run(&engine, &line).await.run().id;
    let plan = engine.find_plan(&id.to_string()).await.expect("a plan");
    engine
        .approve(&plan, &lab.reviewer, "agreed")
        .await
        .expect("approved");
    let applied = {
        let (engine, plan) = (engine.clone(), plan.clone());
        tokio::spawn(async move { engine.apply(&plan).await })
    };
    until("the first step", async || times.load(Ordering::SeqCst) > 0).await;
    applied.abort();
    let _ = applied.await;
    // Its session ends as that of a killed worker does.
    lab.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'");
    lab.sql("update redress.run set owner = null");
    engine
        .change_keyring(revoking(&lab.reviewer), &[&lab.sovereign], "left")
        .await
        .expect("revoked");
    let outcome = within(LIMIT, "the way back ends", engine.drive(id)).await;
    assert!(
        matches!(outcome, Ok(Outcome::Compensated(_))),
        "{outcome:?}"
    );
    sound(&engine).await;
}

/// A wrong file on one machine stops that machine, and nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_trusts_other_roots_does_nothing_and_harms_nobody() {
    let lab = Lab::new().await;
    let (engine, _) = opened(&lab).await;
    let line = saga("line", marks(2), json!({}));
    let id = open(&engine, &line).await;
    engine
        .kill("stop", Duration::from_secs(10), false)
        .await
        .expect("killed");
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    let mut other = Trust::new();
    let stranger = SigningKey::generate("sofia").expect("randomness");
    other
        .add(Role::Sovereign, stranger.vkey().clone())
        .expect("one key");
    let elsewhere = lab
        .builder(lab.url())
        .trust(other)
        .build()
        .await
        .expect("an engine");
    let state = "select r.state, s.state, (select count(*) from redress.record), (select count(*) from redress.hold)
         from redress.run r, redress.switch s";
    let before = lab.sql(state);
    assert_eq!(refused(elsewhere.keyring().await), "RD0578");
    assert_eq!(refused(elsewhere.drive(id).await), "RD0578");
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let worker = tokio::spawn(async move { elsewhere.worker().run(stopping).await });
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    stop.send_replace(true);
    let _ = within(LIMIT, "the worker stops", worker).await.unwrap();
    assert_eq!(lab.sql(state), before);
    until("the other machine goes on", async || {
        matches!(engine.drive(id).await, Ok(Outcome::Completed(_)))
    })
    .await;
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opening_that_is_refused_leaves_nothing() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let log = log_key(&engine);
    let (sofia, rene) = (lab.sovereign.vkey(), lab.reviewer.vkey());
    let one = Root::new(std::slice::from_ref(sofia), 1).expect("a root");
    let count =
        "select (select count(*) from redress.record), (select sum(seq) from redress.system_log)";
    let check = async |code: &str, root: &Root, log: &Vkey, signers: &[&SigningKey]| {
        let opened = engine.open_ledger(root, log, &[], signers, "day one");
        assert_eq!(refused(opened.await), code);
        assert_eq!(lab.sql(count), "0|0", "{code}");
        assert!(engine.keyring().await.expect("readable").is_none());
    };
    // A person's key for the log; the log's key for an act; a key that is none of the root's.
    check("RD0574", &one, rene, &[&lab.sovereign]).await;
    check("RD0547", &one, log.vkey(), &[&log]).await;
    check("RD0547", &one, log.vkey(), &[&lab.reviewer]).await;
    check("RD0545", &one, log.vkey(), &[]).await;
    let stranger = SigningKey::generate("mallory").expect("randomness");
    let two = Root::new(&[sofia.clone(), stranger.vkey().clone()], 2).expect("a root");
    check("RD0577", &two, log.vkey(), &[&lab.sovereign]).await;
    // Enough of them signed, and this machine does not know one of them.
    check("RD0578", &two, log.vkey(), &[&lab.sovereign, &stranger]).await;
    open_ledger(&lab, &engine).await;
    let before = lab.sql(count);
    let signers = [&lab.sovereign];
    let again = engine.open_ledger(&one, log.vkey(), &[], &signers, "again");
    assert_eq!(refused(again.await), "RD0575");
    assert_eq!(lab.sql(count), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_counts_by_a_registered_person_s_key_and_by_no_other() {
    let lab = Lab::new().await;
    let (engine, _) = opened(&lab).await;
    let plan = to_be_approved(&engine).await;
    let stranger = SigningKey::generate("dan").expect("randomness");
    let approve = async |key: &SigningKey| engine.approve(&plan, key, "agreed").await;
    assert_eq!(refused(approve(&stranger).await), "RD0547");
    assert_eq!(refused(approve(&log_key(&engine)).await), "RD0571");
    // A line in the file of this machine is not enough any more.
    let mut trust = lab.trust();
    trust
        .add(Role::Reviewer, stranger.vkey().clone())
        .expect("another key");
    let trusting = lab.builder(lab.url()).trust(trust).build().await;
    let trusting = trusting.expect("an engine");
    assert_eq!(
        refused(trusting.approve(&plan, &stranger, "agreed").await),
        "RD0547"
    );
    let approval = approve(&lab.reviewer).await.expect("approved");
    assert_eq!(approval.signer.principal, "rene");
    let outcome = engine.apply(&plan).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    sound(&engine).await;
}

//! Who may allow what: an approval counts once, for exactly the plan that was read, and only from those we trust.

use std::collections::BTreeMap;

use redress::definition::Definition;
use redress::ledger::decision::{Basis, Decision, Purpose};
use redress::ledger::key::{Role, SigningKey};
use redress::ledger::trust::Trust;
use redress::ledger::{Envelope, sign};
use redress::{Engine, Outcome, RunRow, StoredPlan};
use redress_tests::Lab;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::*;

/// A completed run whose soft revert needs these signatures, and its plan.
async fn asked(lab: &Lab, engine: &Engine, quorum: Value) -> (Definition, RunRow, StoredPlan) {
    lab.sql(MARKS);
    let line = saga(
        "line",
        marks(2),
        json!({"authority": {"soft_revert": quorum}}),
    );
    let Outcome::Completed(row) = run(engine, &line).await else {
        panic!()
    };
    let plan = engine
        .plan(row.id, BTreeMap::new(), "undo")
        .await
        .expect("planned");
    (line, row, plan)
}

/// F87, F88: each way in which a signature is not meant for this act is its own refusal.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_is_not_for_exactly_this_plan_is_refused_with_its_own_code() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let (line, row, plan) = asked(&lab, &engine, json!({"sovereign": 1})).await;
    let good = engine.decision_on(&plan, "yes").await.expect("made");
    let check = async |code: &str, change: &dyn Fn(&mut Decision)| {
        let mut decision = Decision {
            id: Uuid::now_v7(),
            ..good.clone()
        };
        change(&mut decision);
        let envelope = sign(&decision, &lab.sovereign).expect("signed");
        assert_eq!(
            refused(engine.approve_envelope(&plan, envelope).await),
            code
        );
    };
    check("RD0559", &|d| {
        d.not_after = "2020-01-01T00:00:00.000000Z".into()
    })
    .await;
    check("RD0551", &|d| d.origin = "other.example/lab".into()).await;
    check("RD0552", &|d| d.generation += 1).await;
    check("RD0553", &|d| d.run = Some(Uuid::now_v7())).await;
    check("RD0554", &|d| d.plan = Some(nowhere())).await;
    check("RD0556", &|d| {
        d.basis = Some(Basis {
            seq: 1,
            hash: nowhere(),
        })
    })
    .await;
    check("RD0550", &|d| {
        d.purpose = Purpose::RunResolve;
        d.plan = None;
    })
    .await;
    // Signed by nobody we know, by a known name with another key, and by a known key over other bytes.
    let stranger = SigningKey::generate("sofia").unwrap();
    let envelope = sign(&good, &stranger).expect("signed");
    assert_eq!(
        refused(engine.approve_envelope(&plan, envelope).await),
        "RD0547"
    );
    let mut forged = sign(&good, &lab.sovereign).expect("signed");
    forged.signatures[0].sig = sign(&good, &stranger).unwrap().signatures[0].sig.clone();
    assert_eq!(
        refused(engine.approve_envelope(&plan, forged).await),
        "RD0548"
    );
    let mut moved = sign(&good, &lab.sovereign).expect("signed");
    moved.payload = sign(
        &Decision {
            reason: "no".into(),
            ..good.clone()
        },
        &stranger,
    )
    .unwrap()
    .payload;
    assert_eq!(
        refused(engine.approve_envelope(&plan, moved).await),
        "RD0548"
    );
    // None of these counts, each is a record, and a second time none is.
    assert!(engine.approvals(&plan).await.expect("read").is_empty());
    let refusals = lab
        .kinds(&row)
        .iter()
        .filter(|kind| *kind == "plan.refused")
        .count();
    assert_eq!(refusals, 9, "one for each code");
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    // The genuine one counts, once: its id is used.
    let envelope = sign(&good, &lab.sovereign).expect("signed");
    engine
        .approve_envelope(&plan, envelope.clone())
        .await
        .expect("approved");
    assert_eq!(
        refused(engine.approve_envelope(&plan, envelope.clone()).await),
        "RD0563"
    );
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    // And not for the next run.
    let Outcome::Completed(other) = again(&engine, &line).await else {
        panic!()
    };
    let next = engine
        .plan(other.id, BTreeMap::new(), "undo")
        .await
        .expect("planned");
    assert_eq!(
        refused(engine.approve_envelope(&next, envelope).await),
        "RD0553"
    );
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_counts_once_with_however_many_keys_and_signatures() {
    let lab = Lab::new().await;
    let (twin, ruth) = (
        SigningKey::generate("rene").unwrap(),
        SigningKey::generate("ruth").unwrap(),
    );
    let mut trust = lab.trust();
    trust
        .add(Role::Reviewer, twin.vkey().clone())
        .expect("one person may have two keys");
    trust
        .add(Role::Reviewer, ruth.vkey().clone())
        .expect("added");
    let engine = lab
        .builder(lab.url())
        .trust(trust)
        .build()
        .await
        .expect("an engine");
    let (_, _, plan) = asked(&lab, &engine, json!({"reviewer": 2})).await;
    for key in [
        &lab.reviewer,
        &lab.reviewer,
        &twin,
        &lab.sovereign,
        &lab.operator,
    ] {
        engine.approve(&plan, key, "yes").await.expect("recorded");
        assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    }
    engine.approve(&plan, &ruth, "yes").await.expect("recorded");
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    sound(&engine).await;
}

/// Two signatures on one envelope are two people.
#[tokio::test(flavor = "multi_thread")]
async fn a_countersigned_approval_counts_for_both_who_signed() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let (_, _, plan) = asked(&lab, &engine, json!({"reviewer": 1, "sovereign": 1})).await;
    let decision = engine.decision_on(&plan, "yes").await.expect("made");
    let mut envelope = sign(&decision, &lab.reviewer).expect("signed");
    envelope.countersign(&lab.sovereign).expect("countersigned");
    engine
        .approve_envelope(&plan, envelope)
        .await
        .expect("recorded");
    let applied = engine.apply(&plan).await;
    assert!(
        matches!(applied, Ok(Outcome::Compensated(_))),
        "{applied:?}"
    );
    sound(&engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_a_plan_does_not_approve_it() {
    let lab = Lab::new().await;
    let engine = lab
        .builder(lab.url())
        .actor("sofia")
        .build()
        .await
        .expect("an engine");
    let (_, row, plan) = asked(&lab, &engine, json!({"sovereign": 1})).await;
    assert_eq!(
        refused(engine.approve(&plan, &lab.sovereign, "my own").await),
        "RD0560"
    );
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    // Who opened a run does not close it either.
    lab.sql("alter table shop.mark add constraint bad_fails check (phase <> 'bad')");
    let line = saga(
        "held",
        vec![
            mark("p1", json!({})),
            mark("bad", json!({"on_failure": "hold"})),
        ],
        json!({}),
    );
    let Outcome::Held(row) = run(&engine, &line).await else {
        panic!()
    };
    assert_eq!(
        refused(engine.resolve(row.id, &lab.sovereign, "done").await),
        "RD0560"
    );
}

/// An approval is judged again when it is used: by its time, and by the roots of whoever uses it.
#[tokio::test(flavor = "multi_thread")]
async fn an_approval_that_expired_or_whose_key_is_gone_counts_no_more() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let (_, row, plan) = asked(&lab, &engine, json!({"sovereign": 1})).await;
    let soon = lab.sql("select to_char((clock_timestamp() + interval '1 second') at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')");
    let decision = Decision {
        not_after: soon,
        ..engine.decision_on(&plan, "yes").await.expect("made")
    };
    let envelope = sign(&decision, &lab.sovereign).expect("signed");
    engine
        .approve_envelope(&plan, envelope)
        .await
        .expect("recorded in time");
    until("it expires", async || {
        engine.approvals(&plan).await.expect("read").is_empty()
    })
    .await;
    assert_eq!(refused(engine.apply(&plan).await), "RD0560");
    engine
        .approve(&plan, &lab.sovereign, "again")
        .await
        .expect("recorded");
    // Roots that do not know the key any more, and none at all.
    let mut fewer = Trust::new();
    fewer
        .add(Role::Reviewer, lab.reviewer.vkey().clone())
        .unwrap();
    let strict = lab
        .builder(lab.url())
        .trust(fewer)
        .build()
        .await
        .expect("an engine");
    assert_eq!(refused(strict.apply(&plan).await), "RD0560");
    let pool = redress::db::pool(lab.url(), 4).unwrap();
    let blind = Engine::builder(pool)
        .adapters(redress_adapters::standard())
        .actor("test")
        .build()
        .await
        .unwrap();
    assert_eq!(refused(blind.apply(&plan).await), "RD0562");
    assert_eq!(
        refused(blind.approve(&plan, &lab.sovereign, "x").await),
        "RD0562"
    );
    assert_eq!(
        refused(blind.resolve(row.id, &lab.sovereign, "x").await),
        "RD0562"
    );
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
}

/// P4: what was approved is what runs; a stored plan that was changed is not it any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_what_its_digest_names() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let (_, row, plan) = asked(&lab, &engine, json!({"sovereign": 1})).await;
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    // A plan whose quorum was taken out, under its own digest.
    let mut open = plan.clone();
    open.plan.quorum.clear();
    open.digest = open.plan.digest().unwrap();
    assert_eq!(refused(engine.apply(&open).await), "RD0426");
    assert_eq!(rows(&lab, &row), "p1 live, p2 live");
    assert_eq!(
        engine
            .find_plan(&plan.digest.to_string()[..12])
            .await
            .expect("found")
            .digest,
        plan.digest
    );
    assert_eq!(refused(engine.find_plan("12345678").await), "RD0426");
    assert_eq!(refused(engine.find_plan("%").await), "RD0426");
    // The table refuses to hold anything else under it.
    assert!(
        lab.try_sql("update redress.plan set canonical = '{}'")
            .is_err()
    );
    // Another plan under the approved digest, in the caller's hands: what is stored is what runs.
    let mut other = plan.clone();
    other.plan.actions.pop();
    assert!(matches!(
        engine.apply(&other).await,
        Ok(Outcome::Compensated(_))
    ));
    assert_eq!(rows(&lab, &row), "p1 withdrawn, p2 withdrawn");
    sound(&engine).await;
}

/// An envelope that came as text is read as strictly as it is written.
#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_survives_its_text_and_nothing_else_does() {
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let (_, _, plan) = asked(&lab, &engine, json!({"sovereign": 1})).await;
    let decision = engine.decision_on(&plan, "yes").await.expect("made");
    let text = sign(&decision, &lab.sovereign).expect("signed").to_value();
    let mut more = text.clone();
    more["note"] = json!("x");
    assert!(Envelope::from_value(&more).is_err());
    let envelope = Envelope::from_json(text.to_string().as_bytes()).expect("read");
    engine
        .approve_envelope(&plan, envelope)
        .await
        .expect("approved");
}

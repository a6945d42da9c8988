//! What is shown of runs.

use redress::definition::HoldScope;
use redress::ledger::key::Role;
use redress::ledger::state::State;
use redress::view::{AttentionKind, PlanState, RunFilter, RunView};
use redress::{Engine, Error};
use serde_json::json;
use uuid::Uuid;

use crate::history::Copy;

async fn show(engine: &Engine, copy: &Copy, name: &str) -> RunView {
    engine.show(copy.run(name)).await.expect("shown")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_state_is_shown() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let check = async |name: &str,
                       state: State,
                       expected: [&str; 3],
                       plan: Option<PlanState>,
                       next: Option<&str>| {
        let view = show(&engine, &copy, name).await;
        let states: Vec<&str> = view.phases.iter().map(|phase| phase.state).collect();
        assert_eq!(
            (view.state, states.as_slice()),
            (state, expected.as_slice()),
            "{name}"
        );
        assert_eq!(view.plan.as_ref().map(|plan| plan.state), plan, "{name}");
        let command = view.next.as_ref().map(|next| {
            next.command
                .split(' ')
                .take(2)
                .collect::<Vec<_>>()
                .join(" ")
        });
        assert_eq!(command.as_deref(), next, "{name}");
        view
    };
    let done = ["committed"; 3];
    let completed = check("completed", State::Completed, done, None, None).await;
    assert_eq!(completed.error, None);
    check("running", State::Running, ["pending"; 3], None, None).await;
    let back = ["reverted", "reverted", "failed"];
    let compensated = check(
        "compensated",
        State::Compensated,
        back,
        Some(PlanState::Applied),
        None,
    )
    .await;
    let error = compensated.error.expect("why it was compensated");
    assert_eq!(
        (error.code.as_str(), error.phase.expect("a phase").as_str()),
        ("RD0303", "dispatch")
    );
    assert_eq!(compensated.phases[2].attempts, 1);
    let stopped = ["committed", "committed", "failed"];
    let failed = check(
        "failed",
        State::Failed,
        stopped,
        Some(PlanState::Made),
        Some("redress approve"),
    )
    .await;
    // The reviewer's signature is there; the sovereign's is what is missing.
    let plan = failed.plan.expect("a plan");
    assert_eq!(plan.approvals.len(), 1);
    assert!(plan.approvals[0].counts && plan.verified);
    assert_eq!(plan.approvals[0].principal, "rene");
    assert_eq!(failed.next.expect("an act").who, [Role::Sovereign]);
    assert_eq!(failed.held.len(), 1);
    // Its own hold outlives the plan that was applied.
    check(
        "applied",
        State::Compensated,
        back,
        Some(PlanState::Applied),
        Some("redress release"),
    )
    .await;
    let standing = ["standing", "standing", "failed"];
    check(
        "resolved",
        State::Resolved,
        standing,
        Some(PlanState::Stale),
        Some("redress release"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_of_a_run_is_the_contract() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let text = serde_json::to_string(&show(&engine, &copy, "failed").await).expect("JSON");
    let order = [
        "{\"schema\":1,\"run\":",
        "\"saga\":\"asking\"",
        "\"version\":1",
        "\"subject\":\"A4\"",
        "\"state\":\"failed\"",
        "\"held\":[{\"id\":",
        "\"scope\":",
        "\"reason\":",
        "\"at\":",
        "\"by\":",
        "\"phases\":[{\"name\":\"reserve\",\"state\":\"committed\",\"attempts\":1,\"record\":{\"seq\":2,\"hash\":",
        "\"error\":null",
        "\"plan\":{\"digest\":",
        "\"state\":\"made\"",
        "\"actions\":[{\"phase\":\"book\",\"action\":\"soft_revert\",\"why\":",
        "\"authority\":{\"sovereign\":1}",
        "\"basis\":{\"seq\":",
        "\"approvals\":[{\"principal\":\"rene\",\"role\":\"reviewer\",\"key\":\"rene+",
        "\"at\":",
        "\"head\":{\"seq\":",
        "\"error\":{\"code\":\"RD0303\",\"message\":",
        "\"phase\":\"dispatch\"}",
        "\"errors\":[]",
    ];
    let mut rest = text.as_str();
    for part in order {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part} is not where it belongs: {rest}"));
        rest = &rest[at + part.len()..];
    }
    let running = serde_json::to_value(show(&engine, &copy, "running").await).expect("JSON");
    assert_eq!(running["plan"], json!(null));
    assert_eq!(running["error"], json!(null));
    assert_eq!(running["phases"][0]["record"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_person_is_listed_once() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let waiting = engine.status().await.expect("listed");
    let kinds: Vec<_> = waiting.iter().map(|one| (one.kind, one.run)).collect();
    // The manual hold, the failed run, and the holds that an applied and a resolved run left.
    assert_eq!(
        kinds,
        [
            (AttentionKind::Hold, None),
            (AttentionKind::Run, Some(copy.run("failed"))),
            (AttentionKind::Hold, Some(copy.run("applied"))),
            (AttentionKind::Hold, Some(copy.run("resolved"))),
        ]
    );
    assert_eq!(waiting[1].code, "RD0303");
    assert!(waiting[1].next.command.starts_with("redress approve "));
    assert!(
        waiting[0]
            .next
            .command
            .contains(&copy.ground.hold.to_string())
    );
    assert!(waiting.is_sorted_by_key(|one| one.since.clone()));
    let killed = engine.kill("drill", std::time::Duration::from_secs(5), false);
    killed.await.expect("killed");
    let last = engine
        .status()
        .await
        .expect("listed")
        .pop()
        .expect("the switch");
    assert_eq!(
        (last.kind, last.state.as_str(), last.reason.as_str()),
        (AttentionKind::Switch, "killed", "drill")
    );
    let view = show(&engine, &copy, "running").await;
    assert_eq!(
        view.next.expect("an act").command,
        "redress release kill --as KEY --reason TEXT"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_and_found() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let all = engine.runs(&RunFilter::default()).await.expect("listed");
    assert_eq!(all.len(), 6);
    assert_eq!(all[0].run, copy.run("resolved"));
    let check = async |filter: RunFilter, expected: &[&str]| {
        let runs = engine.runs(&filter).await.expect("listed");
        let runs: Vec<Uuid> = runs.iter().map(|line| line.run).collect();
        let expected: Vec<Uuid> = expected.iter().map(|name| copy.run(name)).collect();
        assert_eq!(runs, expected, "{filter:?}");
    };
    let of = |saga: &str| RunFilter {
        saga: Some(saga.to_owned()),
        ..RunFilter::default()
    };
    check(of("asking"), &["resolved", "applied", "failed"]).await;
    check(
        RunFilter {
            state: Some(State::Failed),
            ..RunFilter::default()
        },
        &["failed"],
    )
    .await;
    check(
        RunFilter {
            subject: Some("A1".to_owned()),
            ..RunFilter::default()
        },
        &["completed"],
    )
    .await;
    check(
        RunFilter {
            limit: Some(1),
            ..of("asking")
        },
        &["resolved"],
    )
    .await;

    let run = copy.run("failed").to_string();
    assert_eq!(
        engine.find_run(&run).await.expect("found"),
        copy.run("failed")
    );
    assert_eq!(
        engine
            .find_run(&run[..35].to_uppercase())
            .await
            .expect("found"),
        copy.run("failed")
    );
    for text in ["", "%", "zz", "0", &Uuid::nil().to_string()] {
        assert!(
            matches!(engine.find_run(text).await, Err(Error::UnknownRun(_))),
            "{text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_lines() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let lines = engine.log(copy.run("completed"), 0).await.expect("lines");
    let summaries: Vec<&str> = lines.iter().map(|line| line.summary.as_str()).collect();
    assert_eq!(
        summaries,
        [
            "order v1 opened on A1",
            "reserve committed",
            "book committed",
            "dispatch committed",
            "ended completed, 5 records"
        ]
    );
    assert_eq!(lines[4].record["body"]["count"], 5);
    assert_eq!(
        engine
            .log(copy.run("completed"), 4)
            .await
            .expect("lines")
            .len(),
        1
    );
    let system = engine
        .log(engine.installation().system_run, 0)
        .await
        .expect("lines");
    assert_eq!(system[0].summary, "killed: drill");
    assert!(matches!(
        engine.log(Uuid::nil(), 0).await,
        Err(Error::UnknownRun(_))
    ));

    let mut all = Vec::new();
    let mut after = (Uuid::nil(), 0);
    loop {
        let page = engine.log_all(after, 7).await.expect("lines");
        let Some(last) = page.last() else { break };
        after = (last.run, last.seq);
        all.extend(page);
    }
    let heads = engine.heads().await.expect("heads");
    let count: i64 = heads.iter().map(|(_, seq)| seq).sum();
    assert_eq!(i64::try_from(all.len()).expect("few"), count);
    assert_eq!(heads.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn sagas_and_definitions_are_given() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let sagas = engine.sagas().await.expect("listed");
    let lines: Vec<_> = sagas
        .iter()
        .map(|line| (line.saga.as_str(), line.version, line.active))
        .collect();
    assert_eq!(lines, [("asking", 1, 1), ("order", 1, 1)]);
    let (definition, digest) = engine.definition("order", None).await.expect("given");
    assert_eq!(definition.digest().expect("a digest"), digest);
    assert_eq!(sagas[1].digest, digest);
    assert!(matches!(
        engine.definition("order", Some(2)).await,
        Err(Error::UnknownSaga(_))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_row_was_changed_is_not_shown() {
    let copy = Copy::new().await;
    copy.damage(&format!(
        "update redress.run set state = 'stuck' where id = '{}'",
        copy.run("failed")
    ));
    let engine = copy.engine().await;
    let error = engine
        .show(copy.run("failed"))
        .await
        .expect_err("row and log disagree");
    assert_eq!(error.code(), "RD0670");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_only_wait_are_explained_by_the_hold() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let hold = engine
        .hold(HoldScope::All, None, "stop", false)
        .await
        .expect("held");
    let view = show(&engine, &copy, "running").await;
    assert_eq!(view.held.last().map(|held| held.id), Some(hold.id));
    assert!(
        view.next
            .expect("an act")
            .command
            .contains(&hold.id.to_string())
    );
    let waiting = engine.status().await.expect("listed");
    assert!(
        waiting
            .iter()
            .all(|one| one.run != Some(copy.run("running")))
    );
    assert_eq!(waiting.last().expect("the hold").holds, [hold.id]);
}

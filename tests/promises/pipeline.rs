//! A delivery pipeline whose undo really executes: systems.md 4, one test for each of its points, and the example's own
//! failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::sync::Mutex;

use redress::Outcome;
use redress::definition::{Authority, Then, load_yaml};
use redress::ledger::quorum::one_sovereign;
use redress::view::{RewindFilter, RewindStatus};
use redress_adapters::Config;
use redress_tests::server::{Reply, Server};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::common::{body, code, phases, refused, sound, until};

mod yard;

use yard::{FIRST, SECOND, Yard, names, read, smoke_fails, to};

/// systems.md 4.1
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_1_automatic_on_failure_and_manual_by_an_operator_and_the_trigger_is_recorded() {
    let yard = Yard::new().await;
    let failed = yard.held(&yard.saga(), "1.2.0").await;
    assert_eq!(
        (failed.state.as_str(), yard.shows().as_str()),
        ("failed", FIRST)
    );
    let list = yard.of_run(failed.id).await;
    assert_eq!(list.len(), 1);
    assert_eq!(
        (list[0].trigger.as_str(), names(&list[0])),
        ("automatic", vec!["frontend", "backend"])
    );
    assert_eq!(
        list[0].from.as_ref().map(|from| from.as_str()),
        Some("smoke")
    );
    let finished = body(&yard.lab, failed.id, "plan.finished");
    assert_eq!(finished["rewind"]["trigger"], "automatic");
    yard.taken_back(failed.id).await;

    let row = yard.completes("1.1.0").await;
    assert_eq!(yard.shows(), SECOND);
    let id = row.id.to_string();
    let by_hand = [
        "rewind",
        &id,
        "--to",
        "frontend",
        "--reason",
        "it is too slow",
    ];
    let (exit, told) = yard.redress(&[&by_hand[..], &["--from", "smoke"]].concat());
    assert_eq!((exit, &told["error"]["code"]), (Some(6), &json!("RD0420")));
    assert_eq!(yard.shows(), SECOND);
    let (exit, told) = yard.redress(&[&by_hand[..], &["--from", "announce"]].concat());
    assert_eq!(exit, Some(0), "{told:#}");
    assert_eq!(
        told["rewind"]["phases"],
        json!(["announce", "smoke", "frontend"])
    );
    assert_eq!(told["rewind"]["trigger"], "manual");
    assert_eq!(yard.shows(), "api 1.1.0, jobs 1.0.0, web 1.0.0");
    let (_, told) = yard.redress(&["rewinds", "--run", &id]);
    let line = &told["rewinds"][0];
    for (field, is) in [
        ("trigger", "manual"),
        ("from", "announce"),
        ("to", "frontend"),
        ("reason", "it is too slow"),
    ] {
        assert_eq!(line[field], is, "{line:#}");
    }
    // It goes on from there, and announces again.
    yard.engine.resume(row.id).await.expect("resumed");
    let outcome = yard.engine.drive(row.id).await;
    assert!(matches!(outcome, Ok(Outcome::Completed(_))), "{outcome:?}");
    assert_eq!(yard.shows(), SECOND);
    sound(&yard.engine).await;
}

/// systems.md 4.2
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_2_the_undo_restores_what_was_captured_in_order_and_only_what_the_phase_changed() {
    let yard = Yard::new().await;
    yard.by_hand("docs", "docs by hand\n");
    let before = yard.history();
    let row = yard.held(&yard.saga(), "1.2.0").await;
    // Captured per phase, before its act, in the record of its intent.
    let captured = yard.lab.sql(&format!(
        "select string_agg(phase || ': ' || (convert_from(bytes, 'UTF8')::jsonb #>> '{{body,prepared,captured,stdout}}'), '|' order by seq)
         from redress.record where run = '{}' and kind = 'phase.intended' and phase in ('backend', 'frontend')
           and convert_from(bytes, 'UTF8')::jsonb #>> '{{body,way}}' = 'forth'", row.id));
    let captured: Vec<&str> = captured.split('|').collect();
    assert!(
        captured[0].starts_with("backend: folder ")
            && captured[0].contains("\napi ")
            && captured[0].contains("\njobs "),
        "{captured:?}"
    );
    assert!(
        captured[1].starts_with("frontend: folder ") && captured[1].contains("\nweb "),
        "{captured:?}"
    );
    // It really was deployed, and came back the other way round: api, web, web back, api back.
    assert_eq!(
        phases(&yard.lab, &row, "compensation.committed"),
        ["frontend", "backend"]
    );
    let after = yard.history();
    let first_lines = |state: &BTreeMap<String, String>| {
        let lines =
            ["api", "web"].map(|name| state[name].lines().next().unwrap_or_default().to_owned());
        lines.join(" ")
    };
    let states: Vec<String> = after[before.len()..].iter().map(first_lines).collect();
    assert_eq!(
        states,
        [
            "api 1.2.0 web 1.0.0",
            "api 1.2.0 web 1.2.0",
            "api 1.2.0 web 1.0.0",
            "api 1.0.0 web 1.0.0"
        ]
    );
    assert_eq!(
        after.last(),
        before.last(),
        "byte for byte, what somebody else deployed too"
    );
    yard.taken_back(row.id).await;

    // 1.1.0 has the jobs of 1.0.0, so they are not its own: somebody changes them, and they stay as they are.
    let row = yard.completes("1.1.0").await;
    yard.by_hand("jobs", "jobs hotfix\n");
    yard.engine
        .rewind(row.id, &to("backend"))
        .await
        .expect("rewound");
    assert_eq!(
        yard.shows(),
        "api 1.0.0, docs by hand, jobs hotfix, web 1.0.0"
    );
    sound(&yard.engine).await;
}

/// systems.md 4.3
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_3_a_rewind_is_pending_running_succeeded_or_failed_with_times_and_error() {
    let yard = Yard::new().await;
    let signed = yard.changed("signed", |saga| {
        let sovereign = Authority::Quorum(one_sovereign());
        saga.authority.insert("restore".to_owned(), sovereign);
    });
    let pending = yard.held(&signed, "1.2.0").await;
    let line = yard.of_run(pending.id).await.remove(0);
    assert_eq!(
        (line.status, &line.started_at, &line.ended_at),
        (RewindStatus::Pending, &None, &None)
    );
    let plan = yard
        .engine
        .find_plan(&pending.id.to_string())
        .await
        .expect("stored");
    yard.engine
        .approve(&plan, &yard.lab.sovereign, "back with it")
        .await
        .expect("signed");
    yard.engine.apply(&plan).await.expect("applied");
    let line = yard.of_run(pending.id).await.remove(0);
    assert_eq!((line.status, line.error), (RewindStatus::Succeeded, None));
    assert!(line.made_at < line.started_at.expect("begun") && line.ended_at.is_some());
    let rest = yard
        .engine
        .plan(pending.id, BTreeMap::new(), "enough")
        .await
        .expect("planned");
    yard.engine
        .approve(&rest, &yard.lab.sovereign, "all of it")
        .await
        .expect("signed");
    yard.engine.apply(&rest).await.expect("applied");

    // The failure set a hold, because a person had to act; it does not go by itself.
    let hold = yard.engine.holds().await.expect("listed").remove(0);
    let released = yard
        .engine
        .release_hold(hold.id, &yard.lab.sovereign, "it is back");
    released.await.expect("released");

    // A frozen environment lets nobody in: tried again for a while, then stuck.
    let row = yard.completes("1.1.0").await;
    fs::write(yard.marker("frozen"), "").expect("written");
    let (engine, id) = (yard.engine.clone(), row.id);
    let rewinding = tokio::spawn(async move { engine.rewind(id, &to("frontend")).await });
    until("it is on its way", async || {
        yard.of_status(RewindStatus::Running).await == 1
    })
    .await;
    assert_eq!(refused(rewinding.await.expect("ended")), "RD0424");
    let line = yard.of_run(id).await.remove(0);
    assert_eq!(line.status, RewindStatus::Failed);
    assert!(
        line.error
            .expect("why")
            .message
            .contains("staging is frozen")
    );
    fs::remove_file(yard.marker("frozen")).expect("removed");
    yard.engine
        .repair_rewind(id, "thawed")
        .await
        .expect("repaired");
    assert_eq!(yard.shows(), "api 1.1.0, jobs 1.0.0, web 1.0.0");

    // By run, by status, by target, by time; youngest first.
    let states: Vec<_> = yard
        .of_run(id)
        .await
        .iter()
        .map(|line| line.status)
        .collect();
    assert_eq!(states, [RewindStatus::Succeeded, RewindStatus::Failed]);
    for (status, count) in [
        (RewindStatus::Pending, 0),
        (RewindStatus::Running, 0),
        (RewindStatus::Succeeded, 2),
        (RewindStatus::Failed, 1),
    ] {
        assert_eq!(yard.of_status(status).await, count, "{status:?}");
    }
    let by = async |filter: RewindFilter| yard.rewinds(filter).await.len();
    let target = |name: &str| RewindFilter {
        to: name.parse().ok(),
        ..RewindFilter::default()
    };
    assert_eq!(
        (
            by(target("backend")).await,
            by(target("frontend")).await,
            by(target("build")).await
        ),
        (1, 2, 0)
    );
    let since = |time: &str| RewindFilter {
        since: Some(time.to_owned()),
        ..RewindFilter::default()
    };
    let until = |time: &str| RewindFilter {
        until: Some(time.to_owned()),
        ..RewindFilter::default()
    };
    assert_eq!(
        (by(since("2001-01-01")).await, by(since("2999-01-01")).await),
        (3, 0)
    );
    assert_eq!(
        (
            by(until(&line.made_at)).await,
            by(since(&line.made_at)).await
        ),
        (1, 2)
    );
    sound(&yard.engine).await;
}

/// systems.md 4.4
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_4_loops_are_refused_in_the_file_and_when_a_target_is_used_up() {
    let yard = Yard::new().await;
    let text = read(&yard.home, "saga.yaml");
    let check = |from: &str, to: &str, code: &str, part: &str| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let changed = text.replace(from, to);
        let errors = load_yaml(changed.as_bytes(), "saga.yaml", None).expect_err(to);
        let error = errors
            .iter()
            .find(|error| error.code() == code)
            .expect(code);
        let line = changed
            .lines()
            .position(|line| line.contains(to))
            .expect("it is there")
            + 1;
        let told = error.to_string();
        assert!(told.starts_with(&format!("saga.yaml:{line}:")), "{told}");
        assert!(told.contains(part), "{told}");
    };
    let target = "rewind_to: backend";
    check(
        target,
        "rewind_to: smoke",
        "RD0115",
        "names the phase itself, which has not committed: smoke",
    );
    check(
        target,
        "rewind_to: nowhere",
        "RD0115",
        "names a phase that this saga does not have: nowhere",
    );
    check(
        target,
        "rewind_to: announce",
        "RD0115",
        "names a later phase: announce",
    );
    check(
        "[scan, backend, frontend]",
        "[announce]",
        "RD0114",
        "smoke waits for announce waits for smoke",
    );
    check(
        "after: [smoke]",
        "after: [announce]",
        "RD0114",
        "announce waits for announce",
    );
    check(
        "after: [smoke]",
        "after: [nobody]",
        "RD0113",
        "a phase that this saga does not have: nobody",
    );

    // At run time: it goes back once, forward again, and fails again.
    let loops = yard.changed("loops", |saga| smoke_fails(saga, Then::Resume));
    let row = yard.held(&loops, "1.2.0").await;
    let holds = yard.engine.holds().await.expect("listed");
    assert!(
        holds[0]
            .reason
            .contains("rewound to backend 1 times; the saga allows 1"),
        "{}",
        holds[0].reason
    );
    let states: Vec<_> = yard
        .of_run(row.id)
        .await
        .iter()
        .map(|line| line.status)
        .collect();
    assert_eq!(states, [RewindStatus::Failed, RewindStatus::Succeeded]);
    let error = yard
        .engine
        .rewind(row.id, &to("backend"))
        .await
        .expect_err("used up");
    assert_eq!(error.code(), "RD0423");
    assert!(
        error
            .to_string()
            .contains("rewound to backend 1 times; the saga allows 1"),
        "{error}"
    );
    assert_eq!(yard.shows(), "api 1.2.0, jobs 1.0.0, web 1.2.0");
    yard.taken_back(row.id).await;
    assert_eq!(yard.shows(), FIRST);
    sound(&yard.engine).await;
}

/// systems.md 4.5
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_5_a_rewind_does_not_resume_unless_the_file_says_so() {
    let yard = Yard::new().await;
    fs::write(yard.marker("down"), "").expect("written");
    let stopped = yard.held(&yard.saga(), "1.1.0").await;
    assert_eq!(
        (stopped.state.as_str(), yard.shows().as_str()),
        ("failed", FIRST)
    );
    fs::remove_file(yard.marker("down")).expect("removed");
    // Nobody goes on with it, although it would work now.
    let records = "select count(*) from redress.record";
    let before = yard.lab.sql(records);
    let (_stop, stopping) = watch::channel(false);
    let worker = yard.engine.worker().until_idle().run(stopping);
    worker.await.expect("worked");
    assert_eq!(
        (yard.lab.sql(records), yard.shows()),
        (before, FIRST.to_owned())
    );
    assert!(
        yard.engine.holds().await.expect("listed").is_empty(),
        "it was recovered"
    );
    // A person lets it: backend runs again, the build is the one that stands.
    yard.engine.resume(stopped.id).await.expect("resumed");
    let outcome = yard.engine.drive(stopped.id).await;
    assert!(matches!(outcome, Ok(Outcome::Completed(_))), "{outcome:?}");
    let ran = phases(&yard.lab, &stopped, "phase.committed");
    assert_eq!(
        ran,
        [
            "build", "test", "backend", "frontend", "backend", "frontend", "smoke", "announce"
        ]
    );
    assert_eq!(yard.shows(), SECOND);

    let resumes = yard.changed("resumes", |saga| {
        smoke_fails(saga, Then::Resume);
        saga.max_rewinds = 100;
    });
    fs::write(yard.marker("down"), "").expect("written");
    let mend = async {
        until("it went back", async || {
            yard.of_status(RewindStatus::Succeeded).await > 1
        })
        .await;
        fs::remove_file(yard.marker("down")).expect("removed");
    };
    let (outcome, ()) = tokio::join!(yard.run(&resumes, "1.0.0"), mend);
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert_eq!(yard.shows(), FIRST);
    sound(&yard.engine).await;
}

/// systems.md 4.6
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_6_a_program_and_a_web_hook_hear_of_hold_stuck_and_compensated_and_block_nobody() {
    let yard = Yard::new().await;
    // Both refuse at first: the program while its file is there, the web hook each first call of a notification.
    fs::write(yard.home.join("pager.off"), "").expect("written");
    let known = Mutex::new(BTreeSet::new());
    let server = Server::start(move |heard| {
        let key = heard.headers.get("idempotency-key").cloned();
        match known.lock().expect("no panic").insert(key) {
            true => Reply::Say(503, String::new()),
            false => Reply::Say(204, String::new()),
        }
    })
    .await;
    let text = read(&yard.home, "redress.toml").replace("127.0.0.1:8799", &server.host);
    let config = Config::parse(&text).expect("a configuration");
    let (stop, stopping) = watch::channel(false);
    let telling: Vec<_> = config
        .notify
        .iter()
        .map(|told| {
            let sink = told.sink(&config.http).expect("a sink");
            let notifier = yard
                .engine
                .notifier(&told.name, sink)
                .topics(told.topics().expect("topics"));
            tokio::spawn(notifier.run(stopping.clone()))
        })
        .collect();
    let places = "select count(*) from redress.subscriber where owner is not null";
    until("both have their places", async || {
        yard.lab.sql(places) == "2"
    })
    .await;

    let compensated = yard.run(&yard.saga(), "1.3.0").await;
    assert!(
        matches!(compensated, Outcome::Compensated(_)),
        "{compensated:?}"
    );
    let stuck = yard.completes("1.1.0").await;
    yard.by_hand("web", "web hotfix\n");
    assert_eq!(
        refused(yard.engine.rewind(stuck.id, &to("frontend")).await),
        "RD0424"
    );
    let told = fs::read_to_string(yard.home.join("pager.jsonl"));
    assert!(
        told.is_err(),
        "the runs have ended, and the pager has heard nothing: {told:?}"
    );
    fs::remove_file(yard.home.join("pager.off")).expect("removed");

    let pages = || -> Vec<Value> {
        let text = fs::read_to_string(yard.home.join("pager.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    };
    until("the pager has heard it all", async || pages().len() >= 3).await;
    until("the hook has heard it all", async || {
        server.heard().len() >= 6
    })
    .await;
    stop.send_replace(true);
    for task in telling {
        task.await.expect("ended");
    }
    let what: BTreeSet<_> = pages()
        .iter()
        .map(|page| page["what"].to_string())
        .collect();
    assert_eq!(
        what,
        ["\"compensated\"", "\"hold\"", "\"stuck\""]
            .map(str::to_owned)
            .into()
    );
    for page in pages() {
        let run = if page["what"] == "compensated" {
            compensated.run().id
        } else {
            stuck.id
        };
        assert_eq!(
            (&page["run"], &page["subject"]),
            (&json!(run), &json!("staging")),
            "{page:#}"
        );
    }
    let ids = |all: Vec<Value>| -> BTreeSet<String> {
        all.iter().map(|one| one["id"].to_string()).collect()
    };
    let heard = server.heard();
    let heard = heard
        .iter()
        .map(|one| serde_json::from_str(&one.body).expect("JSON"))
        .collect();
    assert_eq!(
        ids(heard),
        ids(pages()),
        "by its id each is known, however often it was told"
    );
}

/// A failed test deploys nothing and leaves no artefact; a warning of the scan is no more than that.
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_a_failed_test_takes_the_build_away_and_a_warning_stops_nobody() {
    let yard = Yard::new().await;
    let states = yard.history().len();
    let outcome = yard.run(&yard.saga(), "1.3.0").await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        row.error
            .as_ref()
            .is_some_and(|(_, why)| why.contains("test: fail: api")),
        "{row:?}"
    );
    assert_eq!(
        (yard.history().len(), yard.shows().as_str()),
        (states, FIRST)
    );
    let artefact = yard
        .home
        .join("artefacts")
        .join(format!("{}.build.1", row.id));
    assert!(!artefact.exists() && artefact.with_extension("1.gone").exists());

    let row = yard.completes("1.1.0").await;
    let view = yard.engine.show(row.id).await.expect("shown");
    let scan = view
        .phases
        .iter()
        .find(|phase| phase.name.as_str() == "scan")
        .expect("it has one");
    assert_eq!(scan.state, "failed");
    assert!(
        scan.error
            .as_ref()
            .is_some_and(|error| error.message.contains("scan: warning: web")),
        "{scan:?}"
    );
    sound(&yard.engine).await;
}

/// What works and only may not be announced stays where it is until a person has decided.
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_outside_its_window_it_is_held_where_it_is_and_goes_on_when_a_person_says_so() {
    let yard = Yard::new().await;
    yard.lab
        .sql("update pipeline.change_window set open = false");
    let row = yard.held(&yard.saga(), "1.1.0").await;
    assert_eq!(
        (row.state.as_str(), code(&row), yard.shows().as_str()),
        ("failed", "RD0312", SECOND)
    );
    let hold = yard.engine.holds().await.expect("listed").remove(0);
    yard.lab
        .sql("update pipeline.change_window set open = true");
    yard.engine.resume(row.id).await.expect("resumed");
    yard.engine
        .release_hold(hold.id, &yard.lab.sovereign, "the window is open")
        .await
        .expect("released");
    let outcome = yard.engine.drive(row.id).await;
    assert!(matches!(outcome, Ok(Outcome::Completed(_))), "{outcome:?}");
    let live = "select string_agg(version, ' ' order by version) from pipeline.announcement where state = 'live'";
    assert_eq!(yard.lab.sql(live), "1.0.0 1.1.0");
    sound(&yard.engine).await;
}

/// What somebody changed since is not overwritten: stuck, until it is put right, and then it goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_a_component_that_somebody_changed_since_is_not_overwritten() {
    let yard = Yard::new().await;
    let row = yard.completes("1.1.0").await;
    yard.by_hand("api", "api hotfix\n");
    assert_eq!(
        refused(yard.engine.rewind(row.id, &to("backend")).await),
        "RD0424"
    );
    // The chain stopped there: frontend is back, backend stands with the hotfix.
    assert_eq!(yard.shows(), "api hotfix, jobs 1.0.0, web 1.0.0");
    let view = yard.engine.show(row.id).await.expect("shown");
    let error = view.error.expect("why");
    assert!(
        error
            .message
            .contains("somebody changed api since; nothing was restored"),
        "{error:?}"
    );
    yard.by_hand("api", "api 1.1.0\n");
    yard.engine
        .repair_rewind(row.id, "the hotfix is withdrawn")
        .await
        .expect("repaired");
    assert_eq!(yard.shows(), FIRST);
    sound(&yard.engine).await;
}

/// A worker that dies around an act or an undo is followed by another, which asks: each is done once.
#[tokio::test(flavor = "multi_thread")]
async fn pipeline_a_worker_killed_around_a_deployment_leaves_it_done_once_or_taken_back_once() {
    let yard = Yard::new().await;
    // Acts are counted with those that only look: build, scan, test, backend, frontend.
    let forth = [
        "external.intended:4",
        "external.acted:4",
        "external.recorded:3",
    ];
    let back = ["undo.intended:1", "undo.acted:2", "undo.recorded:1"];
    let work = ["work", "--until-idle", "--lease", "700ms"];
    for point in forth.into_iter().chain(back) {
        let states = yard.history().len();
        let input = json!({"environment": "staging", "version": "1.2.0"});
        let opened = yard.engine.start("pipeline", input).open().await;
        let run = opened.expect("opened").run;
        let mut first = yard.command(&work);
        let killed = first.env("REDRESS_CRASH", point).output().expect("it runs");
        assert_eq!(killed.status.signal(), Some(9), "{point}: {killed:?}");
        until("another one ends it", async || {
            let ended = yard.command(&work).output().expect("it runs");
            assert!(ended.status.success(), "{ended:?}");
            let lines = yard.of_run(run).await;
            lines.len() == 1 && lines[0].status == RewindStatus::Succeeded
        })
        .await;
        assert_eq!(yard.shows(), FIRST, "{point}");
        assert_eq!(
            yard.history().len(),
            states + 4,
            "{point}: two deployments and two ways back, each once"
        );
        yard.taken_back(run).await;
    }
    sound(&yard.engine).await;
}

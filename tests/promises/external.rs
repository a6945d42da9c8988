//! Acts outside the database: done once or asked about, taken back once or held, whoever dies where.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use redress::definition::Definition;
use redress::ledger::state::State;
use redress::{Engine, Outcome};
use redress_tests::worker::{self, LEASE};
use redress_tests::{Depot, Lab, Running, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::common::{
    MARKS, again, body, code, mark, marks, merge, open, phases, refused, rows, run, saga, sound,
};
use crate::crash::died;

/// How long a process may take.
const LIMIT: Duration = Duration::from_secs(40);

struct Yard {
    lab: Lab,
    depot: Depot,
    engine: Engine,
}

impl Yard {
    async fn new() -> Self {
        let lab = Lab::new().await;
        lab.sql(MARKS);
        let folder = lab.state_dir().join("depot");
        let depot = Arc::new(Depot::new(&folder));
        let builder = lab.builder(lab.url()).external(depot).lease(LEASE);
        let engine = builder.build().await.expect("an engine");
        Self {
            lab,
            depot: Depot::new(folder),
            engine,
        }
    }

    fn effects(&self) -> String {
        let words = self.depot.effects();
        let words = words
            .iter()
            .map(|line| line.split(' ').next().unwrap_or_default());
        words.collect::<Vec<_>>().join(" ")
    }

    /// A worker as a process of its own, with crash points.
    fn worker(&self, env: Option<(&str, String)>) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_redress-test-worker"));
        command
            .args(["work", "until-idle"])
            .env(worker::URL, self.lab.url())
            .env(worker::STATE, self.lab.state_dir())
            .env(worker::LEASE_MS, LEASE.as_millis().to_string())
            .env_remove("REDRESS_CRASH")
            .env_remove("REDRESS_CRASH_STOP");
        if let Some((name, value)) = env {
            command.env(name, value);
        }
        Running::start(&mut command)
    }

    fn state(&self, run: Uuid) -> String {
        self.lab
            .sql(&format!("select state from redress.run where id = '{run}'"))
    }
}

/// A phase at the depot; `with` are its orders.
fn store(name: &str, with: Value, fields: Value) -> Value {
    let mut phase = json!({
        "name": name, "adapter": "depot", "compensation": "restore",
        "retry": {"attempts": 3, "backoff": "10ms", "max": "20ms"}, "timeout": "5s", "with": with,
    });
    merge(&mut phase, fields);
    phase
}

/// A phase that is refused by the database.
fn refused_phase(name: &str) -> Value {
    let wrong = json!([{"sql": "insert into shop.mark (run, phase, state) values ($1, 'x', 'lost')", "params": ["/run/id"]}]);
    mark(
        name,
        json!({"with": {"apply": wrong, "guard": [], "revert": []}, "compensation": "none"}),
    )
}

fn auto() -> Value {
    json!({"authority": {"soft_revert": "auto", "restore": "auto"}})
}

fn saga_of(name: &str, phases: Vec<Value>) -> Definition {
    saga(name, phases, auto())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_outside_is_intended_done_and_recorded() {
    let yard = Yard::new().await;
    let with_reader = mark(
        "p2",
        json!({"with": {
        "apply": [{"sql": "insert into shop.mark (run, phase, note) values ($1, 'p2', $2)",
                   "params": ["/run/id", "/phases/p1/slip/0/key"]}],
        "guard": [{"sql": "select true from shop.mark where run = $1 for update", "params": ["/run/id"]}],
        "revert": [{"sql": "update shop.mark set state = 'withdrawn' where run = $1", "params": ["/run/id"]}]}}),
    );
    let outcome = run(
        &yard.engine,
        &saga_of(
            "plain",
            vec![store("p1", json!({}), json!({})), with_reader],
        ),
    )
    .await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    let key = format!("{}.p1.1", row.id);
    assert_eq!(yard.depot.effects(), [format!("act {key}")]);
    assert_eq!(
        yard.depot.calls(),
        [format!("prepare {key}"), format!("act {key}")]
    );
    assert_eq!(
        yard.lab.sql("select note from shop.mark"),
        key,
        "its output is in the context"
    );
    let kinds = yard.lab.kinds(&row);
    assert_eq!(
        kinds[..4],
        [
            "run.opened",
            "phase.intended",
            "phase.committed",
            "phase.committed"
        ]
    );
    let intent = body(&yard.lab, row.id, "phase.intended");
    assert_eq!(
        (&intent["way"], &intent["attempt"]),
        (&json!("forth"), &json!(1))
    );
    assert!(
        intent["prepared"]["$blob"].is_object(),
        "what is large lies beside the record"
    );
    let committed = yard.lab.sql(&format!(
        "select convert_from(bytes, 'UTF8') from redress.record where run = '{}' and seq = 3",
        row.id
    ));
    let committed: Value = serde_json::from_str(&committed).unwrap();
    assert_eq!(
        committed["body"]["output"]["slip"][0]["weight"], "1.5",
        "what a record cannot hold is text"
    );
    sound(&yard.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_failure_takes_the_act_back_by_its_undo() {
    let yard = Yard::new().await;
    let list = vec![
        mark("p1", json!({})),
        store("p2", json!({}), json!({})),
        store("p3", json!({}), json!({})),
        refused_phase("p4"),
    ];
    let outcome = run(&yard.engine, &saga_of("back", list)).await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(yard.effects(), "act act undo undo");
    assert_eq!(
        phases(&yard.lab, &row, "compensation.committed"),
        ["p3", "p2", "p1"],
        "in reverse order"
    );
    assert_eq!(rows(&yard.lab, &row), "p1 withdrawn");
    assert_eq!(
        yard.depot.effects()[2],
        format!("undo {}.p3.1.undo", row.id)
    );
    sound(&yard.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_not_done_is_tried_again_or_refused() {
    let yard = Yard::new().await;
    let check = async |name: &str, with: Value, expected: State, effects: &str, error: &str| {
        let before = yard.depot.effects().len();
        let outcome = run(
            &yard.engine,
            &saga_of(name, vec![store("p1", with, json!({}))]),
        )
        .await;
        let row = outcome.run().clone();
        assert_eq!(row.state, expected, "{name}: {row:?}");
        let words: Vec<String> = yard.depot.effects()[before..]
            .iter()
            .map(|l| l[..l.find(' ').unwrap()].to_owned())
            .collect();
        assert_eq!(words.join(" "), effects, "{name}");
        if !error.is_empty() {
            assert_eq!(code(&row), error, "{name}");
        }
        row
    };
    let row = check(
        "again",
        json!({"act": "once_again"}),
        State::Completed,
        "act",
        "",
    )
    .await;
    assert_eq!(
        yard.lab.kinds(&row)[1..5],
        [
            "phase.intended",
            "phase.failed",
            "phase.intended",
            "phase.committed"
        ]
    );
    let keys = yard.lab.sql(&format!(
        "select count(distinct convert_from(bytes, 'UTF8')::jsonb ->> 'idem') from redress.record where kind = 'phase.intended' and run = '{}'", row.id));
    assert_eq!(keys, "1", "one key over the tries");
    let row = check(
        "never",
        json!({"act": "never"}),
        State::Compensated,
        "",
        "RD0314",
    )
    .await;
    assert_eq!(phases(&yard.lab, &row, "phase.failed").len(), 3);
    check(
        "refusal",
        json!({"act": "refuse"}),
        State::Compensated,
        "",
        "RD0303",
    )
    .await;
    check(
        "unprepared",
        json!({"prepare": "refuse"}),
        State::Compensated,
        "",
        "RD0303",
    )
    .await;
    assert_eq!(yard.depot.count("probe"), 0, "nothing was in doubt");
    sound(&yard.engine).await;
}

/// The answer is lost, late, or a panic: the probe says what happened.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_act_does_not_say_the_probe_does() {
    let yard = Yard::new().await;
    let fast = json!({"timeout": "200ms"});
    let check = async |name: &str, with: Value, expected: State, acts: usize| {
        let before = (
            yard.depot.count("act"),
            yard.depot.effects().len(),
            yard.depot.count("probe"),
        );
        let outcome = run(
            &yard.engine,
            &saga_of(name, vec![store("p1", with, fast.clone())]),
        )
        .await;
        assert_eq!(outcome.run().state, expected, "{name}: {outcome:?}");
        assert_eq!(yard.depot.count("act") - before.0, acts, "{name}");
        let done = usize::from(expected == State::Completed);
        assert_eq!(yard.depot.effects().len() - before.1, done, "{name}: once");
        assert!(yard.depot.count("probe") > before.2, "{name}");
        outcome.run().clone()
    };
    check("lost", json!({"act": "lose"}), State::Completed, 1).await;
    check("late", json!({"act": "linger"}), State::Completed, 1).await;
    check("silent", json!({"act": "silent_once"}), State::Completed, 2).await;
    let row = check("hanging", json!({"act": "hang"}), State::Compensated, 3).await;
    assert!(
        row.error
            .unwrap()
            .1
            .contains("no answer within 200 ms; the probe says that it was not done")
    );
    let row = check("panicking", json!({"act": "panic"}), State::Compensated, 1).await;
    assert!(row.error.unwrap().1.contains("the depot burns"));
    sound(&yard.engine).await;
}

/// Nobody can tell: the run is held, shown in doubt, and asked again when a person says so.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_that_nobody_can_tell_holds_the_run_until_it_is_asked_again() {
    let yard = Yard::new().await;
    let list = vec![
        store("p1", json!({"act": "lose", "probe": "blind"}), json!({})),
        mark("p2", json!({})),
    ];
    let definition = saga_of("blind", list);
    let outcome = run(&yard.engine, &definition).await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!((row.state, code(&row)), (State::Failed, "RD0317"));
    let view = yard.engine.show(row.id).await.expect("shown");
    assert!(view.phases[0].in_doubt && !view.phases[1].in_doubt);
    assert_eq!(
        view.next.as_ref().unwrap().command,
        format!("redress resume {}", row.id)
    );
    assert_eq!(view.held.len(), 1);
    // The plan knows that it may stand.
    let plan = view.plan.expect("a plan");
    assert_eq!(
        (plan.actions.len(), plan.actions[0].action.as_str()),
        (1, "restore")
    );
    assert_eq!(yard.depot.count("act"), 1);

    // Still blind: held again. Then the depot answers, and the run goes on without a second act.
    for (sees, expected) in [(false, State::Failed), (true, State::Completed)] {
        yard.depot.sight(sees);
        yard.engine.resume(row.id).await.expect("resumed");
        release(&yard, row.id).await;
        let outcome = yard.engine.drive(row.id).await.expect("driven");
        assert_eq!(outcome.run().state, expected, "{outcome:?}");
    }
    assert_eq!(
        (yard.depot.count("act"), yard.effects()),
        (1, "act".to_owned())
    );
    sound(&yard.engine).await;
}

async fn release(yard: &Yard, run: Uuid) {
    for hold in yard.engine.holds().await.expect("holds") {
        if hold.run == Some(run) {
            let released = yard
                .engine
                .release_hold(hold.id, &yard.lab.sovereign, "looked at");
            released.await.expect("released");
        }
    }
}

/// A plan for a phase in doubt asks first: done is undone, not done needs nothing, unknown is stuck.
#[tokio::test(flavor = "multi_thread")]
async fn a_plan_asks_about_a_phase_in_doubt_before_it_takes_it_back() {
    let yard = Yard::new().await;
    let check = async |name: &str, with: Value, sees: bool, expected: Option<&str>| {
        let before = yard.depot.effects().len();
        yard.depot.sight(false);
        let list = vec![
            mark("p1", json!({})),
            store("p2", with, json!({"timeout": "300ms"})),
        ];
        let outcome = run(&yard.engine, &saga_of(name, list)).await;
        let Outcome::Held(row) = outcome else {
            panic!("{name}: {outcome:?}")
        };
        yard.depot.sight(sees);
        let stored = yard
            .engine
            .find_plan(&row.id.to_string())
            .await
            .expect("a plan");
        let applied = yard.engine.apply(&stored).await;
        match expected {
            Some(effects) => {
                assert_eq!(
                    applied.expect("applied").run().state,
                    State::Compensated,
                    "{name}"
                );
                let words: Vec<&str> = yard.depot.effects()[before..]
                    .iter()
                    .map(|l| if l.starts_with("act") { "act" } else { "undo" })
                    .collect();
                assert_eq!(words.join(" "), effects, "{name}");
                assert_eq!(rows(&yard.lab, &row), "p1 withdrawn", "{name}");
            }
            None => {
                assert_eq!(refused(applied), "RD0424", "{name}");
                assert_eq!(yard.state(row.id), "stuck", "{name}");
                assert_eq!(
                    rows(&yard.lab, &row),
                    "p1 live",
                    "{name}: in reverse order, so nothing before it"
                );
            }
        }
        row
    };
    check(
        "was-done",
        json!({"act": "lose", "probe": "blind"}),
        true,
        Some("act undo"),
    )
    .await;
    let row = check(
        "was-not",
        json!({"act": "hang", "probe": "blind"}),
        true,
        Some(""),
    )
    .await;
    let records = yard.lab.sql(&format!(
        "select convert_from(bytes, 'UTF8')::jsonb #>> '{{body,touched,outside}}' from redress.record where kind = 'compensation.committed' and phase = 'p2' and run = '{}'", row.id));
    assert_eq!(records, "not_done");
    let row = check(
        "cannot-tell",
        json!({"act": "lose", "probe": "blind"}),
        false,
        None,
    )
    .await;
    // The next plan asks again.
    yard.depot.sight(true);
    let stored = yard
        .engine
        .plan(row.id, Default::default(), "again")
        .await
        .expect("planned");
    let outcome = yard.engine.apply(&stored).await.expect("applied");
    assert_eq!(outcome.run().state, State::Compensated);
    sound(&yard.engine).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_nobody_can_tell_is_stuck_and_asked_again() {
    let yard = Yard::new().await;
    let with = json!({"undo": "lose", "probe_undo": "blind"});
    let outcome = run(
        &yard.engine,
        &saga_of(
            "undone",
            vec![store("p1", with, json!({})), refused_phase("p2")],
        ),
    )
    .await;
    let Outcome::Stuck(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(code(&row), "RD0317");
    let view = yard.engine.show(row.id).await.expect("shown");
    assert!(view.phases[0].in_doubt);
    assert_eq!(view.phases[0].state, "standing");
    yard.depot.sight(true);
    let stored = yard
        .engine
        .plan(row.id, Default::default(), "again")
        .await
        .expect("planned");
    let outcome = yard.engine.apply(&stored).await.expect("applied");
    assert_eq!(outcome.run().state, State::Compensated);
    assert_eq!(
        (yard.depot.count("undo"), yard.effects()),
        (1, "act undo".to_owned()),
        "undone once"
    );
    sound(&yard.engine).await;
}

/// F71–F73: an undo that fails once is tried again; one that fails always is stuck; a guard that says no starts nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_fails_is_tried_again_stuck_or_not_begun() {
    let yard = Yard::new().await;
    let check = async |name: &str, with: Value, expected: State| {
        let outcome = run(
            &yard.engine,
            &saga_of(
                name,
                vec![
                    store("p1", with, json!({"timeout": "300ms"})),
                    refused_phase("p2"),
                ],
            ),
        )
        .await;
        assert_eq!(outcome.run().state, expected, "{name}: {outcome:?}");
        outcome.run().clone()
    };
    check(
        "undo-once",
        json!({"undo": "once_again"}),
        State::Compensated,
    )
    .await;
    check("undo-late", json!({"undo": "linger"}), State::Compensated).await;
    check("undo-lost", json!({"undo": "lose"}), State::Compensated).await;
    check("undo-never", json!({"undo": "never"}), State::Stuck).await;
    check("undo-refused", json!({"undo": "refuse"}), State::Stuck).await;
    check("guarded", json!({"guard": "no"}), State::Stuck).await;
    let undone = yard
        .depot
        .effects()
        .iter()
        .filter(|line| line.starts_with("undo"))
        .count();
    assert_eq!(undone, 3);

    // Asked for by a person, a guard that says no changes nothing.
    let done = run(
        &yard.engine,
        &saga_of("kept", vec![store("p1", json!({"guard": "no"}), json!({}))]),
    )
    .await;
    let stored = yard
        .engine
        .plan(done.run().id, Default::default(), "take it back")
        .await
        .expect("planned");
    assert_eq!(refused(yard.engine.apply(&stored).await), "RD0421");
    assert_eq!(yard.state(done.run().id), "completed");
    sound(&yard.engine).await;
}

/// P12: the declared way back is the one that the adapter has.
#[tokio::test(flavor = "multi_thread")]
async fn a_way_back_that_the_adapter_does_not_have_is_refused() {
    let yard = Yard::new().await;
    let check =
        async |name: &str, compensation: &str, undo: &str, fields: Value, path: Option<&str>| {
            let mut phase = store(
                "p1",
                json!({"undo": undo}),
                json!({"compensation": compensation}),
            );
            merge(&mut phase, fields);
            let found = yard
                .engine
                .check_definition(&saga_of(name, vec![phase]))
                .await
                .expect("checked");
            let found: Vec<_> = found.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(
                found,
                path.into_iter().collect::<Vec<_>>(),
                "{compensation} {undo}"
            );
        };
    let none = || json!({});
    let wrong = Some("/phases/0/compensation");
    check("a", "restore", "do", none(), None).await;
    check("b", "soft_revert", "do", none(), None).await;
    check("c", "irreversible", "none", none(), None).await;
    check("d", "none", "needless", none(), None).await;
    check("e", "none", "do", none(), wrong).await;
    check("f", "none", "none", none(), wrong).await;
    check("g", "restore", "none", none(), wrong).await;
    check("h", "restore", "needless", none(), wrong).await;
    check("i", "decide", "do", none(), wrong).await;
    check(
        "j",
        "restore",
        "do",
        json!({"role": "postgres"}),
        Some("/phases/0/role"),
    )
    .await;
    check(
        "k",
        "restore",
        "do",
        json!({"writes": ["shop.mark"]}),
        Some("/phases/0/writes"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_irreversible_outside_refuses_the_plan() {
    let yard = Yard::new().await;
    let first = store(
        "p1",
        json!({"undo": "none"}),
        json!({"compensation": "irreversible"}),
    );
    let outcome = run(
        &yard.engine,
        &saga_of("oneway", vec![first, refused_phase("p2")]),
    )
    .await;
    let Outcome::Held(row) = outcome else {
        panic!("{outcome:?}")
    };
    let stored = yard
        .engine
        .find_plan(&row.id.to_string())
        .await
        .expect("a plan");
    assert!(stored.plan.refused);
    assert_eq!(stored.plan.actions[0].code.unwrap().as_str(), "RD0401");
}

/// A kill between intent and act: nothing is done until the release, and then it is done once.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_behind_the_intent_stops_the_act() {
    let yard = Yard::new().await;
    let run = open(
        &yard.engine,
        &saga_of("killed", vec![store("p1", json!({}), json!({}))]),
    )
    .await;
    let mut frozen = yard.worker(Some((
        "REDRESS_CRASH_STOP",
        "external.intended:1".to_owned(),
    )));
    let intents = format!(
        "select count(*) from redress.record where kind = 'phase.intended' and run = '{run}'"
    );
    eventually(LIMIT, "the intent stands", || yard.lab.sql(&intents) == "1");
    yard.engine
        .kill("drill", Duration::from_secs(5), false)
        .await
        .expect("killed");
    frozen.thaw();
    frozen.wait(LIMIT);
    assert_eq!(yard.depot.count("act"), 0, "the switch was asked once more");
    assert_eq!(yard.state(run), "running");
    yard.engine
        .release_kill(&yard.lab.sovereign, "done")
        .await
        .expect("released");
    yard.engine.drive(run).await.expect("driven");
    assert_eq!(
        (yard.state(run), yard.effects()),
        ("completed".to_owned(), "act".to_owned())
    );
    assert_eq!(yard.depot.count("probe"), 1, "its intent stood in doubt");
    sound(&yard.engine).await;
}

/// A kill between act and outcome: what was done is recorded after the release, by the probe, and not done again.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_behind_the_act_delays_its_record_and_nothing_else() {
    let yard = Yard::new().await;
    let run = open(
        &yard.engine,
        &saga_of("killed", vec![store("p1", json!({}), json!({}))]),
    )
    .await;
    let mut frozen = yard.worker(Some(("REDRESS_CRASH_STOP", "external.acted:1".to_owned())));
    eventually(LIMIT, "the act is done", || yard.depot.effects().len() == 1);
    yard.engine
        .kill("drill", Duration::from_secs(5), false)
        .await
        .expect("killed");
    frozen.thaw();
    frozen.wait(LIMIT);
    let view = yard.engine.show(run).await.expect("shown");
    assert!(
        view.phases[0].in_doubt,
        "P3: nothing is committed until the release"
    );
    yard.engine
        .release_kill(&yard.lab.sovereign, "done")
        .await
        .expect("released");
    yard.engine.drive(run).await.expect("driven");
    assert_eq!(
        (yard.state(run), yard.depot.count("act")),
        ("completed".to_owned(), 1)
    );
    sound(&yard.engine).await;
}

/// A frozen worker acts behind the back of the one that took over: the key makes it harmless, the epoch its record.
#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_acts_late_does_nothing_twice_and_records_nothing() {
    let yard = Yard::new().await;
    let run = open(
        &yard.engine,
        &saga_of(
            "zombie",
            vec![
                store("p1", json!({"act": "slow"}), json!({})),
                mark("p2", json!({})),
            ],
        ),
    )
    .await;
    let mut frozen = yard.worker(None);
    eventually(LIMIT, "the act has begun", || yard.depot.count("act") == 1);
    frozen.freeze();
    std::thread::sleep(LEASE * 2);
    yard.engine.drive(run).await.expect("driven");
    assert_eq!(yard.state(run), "completed");
    frozen.thaw();
    frozen.wait(LIMIT);
    assert_eq!(
        (yard.depot.count("act"), yard.effects()),
        (2, "act".to_owned())
    );
    let committed = format!(
        "select count(*) from redress.record where kind = 'phase.committed' and run = '{run}'"
    );
    assert_eq!(yard.lab.sql(&committed), "2");
    sound(&yard.engine).await;
}

/// A run that is cancelled while its act is under way: the act's own limit is waited for before "not done" counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_waits_for_an_act_that_may_still_come() {
    let yard = Yard::new().await;
    let phase = store("p1", json!({"act": "slow"}), json!({"timeout": "4s"}));
    let run = open(&yard.engine, &saga_of("cancelled", vec![phase])).await;
    let mut busy = yard.worker(None);
    eventually(LIMIT, "the act has begun", || yard.depot.count("act") == 1);
    yard.engine
        .cancel(run, "changed my mind")
        .await
        .expect("cancelled");
    busy.wait(LIMIT);
    yard.engine.drive(run).await.expect("driven");
    assert_eq!(
        (yard.state(run), yard.effects()),
        ("compensated".to_owned(), "act undo".to_owned())
    );
    sound(&yard.engine).await;
}

/// Death at one point of a run with an act and its undo; another worker ends it.
async fn a_worker_dies_outside(point: &str, least: u64) {
    let yard = Yard::new().await;
    let list = vec![
        store("p1", json!({}), json!({})),
        store("p2", json!({}), json!({})),
        refused_phase("p3"),
    ];
    let definition = saga_of("deaths", list);
    yard.engine.register(&definition).await.expect("registered");
    let mut deaths = 0;
    for n in 1..=20 {
        let before = yard.depot.effects().len();
        let run = open(&yard.engine, &definition).await;
        let mut worker = yard.worker(Some(("REDRESS_CRASH", format!("{point}:{n}"))));
        if !died(&mut worker, point) {
            break;
        }
        deaths += 1;
        let mut other = yard.worker(None);
        assert!(other.wait(LIMIT).success(), "{}", other.stderr());
        assert_eq!(yard.state(run), "compensated", "{point}:{n}");
        let effects: Vec<String> = yard.depot.effects()[before..].to_vec();
        let expected: Vec<String> = [
            "act RUN.p1.1",
            "act RUN.p2.1",
            "undo RUN.p2.1.undo",
            "undo RUN.p1.1.undo",
        ]
        .iter()
        .map(|line| line.replace("RUN", &run.to_string()))
        .collect();
        assert_eq!(effects, expected, "{point}:{n}: each once, in order");
    }
    println!("{point}: {deaths} deaths");
    assert!(deaths >= least, "{point}: {deaths} deaths");
    sound(&yard.engine).await;
}

macro_rules! deaths {
    ($($(#[$doc:meta])* $name:ident: $point:literal $least:literal;)*) => {
        $($(#[$doc])* #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            a_worker_dies_outside($point, $least).await;
        })*
    };
}

deaths! {
    death_before_an_intent_leaves_nothing: "external.prepared" 2;
    death_behind_an_intent_is_asked_about_and_acted_once: "external.intended" 2;
    death_behind_an_act_is_asked_about_and_not_repeated: "external.acted" 2;
    death_behind_the_record_of_an_act_repeats_nothing: "external.recorded" 2;
    death_before_the_commit_of_intent_or_outcome_is_asked_about: "phase.after_log" 8;
    death_after_the_commit_of_intent_or_outcome_was_sent_is_asked_about: "phase.commit_sent" 8;
    death_behind_the_intent_of_an_undo_is_asked_about: "undo.intended" 2;
    death_behind_an_undo_is_asked_about_and_not_repeated: "undo.acted" 2;
    death_behind_the_record_of_an_undo_repeats_nothing: "undo.recorded" 2;
}

/// Two workers at once over many runs: each act once.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_do_each_act_once() {
    let yard = Yard::new().await;
    let definition = saga_of(
        "crowd",
        vec![
            store("p1", json!({}), json!({})),
            mark("p2", json!({})),
            store("p3", json!({}), json!({})),
        ],
    );
    for _ in 0..12 {
        open(&yard.engine, &definition).await;
    }
    let mut workers = [yard.worker(None), yard.worker(None)];
    workers[0].signal(Signal::CONT);
    for worker in &mut workers {
        assert!(worker.wait(LIMIT).success(), "{}", worker.stderr());
    }
    assert_eq!(
        yard.lab
            .sql("select count(*) from redress.run where state = 'completed'"),
        "12"
    );
    assert_eq!(
        (yard.depot.count("act"), yard.depot.effects().len()),
        (24, 24)
    );
    sound(&yard.engine).await;
}

/// P7: beside phases inside the database a plan goes stepwise, and one that only names them stays in one transaction.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_in_a_plan_makes_it_go_step_by_step() {
    let yard = Yard::new().await;
    let mut list = marks(2);
    list.push(store("p3", json!({"undo": "refuse"}), json!({})));
    list.push(refused_phase("p4"));
    let outcome = run(&yard.engine, &saga_of("steps", list)).await;
    let Outcome::Stuck(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        rows(&yard.lab, &row),
        "p1 live, p2 live",
        "what stands is before the act"
    );
    let done = again(&yard.engine, &saga_of("steps", Vec::new())).await;
    assert_eq!(done.run().state, State::Stuck);
}

/// A phase that was taken back by a rewind and runs again is another act: another key, and its own undo.
#[tokio::test(flavor = "multi_thread")]
async fn a_rewound_act_runs_again_under_another_key() {
    let yard = Yard::new().await;
    let again = json!({"on_failure": {"rewind_to": "p1", "then": "resume"}});
    let list = vec![
        store("p1", json!({}), json!({})),
        store("p2", json!({"act": "refuse"}), again),
    ];
    let fields = json!({"max_rewinds": 1, "authority": {"restore": "auto", "rewind": "auto"}});
    let outcome = run(&yard.engine, &saga("rewound", list, fields)).await;
    let id = outcome.run().id;
    let expected = ["act RUN.p1.1", "undo RUN.p1.1.undo", "act RUN.p1.2"];
    let expected = expected.map(|line| line.replace("RUN", &id.to_string()));
    assert_eq!(yard.depot.effects(), expected, "{outcome:?}");
    sound(&yard.engine).await;
}

/// A failure that the file allows is passed over only when it is known that nothing was done.
#[tokio::test(flavor = "multi_thread")]
async fn an_act_in_doubt_is_not_passed_over() {
    let yard = Yard::new().await;
    let check = async |name: &str, with: Value, expected: State| {
        let may_fail = store("p1", with, json!({"on_failure": "continue"}));
        let list = vec![may_fail, mark("p2", json!({}))];
        let outcome = run(&yard.engine, &saga_of(name, list)).await;
        assert_eq!(outcome.run().state, expected, "{name}: {outcome:?}");
    };
    check("allowed", json!({"act": "refuse"}), State::Completed).await;
    let blind = json!({"act": "lose", "probe": "blind"});
    check("doubtful", blind, State::Failed).await;
    sound(&yard.engine).await;
}

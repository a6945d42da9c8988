//! The `command` adapter: listed programs, no shell, all of the process group, bounded output, exit codes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use redress::definition::Definition;
use redress::ledger::state::State;
use redress::{Engine, Outcome, RunRow};
use redress_adapters::{CommandConfig, Config};
use redress_tests::{Lab, eventually};
use serde_json::{Value, json};

use crate::common::{MARKS, body, code, merge, refused, saga, sound};

/// Programs in a folder of the test's own, and an engine that may run them.
struct Bench {
    lab: Lab,
    engine: Engine,
}

impl Bench {
    /// Writes the scripts, each listed unless its name begins with `hidden`.
    async fn new(scripts: &[(&str, &str)]) -> Self {
        let lab = Lab::new().await;
        lab.sql(MARKS);
        let mut command = CommandConfig {
            allow: vec![
                "/bin/true".into(),
                "/bin/false".into(),
                "/bin/nothing-is-here".into(),
            ],
            env: vec!["HOME".to_owned()],
        };
        for (name, text) in scripts {
            let path = lab.path(name);
            fs::write(
                &path,
                format!("#!/bin/sh\ncd '{}'\n{text}\n", lab.state_dir().display()),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            if !name.starts_with("hidden") {
                command.allow.push(path);
            }
        }
        let config = Config {
            command,
            ..Config::default()
        };
        config.check().expect("a sound configuration");
        let builder = lab
            .builder(lab.url())
            .externals(redress_adapters::external(&config));
        let engine = builder.build().await.expect("an engine");
        Self { lab, engine }
    }

    fn path(&self, name: &str) -> String {
        self.lab.path(name).to_str().unwrap().to_owned()
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.lab.path(name)).unwrap_or_default()
    }

    async fn run(&self, definition: &Definition, input: Value) -> Outcome {
        self.engine
            .register(definition)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let start = self.engine.start(definition.saga.as_str(), input);
        self.engine.start_and_drive(start).await.expect("driven").1
    }
}

fn phase(name: &str, with: Value, fields: Value) -> Value {
    let mut phase = json!({
        "name": name, "adapter": "command", "compensation": "irreversible",
        "retry": {"attempts": 2, "backoff": "10ms", "max": "20ms"}, "timeout": "5s", "with": with,
    });
    merge(&mut phase, fields);
    phase
}

fn of(name: &str, phases: Vec<Value>) -> Definition {
    saga(
        name,
        phases,
        json!({"authority": {"soft_revert": "auto", "restore": "auto"}}),
    )
}

fn output(bench: &Bench, row: &RunRow) -> Value {
    body(&bench.lab, row.id, "phase.committed")["output"].clone()
}

/// Writes a mark for its key once, and says what it was called with.
const DEPLOY: &str = r#"
[ -e "done-$REDRESS_KEY" ] || echo "act $REDRESS_KEY" >> effects
touch "done-$REDRESS_KEY"
printf '%s' "$1" > "first-$REDRESS_KEY"
printf '{"args": %d, "first": "%s", "ratio": 0.5}' $# "$(wc -c < "first-$REDRESS_KEY")""#;
const THERE: &str = r#"[ -e "done-$REDRESS_KEY" ] || exit 1; echo '{"found": true}'"#;
const BACK: &str =
    r#"echo "undo $REDRESS_KEY $REDRESS_UNDO_KEY $1" >> effects; rm "done-$REDRESS_KEY""#;

#[tokio::test(flavor = "multi_thread")]
async fn a_command_acts_and_is_taken_back_without_a_shell() {
    let bench = Bench::new(&[
        ("deploy", DEPLOY),
        ("there", THERE),
        ("back", BACK),
        ("look", "cat; echo before-$REDRESS_KEY >&2"),
    ])
    .await;
    let with = json!({
        "argv": [bench.path("deploy"), {"pointer": "/input/env"}, "; touch pwned; $(touch pwned)"],
        "output": "json",
        "probe": [bench.path("there")],
        "undo": [bench.path("back"), {"pointer": "/done/json/first"}],
        "capture": {"argv": [bench.path("look")], "stdin": "/input"},
    });
    let stop = phase(
        "stop",
        json!({"argv": ["/bin/false"], "probe": ["/bin/false"]}),
        json!({}),
    );
    let list = vec![
        phase("deploy", with, json!({"compensation": "restore"})),
        stop,
    ];
    let nasty = "`touch pwned` \"'$HOME\n; touch pwned";
    let outcome = bench.run(&of("deploys", list), json!({"env": nasty})).await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    let output = output(&bench, &row);
    assert_eq!(output["json"]["args"], 2);
    assert_eq!(output["json"]["ratio"], "0.5");
    let key = format!("{}.deploy.1", row.id);
    let effects = bench.text("effects");
    let expected = format!("act {key}\nundo {key} {key}.undo {}\n", nasty.len());
    assert_eq!(effects, expected);
    assert_eq!(
        bench.text(&format!("first-{key}")),
        nasty,
        "a value is a whole argument"
    );
    assert!(
        !bench.lab.path("pwned").exists(),
        "nothing is read by a shell"
    );
    assert!(!bench.lab.path(&format!("done-{key}")).exists());
    let intent = bench.lab.sql("select convert_from(bytes, 'UTF8')::jsonb #>> '{body,prepared,captured,json,env}' from redress.record where kind = 'phase.intended' and phase = 'deploy' limit 1");
    assert_eq!(intent, nasty, "what was captured stands in the intent");
    sound(&bench.engine).await;
}

/// An exit code of 0 without the JSON that was promised: the probe says what there is.
#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_not_what_was_promised_is_asked_about() {
    let bench = Bench::new(&[
        ("prose", "echo done > did; echo no json"),
        ("there", "[ -e did ] || exit 1; echo '[1]'"),
    ])
    .await;
    let with =
        json!({"argv": [bench.path("prose")], "output": "json", "probe": [bench.path("there")]});
    let outcome = bench
        .run(&of("prose", vec![phase("p", with, json!({}))]), json!({}))
        .await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        output(&bench, &row)["json"],
        json!([1]),
        "what the probe found"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_say_what_was_done() {
    let script = r#"echo x >> "calls-$2"; [ "$3" = once ] && [ $(wc -l < "calls-$2") -gt 1 ] && exit 0; echo "code $1" >&2; exit $1"#;
    let kill = "echo x >> calls-kill; kill -9 $$";
    let bench = Bench::new(&[
        ("exit", script),
        ("killed", kill),
        ("never", "exit 1"),
        ("blind", "exit 2"),
        ("done", "exit 0"),
    ])
    .await;
    let check = async |name: &str, argv: Value, more: Value, expected: State, error: &str| {
        let mut with =
            json!({"argv": argv, "probe": [bench.path("never")], "retry": [11], "unknown": [12]});
        merge(&mut with, more);
        let outcome = bench
            .run(&of(name, vec![phase("p", with, json!({}))]), json!({}))
            .await;
        let row = outcome.run().clone();
        assert_eq!(
            (row.state, code(&row)),
            (expected, error),
            "{name}: {row:?}"
        );
        let calls = bench.text(&format!("calls-{name}")).lines().count();
        (row, calls)
    };
    let exit = |code: &str, name: &str, times: &str| json!([bench.path("exit"), code, name, times]);
    let (_, calls) = check(
        "zero",
        exit("0", "zero", ""),
        json!({}),
        State::Completed,
        "",
    )
    .await;
    assert_eq!(calls, 1);
    let (row, calls) = check(
        "one",
        exit("1", "one", ""),
        json!({}),
        State::Compensated,
        "RD0303",
    )
    .await;
    assert_eq!(calls, 1, "a no is not repeated");
    assert!(row.error.unwrap().1.contains("exit code 1: code 1"));
    check(
        "temp",
        exit("75", "temp", "once"),
        json!({}),
        State::Completed,
        "RD0314",
    )
    .await;
    let (_, calls) = check(
        "listed",
        exit("11", "listed", ""),
        json!({}),
        State::Compensated,
        "RD0314",
    )
    .await;
    assert_eq!(calls, 2, "as often as the phase says");
    check(
        "maybe",
        exit("12", "maybe", ""),
        json!({"probe": [bench.path("done")]}),
        State::Completed,
        "",
    )
    .await;
    check(
        "maybe-not",
        exit("12", "maybe-not", "once"),
        json!({}),
        State::Completed,
        "RD0314",
    )
    .await;
    check(
        "cannot-tell",
        exit("12", "cannot-tell", ""),
        json!({"probe": [bench.path("blind")]}),
        State::Failed,
        "RD0317",
    )
    .await;
    check(
        "kill",
        json!([bench.path("killed")]),
        json!({"probe": [bench.path("done")]}),
        State::Completed,
        "",
    )
    .await;
    let (_, calls) = check(
        "absent",
        json!(["/bin/nothing-is-here"]),
        json!({}),
        State::Failed,
        "RD0309",
    )
    .await;
    assert_eq!(calls, 0);
    sound(&bench.engine).await;
}

/// Bad input: a command that ignores SIGTERM and forks.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_ignores_sigterm_and_forks_is_ended_with_its_group() {
    let stubborn = r#"trap '' TERM; (trap '' TERM; sh -c 'trap "" TERM; echo $$ >> pids; while :; do sleep 1; done') & echo $$ >> pids; while :; do sleep 1; done"#;
    let leaver = "(sleep 600; echo late > late) & echo $! >> left; echo started";
    let bench = Bench::new(&[
        ("stubborn", stubborn),
        ("leaver", leaver),
        ("never", "exit 1"),
    ])
    .await;
    let with = json!({"argv": [bench.path("stubborn")], "probe": [bench.path("never")]});
    let begun = Instant::now();
    let once =
        json!({"timeout": "700ms", "retry": {"attempts": 1, "backoff": "10ms", "max": "20ms"}});
    let outcome = bench
        .run(&of("stubborn", vec![phase("p", with, once)]), json!({}))
        .await;
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let row = outcome.run();
    assert_eq!((row.state, code(row)), (State::Compensated, "RD0314"));
    assert!(
        row.error
            .as_ref()
            .unwrap()
            .1
            .contains("killed with its process group"),
        "{row:?}"
    );
    gone(&bench, "pids", 2);

    // One that ends and leaves a child behind, which holds the pipe: it is not waited for, and it is ended.
    let with = json!({"argv": [bench.path("leaver")], "probe": [bench.path("never")]});
    let begun = Instant::now();
    let outcome = bench
        .run(&of("leaver", vec![phase("p", with, json!({}))]), json!({}))
        .await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(output(&bench, &row)["stdout"], "started\n");
    gone(&bench, "left", 1);
}

fn gone(bench: &Bench, list: &str, least: usize) {
    let pids: Vec<i32> = bench
        .text(list)
        .lines()
        .map(|pid| pid.trim().parse().unwrap())
        .collect();
    assert!(pids.len() >= least, "{pids:?}");
    for pid in pids {
        eventually(Duration::from_secs(5), "the process has ended", || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.is_empty() || stat.contains(") Z ")
        });
    }
}

/// Bad input: a command that prints 1 GB.
#[tokio::test(flavor = "multi_thread")]
async fn a_gigabyte_of_output_is_read_counted_and_not_kept() {
    let bench = Bench::new(&[
        (
            "flood",
            "head -c 1000000000 /dev/zero | tr '\\0' 'x'; head -c 100000000 /dev/zero >&2",
        ),
        ("never", "exit 1"),
    ])
    .await;
    let with = json!({"argv": [bench.path("flood")], "probe": [bench.path("never")]});
    let before = resident_mib();
    let outcome = bench
        .run(
            &of("flood", vec![phase("p", with, json!({"timeout": "60s"}))]),
            json!({}),
        )
        .await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    let grown = resident_mib().saturating_sub(before);
    assert!(grown < 100, "{grown} MiB more");
    let kept = redress_adapters::command::STDOUT_BYTES_MAX as u64;
    let output = bench.lab.sql(&format!("select convert_from(content, 'UTF8')::jsonb ->> 'discarded' from redress.blob where run = '{}' and convert_from(content, 'UTF8')::jsonb ? 'stdout'", row.id));
    assert_eq!(output, (1_000_000_000 - kept).to_string());
    sound(&bench.engine).await;
}

fn resident_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    let kib: u64 = line
        .split_whitespace()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    kib / 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sees_no_more_of_the_environment_than_is_listed() {
    let bench = Bench::new(&[
        ("env", "env | cut -d= -f1 | sort | tr '\\n' ' '; pwd"),
        ("never", "exit 1"),
    ])
    .await;
    let with =
        json!({"argv": [bench.path("env")], "env": ["HOME"], "probe": [bench.path("never")]});
    let outcome = bench
        .run(&of("env", vec![phase("p", with, json!({}))]), json!({}))
        .await;
    let Outcome::Completed(row) = outcome else {
        panic!("{outcome:?}")
    };
    let output = output(&bench, &row);
    let names = output["stdout"].as_str().unwrap();
    // `PWD`, `OLDPWD` and `_` are the shell's own.
    let names: Vec<&str> = names
        .split_whitespace()
        .filter(|name| !["PWD", "OLDPWD", "_", "SHLVL"].contains(name))
        .collect();
    assert_eq!(names[..3], ["HOME", "PATH", "REDRESS_KEY"], "{names:?}");
    assert_eq!(names.len(), 4);
}

/// What a definition must not choose, and what it got wrong, each with its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_listed_or_not_understood_is_refused_with_its_place() {
    let bench = Bench::new(&[("act", ""), ("never", "exit 1"), ("hidden", "touch chosen")]).await;
    let act = bench.path("act");
    let check = async |with: Value, path: &str, code: &str| {
        let found = bench
            .engine
            .check_definition(&of("bad", vec![phase("p", with.clone(), json!({}))]))
            .await
            .unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.code)).collect();
        assert_eq!(found, [(path, code)], "{with}");
    };
    let probe = json!([bench.path("never")]);
    let with = |more: Value| {
        let mut with = json!({"argv": [act], "probe": probe});
        merge(&mut with, more);
        with
    };
    check(
        with(json!({"argv": [bench.path("hidden")]})),
        "/phases/0/with/argv/0",
        "RD0146",
    )
    .await;
    check(
        with(json!({"argv": ["act"]})),
        "/phases/0/with/argv/0",
        "RD0146",
    )
    .await;
    check(
        with(json!({"argv": [format!("{act}/../hidden")]})),
        "/phases/0/with/argv/0",
        "RD0146",
    )
    .await;
    check(
        with(json!({"argv": [{"pointer": "/input/program"}]})),
        "/phases/0/with/argv/0",
        "RD0110",
    )
    .await;
    check(with(json!({"argv": []})), "/phases/0/with/argv", "RD0110").await;
    check(
        with(json!({"argv": "true"})),
        "/phases/0/with/argv",
        "RD0110",
    )
    .await;
    check(
        with(json!({"argv": [act, {"pointer": "/secret"}]})),
        "/phases/0/with/argv/1",
        "RD0123",
    )
    .await;
    check(
        with(json!({"argv": [act, {"pointer": "/done/stdout"}]})),
        "/phases/0/with/argv/1",
        "RD0123",
    )
    .await;
    check(
        with(json!({"probe": [bench.path("hidden")]})),
        "/phases/0/with/probe/argv/0",
        "RD0146",
    )
    .await;
    check(
        with(json!({"undo": {"argv": [bench.path("hidden")]}})),
        "/phases/0/with/undo/argv/0",
        "RD0146",
    )
    .await;
    check(
        with(json!({"capture": {"argv": [act, {"pointer": "/captured/stdout"}]}})),
        "/phases/0/with/capture/argv/1",
        "RD0123",
    )
    .await;
    check(
        with(json!({"env": ["LD_PRELOAD"]})),
        "/phases/0/with/env/0",
        "RD0146",
    )
    .await;
    check(with(json!({"cwd": "here"})), "/phases/0/with/cwd", "RD0110").await;
    check(
        with(json!({"retry": [0]})),
        "/phases/0/with/retry/0",
        "RD0110",
    )
    .await;
    check(
        with(json!({"shell": true})),
        "/phases/0/with/shell",
        "RD0110",
    )
    .await;
    check(json!({"argv": [act]}), "/phases/0/with/argv", "RD0116").await;
    check(
        with(json!({"read_only": true, "undo": [act]})),
        "/phases/0/with/undo",
        "RD0110",
    )
    .await;
}

/// A definition that is older than the configuration runs nothing that is not listed any more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_listed_is_not_run() {
    let bench = Bench::new(&[("act", "touch ran"), ("never", "exit 1")]).await;
    let with = json!({"argv": [bench.path("act")], "probe": [bench.path("never")]});
    let definition = of("listed", vec![phase("p", with, json!({}))]);
    bench
        .engine
        .register(&definition)
        .await
        .expect("registered");
    let strict = bench
        .lab
        .builder(bench.lab.url())
        .externals(redress_adapters::external(&Config::default()));
    let strict = strict.build().await.expect("an engine");
    let start = strict.start("listed", json!({}));
    let (_, outcome) = strict.start_and_drive(start).await.expect("driven");
    assert_eq!(
        (outcome.run().state, code(outcome.run())),
        (State::Failed, "RD0309")
    );
    assert!(!bench.lab.path("ran").exists());
    assert_eq!(
        refused(
            strict
                .register(&of(
                    "more",
                    vec![phase(
                        "p",
                        json!({"argv": [bench.path("act")], "probe": ["/bin/false"]}),
                        json!({})
                    )]
                ))
                .await
        ),
        "RD0146"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pointer_to_nothing_is_refused_before_the_intent() {
    let bench = Bench::new(&[("act", "touch ran"), ("never", "exit 1")]).await;
    let check = async |name: &str, input: Value| {
        let with = json!({"argv": [bench.path("act"), {"pointer": "/input/x"}], "probe": [bench.path("never")]});
        let outcome = bench
            .run(&of(name, vec![phase("p", with, json!({}))]), input)
            .await;
        let row = outcome.run();
        assert_eq!(
            (row.state, code(row)),
            (State::Compensated, "RD0313"),
            "{row:?}"
        );
        assert!(!bench.lab.kinds(row).contains(&"phase.intended".to_owned()));
    };
    check("nothing", json!({})).await;
    check("no-text", json!({"x": [1]})).await;
    assert!(!bench.lab.path("ran").exists());
}

/// What changes nothing needs neither probe nor undo, and is done again after a doubt.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_only_reads_is_simply_done_again() {
    let bench = Bench::new(&[(
        "read",
        "echo x >> calls; [ $(wc -l < calls) -gt 1 ] || exit 12",
    )])
    .await;
    let with = json!({"argv": [bench.path("read")], "read_only": true, "unknown": [12]});
    let outcome = bench
        .run(
            &of(
                "reads",
                vec![phase("p", with, json!({"compensation": "none"}))],
            ),
            json!({}),
        )
        .await;
    assert_eq!(outcome.run().state, State::Completed);
    assert_eq!(bench.text("calls"), "x\nx\n");
}

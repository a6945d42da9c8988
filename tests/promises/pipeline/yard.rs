//! The pipeline's example in a folder of a test's own: its programs, its environment, and the command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use redress::definition::{Definition, OnFailure, Then};
use redress::view::{RewindFilter, RewindLine, RewindStatus};
use redress::{Engine, Outcome, Rewind, RunRow};
use redress_adapters::Config;
use redress_tests::worker::LEASE;
use redress_tests::{Lab, redress_bin};
use serde_json::{Value, json};
use uuid::Uuid;

/// Where the README has its files.
const HOME: &str = "/tmp/pipeline-try";
/// The environment of a fresh yard, by component.
pub const FIRST: &str = "api 1.0.0, jobs 1.0.0, web 1.0.0";
/// The same with version 1.1.0, which scan warns of, and whose jobs are the old ones.
pub const SECOND: &str = "api 1.1.0, jobs 1.0.0, web 1.1.0";

/// The example in a folder of the test's own, with version 1.0.0 deployed to `staging`.
pub struct Yard {
    pub lab: Lab,
    pub engine: Engine,
    pub home: PathBuf,
}

impl Yard {
    pub async fn new() -> Self {
        let lab = Lab::new().await;
        let home = lab.path("pipeline");
        copy(&example(), &home);
        lab.sql(&read(&home, "schema.sql"));
        for file in ["saga.yaml", "redress.toml"] {
            let text = read(&home, file).replace(HOME, &home.display().to_string());
            fs::write(home.join(file), text).expect("written");
        }
        let config = Config::parse(&read(&home, "redress.toml")).expect("a configuration");
        let builder = lab.builder(lab.url()).lease(LEASE);
        let engine = builder.externals(redress_adapters::external(&config));
        let engine = engine.build().await.expect("an engine");
        let yard = Self { lab, engine, home };
        yard.completes("1.0.0").await;
        assert_eq!(yard.shows(), FIRST);
        yard
    }

    pub fn saga(&self) -> Definition {
        Lab::read(&read(&self.home, "saga.yaml"))
    }

    /// The example under another name, changed.
    pub fn changed(&self, name: &str, change: impl FnOnce(&mut Definition)) -> Definition {
        let mut saga = self.saga();
        saga.saga = name.parse().expect("a name");
        change(&mut saga);
        saga
    }

    pub async fn run(&self, saga: &Definition, version: &str) -> Outcome {
        self.engine.register(saga).await.expect("registered");
        let input = json!({"environment": "staging", "version": version});
        let start = self.engine.start(saga.saga.as_str(), input);
        self.engine.start_and_drive(start).await.expect("driven").1
    }

    pub async fn completes(&self, version: &str) -> RunRow {
        match self.run(&self.saga(), version).await {
            Outcome::Completed(row) => row,
            other => panic!("{other:?}"),
        }
    }

    /// Runs a version that does not complete and needs a person.
    pub async fn held(&self, saga: &Definition, version: &str) -> RunRow {
        match self.run(saga, version).await {
            Outcome::Held(row) => row,
            other => panic!("{other:?}"),
        }
    }

    /// Takes back what still stands of a run.
    pub async fn taken_back(&self, run: Uuid) {
        let plan = self.engine.plan(run, BTreeMap::new(), "enough").await;
        let outcome = self.engine.apply(&plan.expect("planned")).await;
        assert!(
            matches!(outcome, Ok(Outcome::Compensated(_))),
            "{outcome:?}"
        );
    }

    pub async fn rewinds(&self, filter: RewindFilter) -> Vec<RewindLine> {
        self.engine.rewinds(&filter).await.expect("listed")
    }

    pub async fn of_run(&self, run: Uuid) -> Vec<RewindLine> {
        let run = Some(run);
        self.rewinds(RewindFilter {
            run,
            ..RewindFilter::default()
        })
        .await
    }

    pub async fn of_status(&self, status: RewindStatus) -> usize {
        let status = Some(status);
        let filter = RewindFilter {
            status,
            ..RewindFilter::default()
        };
        self.rewinds(filter).await.len()
    }

    /// The program of the environment, as a person calls it.
    pub fn environment(&self, args: &[&str]) -> String {
        let output = Command::new(self.home.join("bin/environment"))
            .args(args)
            .output();
        let output = output.expect("it runs");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// What stands in `staging`: each component's first line.
    pub fn shows(&self) -> String {
        let all = self.environment(&["show", "staging"]);
        let lines = all
            .lines()
            .filter_map(|line| Some(line.split_once(": ")?.1));
        lines.collect::<Vec<_>>().join(", ")
    }

    /// Somebody changes a component past the pipeline.
    pub fn by_hand(&self, component: &str, text: &str) {
        let file = self.home.join("by-hand");
        fs::write(&file, text).expect("written");
        self.environment(&["put", "staging", component, file.to_str().expect("text")]);
    }

    pub fn marker(&self, name: &str) -> PathBuf {
        self.home.join("environments/staging").join(name)
    }

    /// The components of every state that `staging` ever had, in order.
    pub fn history(&self) -> Vec<BTreeMap<String, String>> {
        let folder = self.home.join("environments/staging");
        let mut names: Vec<_> = fs::read_dir(folder.join("history"))
            .expect("a history")
            .collect();
        names.sort_by_key(|entry| entry.as_ref().expect("an entry").path());
        names
            .into_iter()
            .map(|entry| {
                let text = fs::read_to_string(entry.expect("an entry").path()).expect("a state");
                let staged = text.lines().find_map(|line| line.strip_prefix("folder "));
                let staged = folder.join("staged").join(staged.expect("a folder"));
                let components = fs::read_dir(staged)
                    .expect("it is there")
                    .filter_map(|entry| {
                        let entry = entry.expect("an entry");
                        let name = entry.file_name().into_string().expect("text");
                        let text = fs::read_to_string(entry.path()).expect("text");
                        (!name.starts_with('.')).then_some((name, text))
                    });
                components.collect()
            })
            .collect()
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(redress_bin());
        command.args(args).args(["--database", self.lab.url()]);
        command.arg("--state-dir").arg(self.lab.state_dir());
        command.arg("--config").arg(self.home.join("redress.toml"));
        command
            .env_remove("REDRESS_CRASH")
            .env_remove("REDRESS_CRASH_STOP");
        command
    }

    /// The command, with what it printed as JSON.
    pub fn redress(&self, args: &[&str]) -> (Option<i32>, Value) {
        let output = self.command(args).arg("--json").output().expect("it runs");
        let value = serde_json::from_slice(&output.stdout);
        (
            output.status.code(),
            value.unwrap_or_else(|error| panic!("{error}: {output:?}")),
        )
    }
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pipeline")
}

/// Copies a folder with its permission bits.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

pub fn read(home: &Path, file: &str) -> String {
    fs::read_to_string(home.join(file)).expect("a file")
}

pub fn to(phase: &str) -> Rewind {
    Rewind {
        to: phase.parse().expect("a name"),
        from: None,
        then: Then::Stop,
        reason: "it is too slow".to_owned(),
    }
}

pub fn names(line: &RewindLine) -> Vec<&str> {
    line.phases.iter().map(|phase| phase.as_str()).collect()
}

/// What `smoke` does when it fails.
pub fn smoke_fails(saga: &mut Definition, then: Then) {
    let smoke = saga
        .phases
        .iter_mut()
        .find(|phase| phase.name.as_str() == "smoke");
    let phase = "backend".parse().expect("a name");
    smoke.expect("it has one").on_failure = OnFailure::RewindTo { phase, then };
}

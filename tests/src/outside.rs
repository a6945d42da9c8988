//! A depot that knows nothing of the database: an external adapter over a folder, which does and says what a saga tells it.
//!
//! `effects` has a line for each real effect, `calls` one for each call; `done/KEY` and `undone/KEY` are what a probe
//! sees. Orders stand in the phase's `with`: `act`, `probe`, `undo`, `probe_undo`, each a word.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use redress::adapter::{AdapterError, Applied, Finding};
use redress::definition::Phase;
use redress::external::{ActError, ExternalAdapter, ExternalCall, Probe, Undo, WayBack};
use serde_json::{Map, Value, json};

/// The depot.
pub struct Depot(PathBuf);

impl Depot {
    /// A depot in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// What really happened, in order: `act KEY`, `undo KEY`.
    pub fn effects(&self) -> Vec<String> {
        lines(&self.0.join("effects"))
    }

    /// Every call, in order: `prepare KEY`, `act KEY`, `probe KEY`, `guard KEY`, `undo KEY`, `probe_undo KEY`.
    pub fn calls(&self) -> Vec<String> {
        lines(&self.0.join("calls"))
    }

    /// Calls of one kind.
    pub fn count(&self, kind: &str) -> usize {
        let of_kind = |line: &&String| line.split(' ').next() == Some(kind);
        self.calls().iter().filter(of_kind).count()
    }

    /// Makes a probe answer again that was told to be blind, or blinds one that was told `sight`.
    pub fn sight(&self, sees: bool) {
        fs::create_dir_all(&self.0).expect("the depot's folder");
        let path = self.0.join("sees");
        if sees {
            fs::write(path, "").expect("a file in the depot");
        } else {
            let _ = fs::remove_file(path);
        }
    }

    fn note(&self, file: &str, line: &str) {
        fs::create_dir_all(&self.0).expect("the depot's folder");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.0.join(file));
        let mut file = file.expect("a file in the depot");
        file.write_all(format!("{line}\n").as_bytes())
            .expect("the depot can be written");
    }

    fn path(&self, way: &str, key: &str) -> PathBuf {
        self.0.join(way).join(key)
    }

    /// Does one key once, and no key whose undo was done.
    fn effect(&self, way: &str, word: &str, key: &str) {
        let undone = self.path("undone", &format!("{key}.undo"));
        if undone.exists() || self.path(way, key).exists() {
            return;
        }
        fs::create_dir_all(self.0.join(way)).expect("the depot's folder");
        self.note("effects", &format!("{word} {key}"));
        fs::write(self.path(way, key), "").expect("a file in the depot");
    }

    fn seen<T>(&self, order: &str, way: &str, key: &str, outcome: T) -> Probe<T> {
        if order == "blind" && !self.0.join("sees").exists() {
            return Probe::Unknown("the depot does not answer".to_owned());
        }
        if self.path(way, key).exists() {
            Probe::Done(outcome)
        } else {
            Probe::NotDone
        }
    }

    async fn doing<T>(
        &self,
        order: &str,
        way: &str,
        word: &str,
        key: &str,
        outcome: T,
    ) -> Result<T, ActError> {
        let twice = self
            .calls()
            .iter()
            .filter(|call| **call == format!("{word} {key}"))
            .count();
        match order {
            "refuse" => return Err(ActError::refused("the depot says no")),
            "once_again" if twice <= 1 => return Err(ActError::again("not now")),
            "never" => return Err(ActError::again("not now")),
            "silent_once" if twice <= 1 => return Err(ActError::unknown("no answer came")),
            "hang" => tokio::time::sleep(Duration::from_secs(600)).await,
            "slow" => tokio::time::sleep(Duration::from_millis(1_500)).await,
            "panic" => panic!("the depot burns"),
            _ => {}
        }
        self.effect(way, word, key);
        match order {
            "lose" => Err(ActError::unknown("the answer was lost")),
            "linger" => {
                tokio::time::sleep(Duration::from_secs(600)).await;
                Ok(outcome)
            }
            _ => Ok(outcome),
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn order<'p>(phase: &'p Phase, name: &str) -> &'p str {
    phase.with.get(name).and_then(Value::as_str).unwrap_or("do")
}

fn applied(call: &ExternalCall<'_>) -> Applied {
    let slip = json!([{"key": call.act_key, "weight": 1.5}]);
    Applied {
        output: Map::from_iter([("slip".to_owned(), slip)]),
        undo: json!({"shelf": call.act_key}),
        touched: Map::from_iter([("depot".to_owned(), json!(1))]),
    }
}

#[async_trait]
impl ExternalAdapter for Depot {
    fn name(&self) -> &str {
        "depot"
    }

    fn check(&self, _phase: &Phase) -> Vec<Finding> {
        Vec::new()
    }

    fn way_back(&self, phase: &Phase) -> WayBack<'_> {
        match order(phase, "undo") {
            "none" => WayBack::Irreversible,
            "needless" => WayBack::Nothing,
            _ => WayBack::Undo(self),
        }
    }

    async fn prepare(&self, call: &ExternalCall<'_>) -> Result<Value, AdapterError> {
        self.note("calls", &format!("prepare {}", call.key));
        if order(call.phase, "prepare") == "refuse" {
            return Err(AdapterError::Business("no snapshot, no act".to_owned()));
        }
        Ok(json!({"before": call.key, "large": "x".repeat(20_000)}))
    }

    async fn act(&self, call: &ExternalCall<'_>) -> Result<Applied, ActError> {
        self.note("calls", &format!("act {}", call.key));
        assert_eq!(
            call.prepared["before"], call.key,
            "what was prepared is handed in"
        );
        self.doing(
            order(call.phase, "act"),
            "done",
            "act",
            call.key,
            applied(call),
        )
        .await
    }

    async fn probe(&self, call: &ExternalCall<'_>) -> Probe<Applied> {
        self.note("calls", &format!("probe {}", call.key));
        self.seen(order(call.phase, "probe"), "done", call.key, applied(call))
    }
}

#[async_trait]
impl Undo for Depot {
    async fn guard(&self, call: &ExternalCall<'_>) -> Result<(), AdapterError> {
        self.note("calls", &format!("guard {}", call.key));
        match order(call.phase, "guard") {
            "no" => Err(AdapterError::Guard("it was shipped".to_owned())),
            _ => Ok(()),
        }
    }

    async fn undo(&self, call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError> {
        self.note("calls", &format!("undo {}", call.key));
        assert_eq!(
            call.prepared["before"], call.act_key,
            "what was prepared is handed in"
        );
        assert_eq!(
            call.undo["shelf"], call.act_key,
            "what the act kept is handed in"
        );
        let touched = Map::from_iter([("depot".to_owned(), json!(1))]);
        let order = order(call.phase, "undo");
        self.doing(order, "undone", "undo", call.key, touched).await
    }

    async fn probe_undo(&self, call: &ExternalCall<'_>) -> Probe<Map<String, Value>> {
        self.note("calls", &format!("probe_undo {}", call.key));
        let touched = Map::from_iter([("depot".to_owned(), json!(1))]);
        self.seen(order(call.phase, "probe_undo"), "undone", call.key, touched)
    }
}

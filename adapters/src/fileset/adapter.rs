//! The `fileset` adapter: one update of one directory as a phase, with its snapshot, its probe and its way back.
//!
//! | the engine's word | what it does here |
//! |---|---|
//! | `prepare` | judges, takes the snapshot, reads back what the way back needs: no snapshot, no act |
//! | `act` | the switch; on failure every file is what it was, and the error says so |
//! | `probe` | finishes or takes back what a dead process left, then looks up what became of the key |
//! | `undo` | restores from the snapshot, verified by hash; refuses when somebody changed a file since |
//!
//! **Invariant:** files are touched on threads of their own, never on the runtime's.
//!
//! **What can go wrong:** a call is given up by the engine while its thread goes on. The act has a deadline behind
//! which it does not begin, and the probe waits for the directory's lock, so it never answers beside a running act.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use redress::adapter::{AdapterError, Applied, Finding};
use redress::definition::Phase;
use redress::external::{ActError, ExternalAdapter, ExternalCall, Probe, Undo, WayBack};
use redress_ledger::Class;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::config::Config;
use super::error::FilesetError;
use super::journal::Intent;
use super::lock::Place;
use super::node::Node;
use super::path::RelPath;
use super::store::Store;
use super::update::{Order, Prepared, Seen};
use super::values::ValueError;
use super::with::With;
use crate::finding::{NOT_LISTED, finding};

/// The name that saga files use.
pub const NAME: &str = "fileset";

/// Updates directories below listed roots.
#[derive(Clone, Debug)]
pub struct FilesetAdapter {
    config: Arc<Config>,
    /// Opened by the first call that needs it.
    store: Arc<Mutex<Option<Store>>>,
}

/// What stands in an intent: where, and the snapshot.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Laid {
    root: String,
    directory: RelPath,
    snapshot: Prepared,
}

/// What an act keeps for its way back.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Kept {
    root: String,
    directory: RelPath,
    done: Intent,
}

impl FilesetAdapter {
    /// Takes a configuration; its store is opened when it is needed.
    pub fn new(config: Config) -> Self {
        Self {
            config: Arc::new(config),
            store: Arc::default(),
        }
    }

    /// The store; `artefacts` is the process's own folder for artefacts, when it has one.
    ///
    /// # Errors
    /// When the configuration does not say where it is, or its folders cannot be made.
    pub fn store(&self, artefacts: Option<&Path>) -> Result<Store, FilesetError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = store.as_ref() {
            return Ok(store.clone());
        }
        let wait = Duration::from_secs(u64::from(self.config.lock_wait_seconds));
        let opened = Store::open(self.config.store_path(artefacts)?)?.waiting(wait);
        *store = Some(opened.clone());
        Ok(opened)
    }

    /// What it may touch.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn place(&self, root: &str, directory: &RelPath) -> Result<Place, FilesetError> {
        let folder = self.config.roots.get(root);
        let root = folder.ok_or_else(|| FilesetError::NotListed {
            what: "the root",
            name: root.to_owned(),
        })?;
        Ok(Place {
            root: root.clone(),
            directory: directory.clone(),
        })
    }

    /// Puts an order together from the phase and the run's values.
    fn order(&self, call: &ExternalCall<'_>) -> Result<(With, Order), ValueError> {
        let with = With::read(&call.phase.with).map_err(|finding| ValueError::Kind {
            place: finding.path,
            why: finding.message,
        })?;
        let directory = with.directory_of(call.context)?;
        let run = call.context.pointer("/run/id").and_then(Value::as_str);
        let order = Order {
            key: call.key.to_owned(),
            run: run.and_then(|text| text.parse::<Uuid>().ok()),
            place: self.place(with.root.as_str(), &directory)?,
            exclude: with.left_out()?,
            expect: with.expected(call.context)?,
            edits: with.edits(call.context, &self.config)?,
            deadline: None,
        };
        Ok((with, order))
    }

    /// Works on a thread of its own.
    async fn work<T: Send + 'static>(
        &self,
        artefacts: Option<&Path>,
        work: impl FnOnce(&Store) -> Result<T, FilesetError> + Send + 'static,
    ) -> Result<Result<T, FilesetError>, String> {
        let (adapter, artefacts) = (self.clone(), artefacts.map(Path::to_owned));
        let work = move || work(&adapter.store(artefacts.as_deref())?);
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| format!("the work on the files did not end: {error}"))
    }

    async fn seen<T>(
        &self,
        call: &ExternalCall<'_>,
        root: &str,
        directory: &RelPath,
        key: &str,
        outcome: impl FnOnce(Intent) -> T,
    ) -> Probe<T> {
        let place = match self.place(root, directory) {
            Ok(place) => place,
            Err(error) => return Probe::Unknown(told(&error)),
        };
        let key = key.to_owned();
        match self
            .work(call.artefacts, move |store| store.look(&place, &key))
            .await
        {
            Ok(Ok(Seen::Done(intent))) => Probe::Done(outcome(*intent)),
            Ok(Ok(Seen::NotDone)) => Probe::NotDone,
            Ok(Ok(Seen::Unknown(why))) | Err(why) => Probe::Unknown(why),
            Ok(Err(error)) => Probe::Unknown(told(&error)),
        }
    }
}

#[async_trait]
impl ExternalAdapter for FilesetAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        match With::read(&phase.with) {
            Ok(with) => {
                let mut found = with.findings();
                if !self.config.roots.contains_key(with.root.as_str()) {
                    let why = format!("this worker's configuration lists no root {}", with.root);
                    found.push(finding("/root", NOT_LISTED, why));
                }
                found
            }
            Err(finding) => vec![finding],
        }
    }

    fn way_back(&self, _phase: &Phase) -> WayBack<'_> {
        WayBack::Undo(self)
    }

    async fn prepare(&self, call: &ExternalCall<'_>) -> Result<Value, AdapterError> {
        let (with, order) = self.order(call).map_err(refused)?;
        let directory = order.place.directory.clone();
        let prepared = self
            .work(call.artefacts, move |store| store.prepare(&order))
            .await;
        let laid = Laid {
            root: with.root.to_string(),
            directory,
            snapshot: prepared.map_err(AdapterError::Hold)?.map_err(own)?,
        };
        value(&laid).map_err(AdapterError::Hold)
    }

    async fn act(&self, call: &ExternalCall<'_>) -> Result<Applied, ActError> {
        let deadline = Instant::now().checked_add(call.limit);
        let laid: Laid = kept(call.prepared).map_err(not_done)?;
        let (_, mut order) = self.order(call).map_err(|error| not_done(refused(error)))?;
        order.place = self
            .place(&laid.root, &laid.directory)
            .map_err(|error| not_done(own(error)))?;
        order.deadline = deadline;
        let snapshot = laid.snapshot.clone();
        let done = self
            .work(call.artefacts, move |store| store.act(order, &snapshot))
            .await;
        match done {
            Ok(Ok(intent)) => {
                applied(&laid.root, &laid.directory, intent).map_err(ActError::Unknown)
            }
            // What is unfinished is taken up by the probe, which finishes the way back or says that it cannot.
            Ok(Err(
                error @ (FilesetError::NotRestored { .. } | FilesetError::Exchanged { .. }),
            )) => Err(ActError::Unknown(told(&error))),
            Ok(Err(error)) => Err(not_done(own(error))),
            Err(why) => Err(ActError::Unknown(why)),
        }
    }

    async fn probe(&self, call: &ExternalCall<'_>) -> Probe<Applied> {
        let laid: Laid = match kept(call.prepared) {
            Ok(laid) => laid,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        let outcome = |intent| applied(&laid.root, &laid.directory, intent);
        let seen = self.seen(call, &laid.root, &laid.directory, call.act_key, outcome);
        match seen.await {
            Probe::Done(Ok(applied)) => Probe::Done(applied),
            Probe::Done(Err(why)) | Probe::Unknown(why) => Probe::Unknown(why),
            Probe::NotDone => Probe::NotDone,
        }
    }
}

#[async_trait]
impl Undo for FilesetAdapter {
    async fn guard(&self, call: &ExternalCall<'_>) -> Result<(), AdapterError> {
        let kept: Kept = kept(call.undo)?;
        let place = self.place(&kept.root, &kept.directory).map_err(own)?;
        let judged = self.work(call.artefacts, move |store| {
            store.judge_undo(&place, &kept.done)
        });
        match judged.await.map_err(AdapterError::Hold)? {
            Err(error @ FilesetError::Changed { .. }) => Err(AdapterError::Guard(told(&error))),
            judged => judged.map_err(own),
        }
    }

    async fn undo(&self, call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError> {
        let kept: Kept = kept(call.undo).map_err(not_done)?;
        let place = self
            .place(&kept.root, &kept.directory)
            .map_err(|error| not_done(own(error)))?;
        let done = kept.done.clone();
        let undone = self
            .work(call.artefacts, move |store| store.undo(&place, &done))
            .await;
        match undone {
            Ok(Ok(files)) => Ok(touched(&kept.root, &kept.directory, &kept.done, files)),
            Ok(Err(error @ FilesetError::NotRestored { .. })) => {
                Err(ActError::Unknown(told(&error)))
            }
            Ok(Err(error)) => Err(not_done(own(error))),
            Err(why) => Err(ActError::Unknown(why)),
        }
    }

    async fn probe_undo(&self, call: &ExternalCall<'_>) -> Probe<Map<String, Value>> {
        let kept: Kept = match kept(call.undo) {
            Ok(kept) => kept,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        let files = kept.done.changes.len();
        let outcome = |_| touched(&kept.root, &kept.directory, &kept.done, files);
        self.seen(call, &kept.root, &kept.directory, call.key, outcome)
            .await
    }
}

/// An error as the engine and the caller see it, with its own code.
fn own(error: FilesetError) -> AdapterError {
    AdapterError::Coded {
        code: error.code(),
        class: error.class(),
        message: error.to_string(),
    }
}

fn refused(error: ValueError) -> AdapterError {
    match error {
        ValueError::Nothing { .. } => AdapterError::Pointer(error.to_string()),
        ValueError::Kind { .. } => AdapterError::Business(error.to_string()),
        ValueError::Files(error) => own(error),
    }
}

fn not_done(error: AdapterError) -> ActError {
    ActError::NotDone(error)
}

fn told(error: &FilesetError) -> String {
    format!("{}: {error}", error.code())
}

/// Reads back what the log keeps for us.
fn kept<T: for<'de> Deserialize<'de>>(value: &Value) -> Result<T, AdapterError> {
    T::deserialize(value).map_err(|error| AdapterError::Coded {
        code: "RD0980",
        class: Class::Hold,
        message: format!("what the log keeps of the files cannot be read: {error}"),
    })
}

fn value<T: Serialize>(of: &T) -> Result<Value, String> {
    serde_json::to_value(of).map_err(|error| error.to_string())
}

fn applied(root: &str, directory: &RelPath, done: Intent) -> Result<Applied, String> {
    let hash = |node: &Option<Node>| {
        let file = node.as_ref().and_then(Node::file);
        file.map_or(Value::Null, |file| json!(file.sha256.to_string()))
    };
    let files = done.changes.iter().map(|change| {
        json!({
            "path": change.path.to_string(),
            "before": hash(&change.before),
            "sha256": hash(&change.after),
        })
    });
    let output = [
        ("files", Value::Array(files.collect())),
        ("snapshot", json!([{"id": done.snapshot.to_string()}])),
    ];
    let touched = touched(root, directory, &done, done.changes.len());
    Ok(Applied {
        output: named(output),
        touched,
        undo: value(&Kept {
            root: root.to_owned(),
            directory: directory.clone(),
            done,
        })?,
    })
}

fn touched(root: &str, directory: &RelPath, done: &Intent, files: usize) -> Map<String, Value> {
    let of = [
        ("root", json!(root)),
        ("directory", json!(directory.to_string())),
        ("files", json!(files)),
        ("snapshot", json!(done.snapshot.to_string())),
    ];
    named(of)
}

fn named<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    let fields = fields.into_iter();
    fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

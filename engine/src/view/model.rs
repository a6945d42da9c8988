//! What people and programs are shown: plain data with one JSON form.
//!
//! **Invariant:** field names and their order are a contract; a new field goes to the end of its struct.

use redress_ledger::quorum::Quorum;
use redress_ledger::state::State;
use redress_ledger::{Hash, KeyId, Role};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::fingerprint::Fingerprint;
use crate::definition::{Authority, AuthorityNeeded};
use crate::name::Name;
use crate::plan::Action;

/// The version of the JSON forms in here.
pub const SCHEMA: u32 = 1;

/// A run as `show --json` gives it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunView {
    /// The version of this form; 1.
    pub schema: u32,
    /// The run.
    #[schemars(with = "String")]
    pub run: Uuid,
    /// Its saga.
    pub saga: String,
    /// The saga's version.
    pub version: i32,
    /// What it acts on.
    pub subject: Option<String>,
    /// Its state.
    #[schemars(with = "String")]
    pub state: State,
    /// Holds in force that bear on it.
    pub held: Vec<HeldView>,
    /// Its phases, in the definition's order.
    pub phases: Vec<PhaseView>,
    /// The last plan that was made for it.
    pub plan: Option<PlanView>,
    /// Its last record.
    pub head: RecordView,
    /// Why it stopped, unless it completed.
    pub error: Option<RunError>,
    /// Always empty here: a command that could not show a run puts its errors there.
    pub errors: Vec<FaultView>,
    /// Its idempotency key.
    pub key: String,
    /// Who asked for it.
    pub requester: String,
    /// When it was opened, RFC 3339 UTC.
    pub opened_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// The digest of the definition that it is pinned to.
    #[schemars(with = "String")]
    pub definition: Hash,
    /// The phase that runs next, while it runs.
    pub phase: Option<String>,
    /// The state of the switch: `run`, `killed`, `frozen` or `missing`.
    pub switch: String,
    /// What the run waits for at a phase that is not to run yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// The next safe act, when a person must act.
    pub next: Option<Next>,
    /// What a failed or stuck run shares with others that fail alike.
    #[schemars(with = "Option<String>")]
    pub fingerprint: Option<Fingerprint>,
    /// A plan can bring it back.
    #[serde(skip)]
    pub recoverable: bool,
}

/// A hold in force.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct HeldView {
    /// Its id.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// `all`, `saga`, `subject` or `run`.
    pub scope: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub at: String,
    /// By whom.
    pub by: String,
    /// The error's code, or `manual`.
    pub code: String,
    /// The run whose failure set it.
    #[schemars(with = "Option<String>")]
    pub run: Option<Uuid>,
}

/// A phase of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PhaseView {
    /// Its name.
    #[schemars(with = "String")]
    pub name: Name,
    /// `pending`, `committed`, `failed`, `reverted`, `decided`, `discarded` or `standing`.
    pub state: &'static str,
    /// Recorded attempts, the successful one included.
    pub attempts: u32,
    /// Its last record.
    pub record: Option<RecordView>,
    /// Its last failure.
    pub error: Option<FaultView>,
    /// It acts outside the database, and whether it did (or was undone) is not known yet; only then present.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RecordView {
    /// Its place in the run's log.
    pub seq: i64,
    /// Its hash.
    #[schemars(with = "String")]
    pub hash: Hash,
}

/// A code and what it means here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FaultView {
    /// The stable code.
    pub code: String,
    /// In words.
    pub message: String,
}

/// Why a run stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunError {
    /// The stable code.
    pub code: String,
    /// In words.
    pub message: String,
    /// The phase that failed, when one did.
    #[schemars(with = "Option<String>")]
    pub phase: Option<Name>,
}

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// Signatures are missing.
    Made,
    /// Everybody who must sign has signed; nobody needs to for some plans.
    Approved,
    /// It was started and has not ended.
    Running,
    /// It was carried out.
    Applied,
    /// The run has moved on since it was made.
    Stale,
    /// One of its actions is refused, so it cannot be started.
    Refused,
}

/// A plan of a run.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct PlanView {
    /// Its digest: what is signed.
    #[schemars(with = "String")]
    pub digest: Hash,
    /// Where it stands.
    pub state: PlanState,
    /// What it does, in order.
    pub actions: Vec<ActionView>,
    /// The record that it was made on.
    pub basis: RecordView,
    /// Who signed it.
    pub approvals: Vec<ApprovalView>,
    /// Who must sign, over all actions.
    #[schemars(with = "std::collections::BTreeMap<String, u32>")]
    pub quorum: Quorum,
    /// It runs by itself.
    pub automatic: bool,
    /// Whether the approvals were verified against this machine's trust roots; without roots they are shown as the
    /// log has them.
    pub verified: bool,
    /// The phase that a rewind goes back to, and that runs next.
    #[schemars(with = "Option<String>")]
    pub stops_at: Option<Name>,
}

/// One action of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ActionView {
    /// The phase.
    #[schemars(with = "String")]
    pub phase: Name,
    /// What is done about it.
    #[schemars(with = "String")]
    pub action: Action,
    /// The rule that chose it.
    pub why: String,
    /// Who must sign for it.
    #[schemars(with = "AuthorityNeeded")]
    pub authority: Authority,
    /// Why it is refused.
    pub code: Option<&'static str>,
}

/// A signature on a plan.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ApprovalView {
    /// Who signed.
    pub principal: String,
    /// As what.
    #[schemars(with = "String")]
    pub role: Role,
    /// With which key.
    #[schemars(with = "String")]
    pub key: KeyId,
    /// When it was recorded.
    pub at: String,
    /// It counts now: verified, for this very plan, not expired.
    pub counts: bool,
}

/// The next safe act and who can do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Next {
    /// In words.
    pub what: String,
    /// As a command line.
    pub command: String,
    /// Roles; each must act.
    #[schemars(with = "Vec<String>")]
    pub who: Vec<Role>,
}

/// Something that waits for a person.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Attention {
    /// What waits.
    pub kind: AttentionKind,
    /// The run, when it is one or a hold names one.
    #[schemars(with = "Option<String>")]
    pub run: Option<Uuid>,
    /// The run's saga.
    pub saga: Option<String>,
    /// What the run acts on, or what a hold names.
    pub subject: Option<String>,
    /// The run's state; `held`; or the switch's state.
    pub state: String,
    /// Since when, RFC 3339 UTC.
    pub since: String,
    /// Why.
    pub reason: String,
    /// The stable code, `manual` for a hold that a person set, `kill` for the switch.
    pub code: String,
    /// Holds in force that bear on it, or the hold itself.
    #[schemars(with = "Vec<String>")]
    pub holds: Vec<Uuid>,
    /// The next safe act.
    pub next: Next,
    /// What a failed or stuck run shares with others that fail alike.
    #[schemars(with = "Option<String>")]
    pub fingerprint: Option<Fingerprint>,
    /// The phase that failed, when one did.
    #[schemars(with = "Option<String>")]
    pub phase: Option<Name>,
    /// A plan can bring it back, so that many alike can be recovered at once.
    #[serde(skip)]
    pub recoverable: bool,
    /// What `show` says of a run that waits, read in the same moment.
    #[serde(skip)]
    pub view: Option<Box<RunView>>,
}

/// What waits for a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// A run.
    Run,
    /// A hold that no run in this list explains.
    Hold,
    /// The kill switch.
    Switch,
}

/// Which runs to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this saga.
    pub saga: Option<String>,
    /// In this state.
    pub state: Option<State>,
    /// On this subject.
    pub subject: Option<String>,
    /// Among these.
    pub alike: Option<Vec<Uuid>>,
    /// At most so many; [`RUNS_LIMIT_DEFAULT`] if none is given.
    pub limit: Option<u32>,
}

/// How many runs are listed unless the filter says otherwise.
pub const RUNS_LIMIT_DEFAULT: u32 = 100;

/// One line of a list of runs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct RunLine {
    /// The run.
    #[schemars(with = "String")]
    pub run: Uuid,
    /// Its saga.
    pub saga: String,
    /// The saga's version.
    pub version: i32,
    /// What it acts on.
    pub subject: Option<String>,
    /// Its state.
    #[schemars(with = "String")]
    pub state: State,
    /// The phase that runs next, while it runs.
    pub phase: Option<String>,
    /// Whether a hold bears on it.
    pub held: bool,
    /// When it was opened, RFC 3339 UTC.
    pub opened_at: String,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Its idempotency key.
    pub key: String,
    /// How many records it has.
    pub seq: i64,
}

/// One record as a line.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LogLine {
    /// The run; the system log has an id of its own.
    #[schemars(with = "String")]
    pub run: Uuid,
    /// Its place in the run's log.
    pub seq: i64,
    /// What kind of fact it states.
    pub kind: &'static str,
    /// When, RFC 3339 UTC.
    pub at: String,
    /// By whom.
    pub actor: String,
    /// The phase it speaks of.
    pub phase: Option<String>,
    /// Its hash.
    #[schemars(with = "String")]
    pub hash: Hash,
    /// In one line.
    pub summary: String,
    /// The whole record.
    pub record: Value,
}

/// A registered saga.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SagaLine {
    /// Its name.
    pub saga: String,
    /// Its version.
    pub version: i32,
    /// Its digest.
    #[schemars(with = "String")]
    pub digest: Hash,
    /// When it was registered.
    pub registered_at: String,
    /// How many unfinished runs it has.
    pub active: i64,
}

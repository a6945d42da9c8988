//! Every metric, one by one: what it means, its labels, and when somebody should be told.
//!
//! **Invariant:** nothing is measured that does not stand here; `docs/metrics.md` is made from this list.

use super::{Kind, Metric, Source};

/// A constant of a metric and its place in [`ALL`], written once.
macro_rules! metrics {
    ($($(#[$doc:meta])* $name:ident = $metric:expr;)*) => {
        $($(#[$doc])* pub const $name: Metric = $metric;)*
        /// Every metric, in the order in which the page shows them.
        pub const ALL: &[Metric] = &[$($name),*];
    };
}

const fn metric(
    name: &'static str,
    kind: Kind,
    source: Source,
    labels: &'static [(&'static str, &'static str)],
    help: &'static str,
    alert: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        source,
        labels,
        help,
        alert,
    }
}

use Kind::{Counter, Gauge, Histogram};
use Source::{Database, Process};

const SAGA: (&str, &str) = ("saga", "the saga's name; past 200 names `other`");
const PHASE: (&str, &str) = ("phase", "the phase's name; `other` where the saga is");
const CODE: (&str, &str) = ("code", "an error code, as `redress explain` knows it");
const CLASS: (&str, &str) = (
    "class",
    "`retry`, `in_doubt`, `refused`, `business`, `hold`, `kill`",
);

metrics! {
    /// Whether the database answered.
    UP = metric("redress_up", Gauge, Process, &[],
        "1 when the last sample of the database succeeded, 0 when it did not: then the gauges from the database show what was last known.",
        "0 for more than a minute");
    /// Age of what the database said.
    SAMPLE_AGE = metric("redress_sample_age_seconds", Gauge, Process, &[],
        "How old the gauges from the database are.",
        "more than a minute: the figures beside it are old");
    /// Which version runs.
    BUILD = metric("redress_build_info", Gauge, Process, &[("version", "of the engine")],
        "Always 1; the label says which version runs.", "never; join it to others");

    /// Runs by state.
    RUNS = metric("redress_runs", Gauge, Database,
        &[("state", "`running`, `failed`, `compensating`, `stuck`, `completed`, `compensated`, `resolved`")],
        "Runs in each state, counted up to 10000 a state. Archived runs are gone from it.",
        "`stuck` above 0; `failed` above 0 for longer than people need to look");
    /// How long the oldest runnable run has waited.
    RUNS_OVERDUE = metric("redress_runs_overdue_seconds", Gauge, Database, &[],
        "How long the oldest run that nobody drives has been due; held runs count too.",
        "more than a few minutes while nothing is held: there are too few workers, or none that has the adapters");
    /// Runs that wait for signatures.
    RUNS_UNSIGNED = metric("redress_runs_waiting_for_signatures", Gauge, Database, &[],
        "Running runs whose next phase waits for signatures, counted up to 10000.",
        "above 0 for longer than people need to sign");
    /// Holds in force.
    HOLDS = metric("redress_holds", Gauge, Database, &[("scope", "`all`, `saga`, `subject`, `run`")],
        "Holds in force, counted up to 10000 a scope.",
        "`all` or `saga` above 0");
    /// The kill switch.
    KILL_SWITCH = metric("redress_kill_switch", Gauge, Database, &[],
        "0 work goes on, 1 killed, 2 frozen, 3 the switch has no row: nothing goes on.",
        "above 0");
    /// Workers with a lease.
    WORKERS = metric("redress_workers", Gauge, Database, &[("lease", "`good`, `expired`")],
        "Workers and drivers that the database knows. One that ended without leaving stays as `expired`.",
        "`good` at 0");
    /// Executions of runbooks.
    EXECUTIONS = metric("redress_runbook_executions", Gauge, Database, &[("hands", "`held`, `nobody`")],
        "Runbooks that were begun and have not ended, by whether somebody carries them out now.",
        "`nobody` above 0 for some minutes: an execution was left half done, `redress runbook resume`");
    /// Records behind a subscriber.
    NOTIFICATIONS_PENDING = metric("redress_notifications_pending", Gauge, Database,
        &[("notifier", "the name in `redress.toml`")],
        "Records that were committed and that a notifier has not come to yet, counted up to 10000.",
        "it grows for some minutes");
    /// Records without a position.
    UNSEALED_RECORDS = metric("redress_unsealed_records", Gauge, Database, &[],
        "Committed records that have no position in the log yet, counted up to 10000.",
        "it grows while a sealer should run");
    /// Age of the oldest record without a position.
    UNSEALED_SECONDS = metric("redress_unsealed_seconds", Gauge, Database, &[],
        "Age of the oldest committed record that is not sealed: for so long a change of it could not be proven.",
        "more than a minute, where `redress_checkpoint_records` is above 0");
    /// Size of the signed log.
    CHECKPOINT_RECORDS = metric("redress_checkpoint_records", Gauge, Database, &[],
        "Records under the newest signed head; 0 until the ledger is opened.",
        "it falls: the log was forked or the database restored");

    /// Runs that were opened.
    RUNS_STARTED = metric("redress_runs_started_total", Counter, Process, &[SAGA],
        "Runs that this process opened.", "never by itself");
    /// Runs that came to rest.
    RUNS_SETTLED = metric("redress_runs_settled_total", Counter, Process,
        &[SAGA, ("state", "`completed`, `compensated`, `failed`, `stuck`, `resolved`")],
        "Runs that came to rest while this process drove them. One that goes on later counts again.",
        "the share of `failed` and `stuck` rises");
    /// Why drivers let go.
    LET_GO = metric("redress_runs_let_go_total", Counter, Process,
        &[("why", "`settled`, `held`, `fenced`, `stopped`, `waiting`, `lost`, `error`")],
        "Times that this process let go of a run: it came to rest, met a hold or a kill, was fenced (somebody else had taken it over), the worker stopped, it waits (time, condition, signatures), the database was lost, or an error.",
        "`fenced` rises steadily: leases are too short or the machine stalls; `error` rises");
    /// Phase latency.
    PHASE_DURATION = metric("redress_phase_duration_seconds", Histogram, Process,
        &[SAGA, PHASE, ("outcome", "`committed`, `failed`, `held`, `fenced`, `waiting`, `lost`, `error`")],
        "How long an attempt of a phase took, with its COMMIT and the answer to a commit in doubt. Its count is the number of attempts.",
        "the 99th percentile rises");
    /// Failures of phases.
    PHASE_FAILURES = metric("redress_phase_failures_total", Counter, Process,
        &[SAGA, CODE, CLASS, ("next", "`again`, `passed_over`, `compensating`, `held`")],
        "Failed attempts of phases by code, and what followed: another attempt, the next phase (`on_failure: continue`), the way back, or a hold.",
        "`held` rises: each of these needs a person");
    /// Retries.
    RETRIES = metric("redress_retries_total", Counter, Process,
        &[("what", "`phase`, `compensation`, `connection`"), CODE],
        "What was begun anew: a phase after a passing failure, a compensation, or a transaction whose connection broke before COMMIT was sent.",
        "it rises far above the usual");
    /// Commits in doubt.
    IN_DOUBT = metric("redress_commits_in_doubt_total", Counter, Process,
        &[("fate", "`committed`, `not_committed`, `unknown`")],
        "Commits whose answer was lost or was a warning, by what the log said then. `unknown` is looked up again by whoever drives the run next.",
        "`unknown` above 0");
    /// Acts outside in doubt.
    ACTS_IN_DOUBT = metric("redress_acts_in_doubt_total", Counter, Process,
        &[("answer", "`done`, `not_done`, `unknown`")],
        "Acts outside the database whose end was not known, by what the probe said. `unknown` holds the run.",
        "`unknown` above 0");
    /// How long going back took.
    COMPENSATION_DURATION = metric("redress_compensation_duration_seconds", Histogram, Process,
        &[SAGA, ("outcome", "`done`, `refused`, `stale`, `held`, `fenced`, `stuck`, `error`")],
        "How long carrying out a plan took, with its retries. Rewinds are plans too.",
        "any `stuck`");
    /// Actions of plans.
    ACTIONS = metric("redress_compensation_actions_total", Counter, Process,
        &[("action", "`nothing`, `discard`, `soft_revert`, `restore`, `decide`, `hard_delete`")],
        "Actions of the plans that were carried out to their end.",
        "`hard_delete` rises: a sovereign has deleted rows");
    /// Plans that came too late.
    PLANS_STALE = metric("redress_plans_stale_total", Counter, Process, &[],
        "Plans that were refused because their run had moved on.", "never by itself");
    /// Approvals that were missing.
    APPROVALS_MISSING = metric("redress_approvals_missing_total", Counter, Process,
        &[("what", "`plan`, `phase`")],
        "Times that a plan was not carried out, or a phase not begun, for want of signatures.",
        "never by itself; `redress_runs_waiting_for_signatures` says who waits now");
    /// Poison.
    POISON = metric("redress_poison_total", Counter, Process, &[],
        "Runs that were held because they were claimed too often without progress.",
        "above 0: such a run kills its workers");
    /// Claims.
    CLAIMS = metric("redress_claims_total", Counter, Process, &[("kind", "`first`, `again`")],
        "Claims of runs. `again` is a run that was claimed before and has not moved since: the worker before died or lost its lease.",
        "`again` rises: workers die or stall");
    /// Heartbeats.
    HEARTBEATS = metric("redress_heartbeats_total", Counter, Process, &[("outcome", "`ok`, `failed`")],
        "Heartbeats of this process's workers and drivers.", "`failed` rises");
    /// Age of the last heartbeat.
    HEARTBEAT_AGE = metric("redress_heartbeat_age_seconds", Gauge, Process, &[],
        "Time since this process's last heartbeat that succeeded; one is due every third of the lease. Absent while it has no worker.",
        "above the lease: others may take its runs over");
    /// Slots of the worker.
    WORKER_SLOTS = metric("redress_worker_slots", Gauge, Process, &[],
        "Runs that this process's worker drives at once, at most.", "never by itself");
    /// Busy slots.
    WORKER_BUSY = metric("redress_worker_busy_slots", Gauge, Process, &[],
        "Runs that this process's worker drives now.",
        "equal to the slots for long while `redress_runs_overdue_seconds` rises: more workers are needed");
    /// Sessions of the pools.
    POOL_SESSIONS = metric("redress_pool_sessions", Gauge, Process,
        &[("pool", "`work`, `side`"), ("use", "`busy`, `idle`")],
        "Sessions of this process with the database.", "never by itself");
    /// Who waits for a session.
    POOL_WAITERS = metric("redress_pool_waiters", Gauge, Process, &[("pool", "`work`, `side`")],
        "Tasks that wait for a session.", "above 0 for long: the pool is too small or the database stalls");
    /// Alerts that nobody heard.
    ALERTS_FAILED = metric("redress_alerts_failed_total", Counter, Process, &[("sink", "`file`, `command`")],
        "Alerts that a sink did not take; `command` is `--alert-command` or a sink of the embedding.", "above 0: somebody was not told");
    /// Notifications that were not taken.
    NOTIFICATIONS_FAILED = metric("redress_notifications_failed_total", Counter, Process,
        &[("notifier", "the name in `redress.toml`")],
        "Times that a notifier's sink did not take what it was told; it is told again.",
        "it rises steadily");
    /// Batches of the sealer.
    SEAL_DURATION = metric("redress_seal_duration_seconds", Histogram, Process,
        &[("outcome", "`sealed`, `nothing`, `busy`, `failed`")],
        "How long a batch of the sealer took: reading, signing, COMMIT, anchor, files. `busy`: another sealer has the lease.",
        "`failed` rises, or no `sealed` while records wait");
    /// Sealed records.
    SEALED_RECORDS = metric("redress_sealed_records_total", Counter, Process, &[],
        "Records that this process gave a position.", "never by itself");
}

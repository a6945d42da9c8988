//! Decides how a run is undone: one pure function from what stands to the ordered actions.
//!
//! **Invariant:** the plan is a function of its arguments alone, so two planners on one run produce
//! one plan.
//!
//! **Invariant:** actions stand in reverse commit order and cover committed phases without a gap,
//! so what remains after any number of them is a run that got less far. One action may come before
//! them: a phase that failed has rolled back and is never compensated, but an adapter that keeps
//! artefacts may have left one, so the failed attempt of such an adapter is discarded first. And a
//! phase whose act outside the database is in doubt is taken back first: whoever carries the plan out
//! asks whether it was done.
//!
//! **Not here:** whether the state allows a plan (`transition`), whether a guard holds (known only
//! under lock), and whether all phases lie in one database (the executor decides between atomic and
//! stepwise).

mod model;
mod rules;

pub use model::{
    Action, Cause, CauseKind, Committed, History, InDoubt, Plan, PlanError, PlannedAction, Policy,
    RecordRef, RefusalCode, Trigger,
};

use redress_ledger::Hash;
use redress_ledger::quorum::{self, Quorum};

use crate::definition::{Authority, Definition, OnFailure};
use crate::name::Name;

use rules::Rules;

/// Plans the compensation of a run.
pub fn plan(definition: &Definition, history: &History, cause: &Cause, policy: &Policy) -> Plan {
    let rules = Rules::new(definition, history, policy);
    let stops_at = match &cause.kind {
        CauseKind::RewindTo { phase, .. } => Some(phase),
        CauseKind::Failure { .. } | CauseKind::Cancelled {} | CauseKind::Requested {} => None,
    };
    let mut actions = Vec::new();
    actions.extend(stops_at.and_then(|target| rules.refuse_target(target)));
    actions.extend(rules.discard_failed_attempt());
    actions.extend(rules.undo_in_doubt());
    for committed in standing(history, stops_at) {
        actions.push(rules.action(committed));
    }
    let planned: Vec<&Name> = actions.iter().map(|action| &action.phase).collect();
    let stray = rules.stray_overrides(&planned);
    actions.extend(stray);

    // Only a definition that nobody has judged has no digest; nothing may start on it.
    let digest = definition.digest().ok();
    let refused = digest.is_none() || actions.iter().any(|one| one.action == Action::Refuse);
    let quorum = quorum_of(definition, history, cause, &actions);
    let by_itself = quorum::is_open(&quorum) && runs_by_itself(definition, history, cause);
    Plan {
        v: model::PLAN_VERSION,
        run: history.run,
        saga: definition.saga.clone(),
        version: definition.version,
        definition: digest.unwrap_or(Hash::ZERO),
        basis: history.basis,
        cause: cause.clone(),
        actions,
        baseline: match stops_at {
            Some(target) if leaves_some(history, target) => Vec::new(),
            _ => definition
                .baseline()
                .map(|query| query.name.clone())
                .collect(),
        },
        quorum,
        automatic: by_itself && !refused,
        refused,
        stops_at: stops_at.cloned(),
    }
}

/// The committed phases that are not undone yet, last one first, down to the rewind's target.
fn standing<'h>(history: &'h History, stops_at: Option<&Name>) -> Vec<&'h Committed> {
    let from = match stops_at {
        None => 0,
        Some(target) => history
            .committed
            .iter()
            .rposition(|committed| committed.phase == *target)
            // A target that has not committed is refused; nothing else is planned then.
            .unwrap_or(history.committed.len()),
    };
    history.committed[from..]
        .iter()
        .rev()
        .filter(|committed| !history.compensated.contains(&committed.phase))
        .collect()
}

/// Whether a rewind leaves committed phases standing.
fn leaves_some(history: &History, target: &Name) -> bool {
    let before = history
        .committed
        .iter()
        .take_while(|committed| committed.phase != *target);
    before
        .filter(|committed| !history.compensated.contains(&committed.phase))
        .count()
        > 0
}

fn quorum_of(
    definition: &Definition,
    history: &History,
    cause: &Cause,
    actions: &[PlannedAction],
) -> Quorum {
    let mut quorum = Quorum::new();
    let mut need = |authority: &Authority| {
        if let Authority::Quorum(more) = authority {
            quorum = quorum::both(&quorum, more);
        }
    };
    actions.iter().for_each(|action| need(&action.authority));
    // What the file itself says on a failure needs nobody's leave. One that somebody asks for needs
    // what its actions need, as any plan, and what the file lists for `rewind` beside that.
    if matches!(cause.kind, CauseKind::RewindTo { .. })
        && !is_declared_rewind(definition, history, cause)
        && let Some(listed) = definition.authority.get("rewind")
    {
        need(listed);
    }
    quorum
}

fn runs_by_itself(definition: &Definition, history: &History, cause: &Cause) -> bool {
    match &cause.kind {
        CauseKind::Failure { phase, .. } => definition
            .phase(phase.as_str())
            .is_some_and(|phase| phase.on_failure == OnFailure::Compensate),
        CauseKind::Cancelled {} => true,
        CauseKind::Requested {} => false,
        CauseKind::RewindTo { .. } => is_declared_rewind(definition, history, cause),
    }
}

/// Whether the failed phase's own `on_failure` names this rewind.
fn is_declared_rewind(definition: &Definition, history: &History, cause: &Cause) -> bool {
    let CauseKind::RewindTo {
        phase,
        then,
        trigger: Trigger::Automatic,
        ..
    } = &cause.kind
    else {
        return false;
    };
    let failed = history
        .failed
        .as_ref()
        .and_then(|failed| definition.phase(failed.as_str()));
    failed.is_some_and(|failed| match &failed.on_failure {
        OnFailure::RewindTo {
            phase: declared,
            then: after,
        } => declared == phase && after == then,
        OnFailure::Compensate | OnFailure::Hold | OnFailure::Continue => false,
    })
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

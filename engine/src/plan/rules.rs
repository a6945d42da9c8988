//! The rules that choose the action of one phase, in the order in which they are asked.
//!
//! 1. what the definition does not know is refused (`Inconsistent`);
//! 2. an override is taken, or refused with the reason;
//! 3. an adapter that keeps artefacts: `discard`;
//! 4. the declared compensation, with `none` explained;
//! 5. past the pivot nothing that changes rows;
//! 6. no undo data, no revert (`LegacyRecord`).

use redress_ledger::key::Role;
use serde_json::Value;

use crate::definition::{Authority, Compensation, Definition, Phase, left_behind};
use crate::name::Name;

use super::model::{Action, Committed, History, PlannedAction, Policy, RecordRef, RefusalCode};

/// An action and the rule that chose it, or a refusal.
struct Choice {
    action: Action,
    why: String,
    code: Option<RefusalCode>,
}

impl Choice {
    fn act(action: Action, why: impl Into<String>) -> Self {
        Self {
            action,
            why: why.into(),
            code: None,
        }
    }

    fn refuse(code: RefusalCode, why: impl Into<String>) -> Self {
        Self {
            action: Action::Refuse,
            why: why.into(),
            code: Some(code),
        }
    }
}

const NOT_COMMITTED: &str =
    "an action was asked for this phase, but nothing of it has committed that this plan would undo";

/// What all rules read.
pub(super) struct Rules<'p> {
    definition: &'p Definition,
    history: &'p History,
    policy: &'p Policy,
    /// The pivot, once it has committed; a decision about it does not unmake that.
    passed: Option<&'p Name>,
}

impl<'p> Rules<'p> {
    pub(super) fn new(
        definition: &'p Definition,
        history: &'p History,
        policy: &'p Policy,
    ) -> Self {
        let passed = history
            .committed
            .iter()
            .map(|committed| &committed.phase)
            .find(|name| {
                definition
                    .phase(name.as_str())
                    .is_some_and(|phase| phase.pivot)
            });
        Self {
            definition,
            history,
            policy,
            passed,
        }
    }

    /// The action of a committed phase.
    pub(super) fn action(&self, committed: &Committed) -> PlannedAction {
        let choice = match self.definition.phase(committed.phase.as_str()) {
            Some(phase) => self.choose(phase, committed),
            None => Choice::refuse(
                RefusalCode::Inconsistent,
                "the log has a phase that the pinned definition does not have",
            ),
        };
        let record = RecordRef {
            seq: committed.seq,
            hash: committed.hash,
        };
        self.planned(&committed.phase, choice, Some((record, &committed.touched)))
    }

    /// The one action for a phase that did not commit: its attempt may have left an artefact.
    pub(super) fn discard_failed_attempt(&self) -> Option<PlannedAction> {
        let failed = self.history.failed.as_ref()?;
        let phase = self.definition.phase(failed.as_str())?;
        let committed = self
            .history
            .committed
            .iter()
            .any(|one| one.phase == *failed);
        if committed || self.history.compensated.contains(failed) || !self.keeps_artefacts(phase) {
            return None;
        }
        let why =
            "the failed attempt rolled back, but its adapter keeps artefacts and may have left one";
        let choice = match self.policy.overrides.get(failed) {
            None | Some(Action::Discard) => Choice::act(Action::Discard, why),
            Some(_) => Choice::refuse(RefusalCode::Override, NOT_COMMITTED),
        };
        Some(self.planned(failed, choice, None))
    }

    /// The action of a phase whose act outside the database is in doubt: what would be done if it was done.
    pub(super) fn undo_in_doubt(&self) -> Option<PlannedAction> {
        let doubt = self.history.in_doubt.as_ref()?;
        let choice = match self.definition.phase(doubt.phase.as_str()) {
            Some(phase) => {
                let declared = match self.policy.overrides.get(&doubt.phase) {
                    Some(asked) => self.overridden(phase, *asked),
                    None => self.declared(phase),
                };
                match (declared.action, self.passed) {
                    (Action::SoftRevert | Action::Restore, Some(pivot)) => Choice::refuse(
                        RefusalCode::PastPivot,
                        format!(
                            "past the pivot only forward recovery is allowed; the pivot has committed: {pivot}"
                        ),
                    ),
                    (action @ (Action::SoftRevert | Action::Restore), None) => Choice::act(
                        action,
                        "whether this phase acted outside is not known: it is asked, and taken back if it did",
                    ),
                    _ => declared,
                }
            }
            None => Choice::refuse(
                RefusalCode::Inconsistent,
                "the log has a phase that the pinned definition does not have",
            ),
        };
        Some(self.planned(&doubt.phase, choice, Some((doubt.record, &Value::Null))))
    }

    /// Refuses a rewind that has no target or has used it up.
    pub(super) fn refuse_target(&self, target: &Name) -> Option<PlannedAction> {
        let committed = self
            .history
            .committed
            .iter()
            .any(|one| one.phase == *target);
        let used = self
            .history
            .rewinds
            .get(target)
            .copied()
            .unwrap_or_default();
        let allowed = self.definition.max_rewinds;
        let choice = if !committed {
            Choice::refuse(
                RefusalCode::RewindTarget,
                format!(
                    "the phase to rewind to has not committed in this run, or is undone already: {target}"
                ),
            )
        } else if self.history.compensated.contains(target) {
            Choice::refuse(
                RefusalCode::RewindTarget,
                format!("the phase to rewind to is undone already: {target}"),
            )
        } else if used >= allowed {
            Choice::refuse(
                RefusalCode::RewindsUsed,
                format!(
                    "the run has been rewound to {target} {used} times; the saga allows {allowed}"
                ),
            )
        } else {
            return None;
        };
        Some(self.planned(target, choice, None))
    }

    /// An override for a phase that the plan does not touch is a mistake, so it is not passed over.
    pub(super) fn stray_overrides(&self, planned: &[&Name]) -> Vec<PlannedAction> {
        let stray = |name: &&Name| !planned.contains(name);
        self.policy
            .overrides
            .keys()
            .filter(stray)
            .map(|name| {
                self.planned(
                    name,
                    Choice::refuse(RefusalCode::Override, NOT_COMMITTED),
                    None,
                )
            })
            .collect()
    }

    fn choose(&self, phase: &Phase, committed: &Committed) -> Choice {
        let choice = match self.policy.overrides.get(&phase.name) {
            Some(asked) => self.overridden(phase, *asked),
            None => self.declared(phase),
        };
        if !choice.action.touches_rows() {
            return choice;
        }
        if let Some(pivot) = self.passed {
            let why = format!(
                "past the pivot only forward recovery or a decision is allowed; the pivot has committed: {pivot}"
            );
            return Choice::refuse(RefusalCode::PastPivot, why);
        }
        if !committed.has_undo {
            let why = "the record of this phase holds no undo data (LegacyRecord), and a revert never reads back what may have gone";
            return Choice::refuse(RefusalCode::LegacyRecord, why);
        }
        choice
    }

    fn declared(&self, phase: &Phase) -> Choice {
        if self.keeps_artefacts(phase) && phase.compensation != Compensation::Restore {
            let why =
                "its adapter keeps an artefact and no rows; the artefact is collected afterwards";
            return Choice::act(Action::Discard, why);
        }
        match phase.compensation {
            Compensation::None => without_compensation(phase),
            Compensation::SoftRevert => Choice::act(
                Action::SoftRevert,
                "the definition declares soft_revert, and the pivot has not committed",
            ),
            Compensation::Restore => Choice::act(
                Action::Restore,
                "the definition declares restore, and the pivot has not committed",
            ),
            Compensation::Decide => Choice::act(
                Action::Decide,
                "the definition declares decide: rows must not change, so a signed decision is appended",
            ),
            Compensation::HardDelete => Choice::act(
                Action::HardDelete,
                "the definition declares hard_delete, and the pivot has not committed",
            ),
            Compensation::Irreversible => Choice::refuse(
                RefusalCode::Irreversible,
                "the definition says that this phase is irreversible",
            ),
        }
    }

    /// Only what is stricter than the declaration, or appends, may be asked for.
    fn overridden(&self, phase: &Phase, asked: Action) -> Choice {
        let declared = self.declared(phase);
        if declared.action == asked {
            return declared;
        }
        let refuse = |why: &str| Choice::refuse(RefusalCode::Override, why);
        match asked {
            Action::Decide if !phase.writes.is_empty() => Choice::act(
                Action::Decide,
                format!(
                    "asked for instead of what the definition declares ({})",
                    phase.compensation.as_str()
                ),
            ),
            Action::HardDelete if phase.compensation == Compensation::Irreversible => declared,
            Action::HardDelete if !phase.writes.is_empty() => Choice::act(
                Action::HardDelete,
                format!(
                    "asked for instead of what the definition declares ({})",
                    phase.compensation.as_str()
                ),
            ),
            Action::Decide | Action::HardDelete => {
                refuse("the phase changes no rows, so there is nothing to decide or delete")
            }
            Action::Nothing
            | Action::Discard
            | Action::SoftRevert
            | Action::Restore
            | Action::Refuse => refuse(
                "only hard_delete and decide can be asked for instead of what the definition declares",
            ),
        }
    }

    fn keeps_artefacts(&self, phase: &Phase) -> bool {
        self.policy
            .artefact_adapters
            .contains(phase.adapter.as_str())
    }

    fn planned(
        &self,
        phase: &Name,
        choice: Choice,
        record: Option<(RecordRef, &Value)>,
    ) -> PlannedAction {
        let Choice { action, why, code } = choice;
        PlannedAction {
            phase: phase.clone(),
            action,
            why,
            authority: match action {
                // Nobody can authorise a refusal, and nothing needs no leave.
                Action::Nothing | Action::Refuse => Authority::Auto,
                _ => authority(self.definition, action.as_str()),
            },
            touches: record.map_or(Value::Null, |(_, touched)| touched.clone()),
            guard: action.touches_rows(),
            record: record.map(|(record, _)| record),
            code,
        }
    }
}

/// `compensation: none` is sound for a phase that changes nothing, or whose rows all rightly stay.
fn without_compensation(phase: &Phase) -> Choice {
    if phase.writes.is_empty() {
        return Choice::act(Action::Nothing, "the phase changes no rows");
    }
    let left = left_behind(phase);
    if left.is_empty() {
        let why =
            "the definition declares all rows of this phase as residue: a trace that rightly stays";
        return Choice::act(Action::Nothing, why);
    }
    let relations = left.join(", ");
    Choice::refuse(
        RefusalCode::NoWayBack,
        format!("the definition declares no way back for the rows in: {relations}"),
    )
}

/// Who must sign for an action. What the file does not list needs one sovereign; a hard delete
/// needs one whatever the file lists, and a decision needs somebody (P5), also for a definition
/// that was never judged.
pub(super) fn authority(definition: &Definition, action: &str) -> Authority {
    let listed = definition.authority.get(action);
    let unlisted = Authority::unlisted;
    match (action, listed) {
        (_, None) => unlisted(),
        ("hard_delete", Some(Authority::Quorum(quorum)))
            if quorum.contains_key(&Role::Sovereign) =>
        {
            Authority::Quorum(quorum.clone())
        }
        ("hard_delete", Some(_)) | ("decide", Some(Authority::Auto)) => unlisted(),
        (_, Some(listed)) => listed.clone(),
    }
}

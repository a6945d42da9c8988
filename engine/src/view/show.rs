//! One run as a view: its replayed log, its holds, its plan and who signed it.

use std::collections::BTreeMap;

use redress_ledger::decision::{Basis, Expected, Purpose};
use redress_ledger::quorum::{Quorum, Signer, quorum_missing};
use redress_ledger::state::State;
use redress_ledger::{Envelope, Hash, KeyId, Kind, Role};
use serde::Deserialize;
use serde_json::Value;

use super::fingerprint::{Facts, Fingerprint, fingerprint};
use super::next::{Situation, next_act};
use super::reading::{Reading, authority};
use super::{
    ActionView, ApprovalView, FaultView, HeldView, PhaseView, PlanState, PlanView, RecordView,
    RunError, RunView, SCHEMA,
};
use crate::consent::Consents;
use crate::definition::{Definition, Phase};
use crate::error::Error;
use crate::hold::Hold;
use crate::keyring::Trusted;
use crate::log::{LogError, Story};
use crate::plan::Plan;
use crate::planning::StoredPlan;
use crate::run::RunRow;
use crate::schema::Installation;

/// Whether a hold in force stops this run.
pub(super) fn bears(hold: &Hold, row: &RunRow) -> bool {
    match hold.scope.as_str() {
        "saga" => hold.target.as_deref() == Some(row.saga.as_str()),
        "subject" => hold.target.is_some() && hold.target == row.subject,
        "run" => hold.target.as_deref() == Some(row.id.to_string().as_str()),
        // `all`, and whatever is not known: it stops.
        _ => true,
    }
}

impl Reading<'_> {
    /// Builds the view of a run.
    pub(super) async fn view(
        &mut self,
        row: &RunRow,
        story: &Story,
        holds: &[Hold],
    ) -> Result<RunView, Error> {
        let definition = self.definition(row.definition).await?;
        let switch = self.inner.read_switch(self).await?;
        let stored = match row.plan {
            Some(digest) => Some(StoredPlan {
                digest,
                plan: self.inner.plan_by_digest(self, digest).await?,
            }),
            None => None,
        };
        let (plan, missing) = match &stored {
            Some(stored) => {
                let (view, missing) = self.plan_of(row, story, stored).await?;
                (Some(view), missing)
            }
            None => (None, Quorum::new()),
        };
        let recovery = self.recovery(row, story, &definition, stored.as_ref())?;
        let bearing: Vec<&Hold> = holds.iter().filter(|hold| bears(hold, row)).collect();
        let mut released_by = Vec::with_capacity(bearing.len());
        for hold in &bearing {
            released_by.push((*hold, self.release_quorum(hold).await?));
        }
        let phase = row.phase.as_deref().and_then(|name| definition.phase(name));
        let unsigned = self.unsigned(row, story, phase).await?;
        let waits = phase.filter(|_| !unsigned.is_empty());
        let next = next_act(&Situation {
            waits: waits.map(|phase| (&phase.name, &unsigned)),
            run: row.id,
            state: story.state,
            switch: switch.as_ref(),
            holds: &released_by,
            plan: plan.as_ref(),
            missing: &missing,
            in_doubt: story.in_doubt().map(|(phase, _)| phase),
            resolve: &authority(&definition, "resolve"),
        });
        Ok(RunView {
            schema: SCHEMA,
            run: row.id,
            saga: row.saga.clone(),
            version: row.version,
            subject: row.subject.clone(),
            state: story.state,
            held: bearing.into_iter().map(held_view).collect(),
            phases: phases_of(&definition, story),
            plan,
            head: place((row.seq, row.head)),
            error: error_of(story),
            errors: Vec::new(),
            key: row.key.clone(),
            requester: row.requester.clone(),
            opened_at: row.opened_at.clone(),
            ended_at: row.ended_at.clone(),
            definition: row.definition,
            phase: row.phase.clone(),
            switch: switch.map_or_else(|| "missing".to_owned(), |s| s.state),
            waits_for: waits.map(|phase| format!("phase {} waits for signatures", phase.name)),
            next,
            fingerprint: recovery.map(|found| found.0),
            recoverable: recovery.is_some_and(|found| found.1),
        })
    }

    /// The last plan of a run, and which signatures it still lacks.
    async fn plan_of(
        &self,
        row: &RunRow,
        story: &Story,
        stored: &StoredPlan,
    ) -> Result<(PlanView, Quorum), Error> {
        let now = self.inner.now(self).await?;
        let trusted = self.inner.trusted_if_any(self).await?;
        let judge = Judge {
            trusted: trusted.as_deref(),
            installation: &self.inner.installation,
            now: &now,
        };
        plan_view(&judge, row, story, stored.digest, &stored.plan)
    }

    /// Signatures without which the phase that is next does not run.
    async fn unsigned(
        &self,
        row: &RunRow,
        story: &Story,
        phase: Option<&Phase>,
    ) -> Result<Quorum, Error> {
        match phase {
            Some(phase) if story.state == State::Running && !phase.approvals.is_empty() => {
                let now = self.inner.now(self).await?;
                let asked = Consents { row, story, phase };
                Ok(self.inner.consents(self, &asked, &now).await?.1)
            }
            _ => Ok(Quorum::new()),
        }
    }

    /// What a failed or stuck run shares with others that fail alike, and whether a plan can bring it back.
    fn recovery(
        &self,
        row: &RunRow,
        story: &Story,
        definition: &Definition,
        stored: Option<&StoredPlan>,
    ) -> Result<Option<(Fingerprint, bool)>, Error> {
        if !matches!(story.state, State::Failed | State::Stuck) {
            return Ok(None);
        }
        // What was carried out, or what the run has moved on from, says nothing about what is next.
        let standing = stored
            .map(|stored| stored.plan.clone())
            .filter(|plan| (plan.basis.seq, plan.basis.hash) == story.basis);
        let recovery = standing.unwrap_or_else(|| self.inner.plan_unasked(row, story, definition));
        let error = error_of(story);
        let found = fingerprint(&Facts {
            saga: &row.saga,
            definition: row.definition,
            state: story.state,
            phase: error.as_ref().and_then(|error| error.phase.as_ref()),
            code: error.as_ref().map(|error| error.code.as_str()),
            committed: story.committed.iter().map(|one| &one.phase).collect(),
            rewound: story.rewound.as_ref().map(|one| &one.to),
            recovery: &recovery,
        })?;
        let doubt = story.state == State::Failed && story.in_doubt().is_some();
        let ready = !recovery.refused && !doubt && story.rewound.is_none();
        Ok(Some((found, ready)))
    }

    /// Replays a run's log and compares it with the row that was read in the same transaction.
    pub(super) async fn story_of(&self, row: &RunRow) -> Result<Story, Error> {
        let story = self.inner.story(self, row.id).await?;
        if story.head == row.head && story.state == row.state {
            return Ok(story);
        }
        Err(LogError::Disagree {
            logged: format!("{} {}", story.state, story.head),
            stored: format!("{} {}", row.state, row.head),
            run: row.id,
        }
        .into())
    }
}

fn place((seq, hash): (i64, Hash)) -> RecordView {
    RecordView { seq, hash }
}

fn held_view(hold: &Hold) -> HeldView {
    HeldView {
        id: hold.id,
        scope: hold.scope.clone(),
        reason: hold.reason.clone(),
        at: hold.at.clone(),
        by: hold.by.clone(),
        code: hold.code.clone(),
        run: hold.run,
    }
}

fn phases_of(definition: &Definition, story: &Story) -> Vec<PhaseView> {
    let stands = matches!(story.state, State::Stuck | State::Resolved);
    let view = |phase: &Phase| {
        let trace = story.traces.get(&phase.name);
        let state = trace.map_or("pending", |trace| trace.state);
        PhaseView {
            name: phase.name.clone(),
            state: match state {
                // Nobody will go on by himself: what is committed stays.
                "committed" if stands => "standing",
                state => state,
            },
            attempts: trace.map_or(0, |trace| trace.attempts),
            record: trace.map(|trace| place(trace.record)),
            error: trace.and_then(|trace| trace.error.clone()).map(fault),
            in_doubt: story.undos.contains_key(&phase.name)
                || story.intents.get(&phase.name).is_some_and(|i| i.open),
        }
    };
    definition.phases.iter().map(view).collect()
}

fn fault((code, message): (String, String)) -> FaultView {
    FaultView { code, message }
}

/// Why a run stopped, from its log: an attempt that was repeated, a failure that was allowed and one that was
/// resumed are no reason.
pub(super) fn error_of(story: &Story) -> Option<RunError> {
    let mut error = None;
    for entry in &story.entries {
        let body = &entry.record.body;
        let text = |name: &str| {
            let text = body.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let is = |name: &str| body.get(name) == Some(&Value::Bool(true));
        match entry.record.kind {
            Kind::PhaseFailed if is("final") && !is("continue") => {
                error = Some(RunError {
                    code: text("code"),
                    message: text("message"),
                    phase: text("phase").parse().ok(),
                });
            }
            Kind::RunCancelled => {
                error = Some(RunError {
                    code: CANCELLED.to_owned(),
                    message: text("reason"),
                    phase: None,
                });
            }
            Kind::CompensationFailed if body.get("code").is_some() => {
                error = Some(RunError {
                    code: text("code"),
                    message: text("message"),
                    phase: text("phase").parse().ok(),
                });
            }
            Kind::RunResumed => error = None,
            // A rewind that goes on has recovered from it.
            Kind::PlanFinished
                if body.pointer("/rewind/then").and_then(Value::as_str) == Some("resume") =>
            {
                error = None;
            }
            _ => {}
        }
    }
    error.filter(|_| story.state != State::Completed)
}

/// The code of a cancellation, as it stands in the run's row.
const CANCELLED: &str = "RD0217";

/// What approvals are judged against.
pub(super) struct Judge<'a> {
    pub trusted: Option<&'a Trusted>,
    pub installation: &'a Installation,
    pub now: &'a str,
}

/// What the record of an approval says of itself.
#[derive(Deserialize)]
struct Said {
    principal: String,
    role: Role,
    key: KeyId,
}

/// The view of a plan, and which signatures are still missing.
fn plan_view(
    judge: &Judge<'_>,
    row: &RunRow,
    story: &Story,
    digest: Hash,
    plan: &Plan,
) -> Result<(PlanView, Quorum), Error> {
    let (approvals, signers) = approvals_of(judge, row, story, digest, plan)?;
    let missing = still_missing(&plan.quorum, &signers, &plan.cause.requester);
    let actions = plan.actions.iter().map(|action| ActionView {
        phase: action.phase.clone(),
        action: action.action,
        why: action.why.clone(),
        authority: action.authority.clone(),
        code: action.code.map(|code| code.as_str()),
    });
    let view = PlanView {
        digest,
        state: plan_state(story, digest, plan, missing.is_empty()),
        actions: actions.collect(),
        basis: place((plan.basis.seq, plan.basis.hash)),
        approvals,
        quorum: plan.quorum.clone(),
        automatic: plan.automatic,
        stops_at: plan.stops_at.clone(),
        verified: judge.trusted.is_some(),
    };
    Ok((view, missing))
}

fn plan_state(story: &Story, digest: Hash, plan: &Plan, signed: bool) -> PlanState {
    let text = digest.to_string();
    let finished = story.entries.iter().any(|entry| {
        entry.record.kind == Kind::PlanFinished
            && entry.record.body.get("plan").and_then(Value::as_str) == Some(text.as_str())
    });
    let running = story.state == State::Compensating && story.running_plan == Some(digest);
    if running {
        PlanState::Running
    } else if finished {
        PlanState::Applied
    } else if plan.refused {
        PlanState::Refused
    } else if story.basis != (plan.basis.seq, plan.basis.hash) {
        PlanState::Stale
    } else if signed {
        PlanState::Approved
    } else {
        PlanState::Made
    }
}

/// The signatures on a plan that the log has, and the signers who count.
fn approvals_of(
    judge: &Judge<'_>,
    row: &RunRow,
    story: &Story,
    digest: Hash,
    plan: &Plan,
) -> Result<(Vec<ApprovalView>, Vec<Signer>), Error> {
    let text = digest.to_string();
    let mut views = Vec::new();
    let mut signers = Vec::new();
    for entry in &story.entries {
        let record = &entry.record;
        let of_plan = record.body.get("plan").and_then(Value::as_str) == Some(text.as_str());
        if record.kind != Kind::PlanApproved || !of_plan {
            continue;
        }
        let said = Said::deserialize(&record.body).map_err(|_| LogError::Field {
            seq: record.seq,
            field: "principal, role or key",
            run: row.id,
        })?;
        let signer = match judge.trusted {
            Some(trusted) => judged(
                judge,
                trusted,
                row,
                digest,
                plan,
                record.body.get("envelope"),
            ),
            // Without roots the log is taken at its word, and the view says so.
            None => Some(Signer {
                key_id: said.key.clone(),
                principal: said.principal.clone(),
                role: said.role,
            }),
        };
        let signer = signer.filter(|signer| signer.principal != plan.cause.requester);
        views.push(ApprovalView {
            principal: said.principal,
            role: said.role,
            key: said.key,
            at: record.at.clone(),
            counts: signer.is_some(),
        });
        signers.extend(signer);
    }
    Ok((views, signers))
}

/// Whoever signed, when the signature is genuine and meant for this plan now.
fn judged(
    judge: &Judge<'_>,
    trusted: &Trusted,
    row: &RunRow,
    digest: Hash,
    plan: &Plan,
    envelope: Option<&Value>,
) -> Option<Signer> {
    let envelope = Envelope::from_value(envelope?).ok()?;
    let verified = trusted.verify(&envelope).ok()?;
    let installation = judge.installation;
    let mut expected = Expected::new(
        Purpose::PlanApprove,
        &installation.origin,
        installation.generation,
        judge.now,
    );
    expected.run = Some(row.id);
    expected.basis = Some(Basis {
        seq: plan.basis.seq,
        hash: plan.basis.hash,
    });
    expected.plan = Some(digest);
    verified.decision.check(&expected).ok()?;
    verified
        .signers
        .into_iter()
        .find(|signer| signer.principal != plan.cause.requester)
}

/// How many signatures of each role are still missing.
pub(crate) fn still_missing(quorum: &Quorum, signers: &[Signer], requester: &str) -> Quorum {
    let mut left = quorum.clone();
    let mut missing = BTreeMap::new();
    while let Err(short) = quorum_missing(&left, signers, requester) {
        *missing.entry(short.role).or_insert(0) += short.n;
        if let Some(count) = left.get_mut(&short.role) {
            *count = count.saturating_sub(short.n);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use redress_ledger::quorum::Signer;

    use super::*;

    fn signer(name: &str, role: Role) -> Signer {
        let key = redress_ledger::SigningKey::generate(name).expect("randomness");
        Signer {
            key_id: key.id().clone(),
            principal: name.to_owned(),
            role,
        }
    }

    #[test]
    fn what_is_missing_is_named_by_role() {
        let quorum = Quorum::from([(Role::Sovereign, 1), (Role::Reviewer, 2)]);
        let check = |signers: &[Signer], expected: &[(Role, u32)]| {
            let missing = still_missing(&quorum, signers, "rita");
            assert_eq!(missing, expected.iter().copied().collect(), "{signers:?}");
        };
        check(&[], &[(Role::Sovereign, 1), (Role::Reviewer, 2)]);
        check(&[signer("sofia", Role::Sovereign)], &[(Role::Reviewer, 2)]);
        // Whoever asked does not count.
        check(
            &[
                signer("rita", Role::Reviewer),
                signer("rene", Role::Reviewer),
            ],
            &[(Role::Sovereign, 1), (Role::Reviewer, 1)],
        );
    }
}

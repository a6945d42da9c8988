//! The way back from one point: planned as for a real failure, carried out, compared, and undone itself.

use redress_ledger::decision::{Basis, Purpose};
use redress_ledger::key::Role;
use redress_ledger::quorum::Signer;
use redress_ledger::{SigningKey, sign};

use super::model::{Difference, Planned, Point, Verdict, What};
use super::stage::{REHEARSAL, Stage, is_surroundings, written_by};
use crate::action::compensation_context;
use crate::adapter::AdapterError;
use crate::apply::mandate_of;
use crate::approve::Approval;
use crate::compensate::Unwind;
use crate::definition::Phase;
use crate::error::Error;
use crate::name::Name;
use crate::plan::{Action, Cause, CauseKind, Plan, RefusalCode};
use crate::planning::StoredPlan;

impl Stage<'_> {
    /// The way back from here, compared with what was, and undone itself.
    pub async fn back(&mut self, fails_at: Option<&Phase>) -> Result<Point, Error> {
        let committed: Vec<Name> = self
            .live
            .story
            .committed
            .iter()
            .map(|c| c.phase.clone())
            .collect();
        let plan = self.plan(fails_at);
        let mut point = Point {
            committed,
            fails_at: fails_at.map(|p| p.name.clone()),
            actions: plan
                .actions
                .iter()
                .map(|a| Planned {
                    phase: a.phase.clone(),
                    action: a.action,
                })
                .collect(),
            holds: true,
            verdict: Verdict::Holds,
            findings: Vec::new(),
            residue: Vec::new(),
            notes: self.shut.clone(),
        };
        if plan.refused {
            refused(&plan, &mut point);
            return Ok(point);
        }
        self.note_locks().await?;
        self.session.batch_execute("savepoint back").await?;
        let compared = self.back_and_compare(&plan, &mut point).await;
        self.session
            .batch_execute("rollback to savepoint back")
            .await?;
        compared?;
        if !point.findings.is_empty() {
            point.verdict = Verdict::Broken;
        }
        Ok(point)
    }

    fn plan(&self, fails_at: Option<&Phase>) -> Plan {
        let kind = match fails_at {
            Some(phase) => CauseKind::Failure {
                phase: phase.name.clone(),
                code: "RD0303".to_owned(),
                message: "rehearsed".to_owned(),
            },
            None => CauseKind::Requested {},
        };
        let cause = Cause {
            kind,
            reason: "a rehearsal; nothing of it stands".to_owned(),
            requester: self.inner.actor.clone(),
        };
        let basis = Basis {
            seq: self.live.row.basis.0,
            hash: self.live.row.basis.1,
        };
        let failed = fails_at.map(|phase| &phase.name);
        self.inner
            .plan_for(&self.live, basis, &cause, &self.inner.policy(), failed)
    }

    async fn back_and_compare(&mut self, plan: &Plan, point: &mut Point) -> Result<(), Error> {
        let failed = self.unwind(plan, point).await?;
        self.note_locks().await?;
        let aborted = failed.as_ref().is_some_and(|f| f.aborted);
        if aborted {
            // Nothing can be read any more in here; the error says what was wrong.
            return Ok(());
        }
        // An action that failed may have left its phase's role.
        self.inner.set_role(self.session, Some("none")).await?;
        let told = point.findings.len();
        self.compare(plan, point).await?;
        self.compare_baseline(plan, point).await?;
        if let Some(failed) = failed {
            // What stands is what the broken way back would have left: only that of the phase that broke it is told.
            let of_it = |finding: &Difference| {
                let relation = finding.relation.as_ref();
                relation.is_some_and(|r| failed.writes.contains(r))
            };
            let later = point.findings.split_off(told);
            point.findings.extend(later.into_iter().filter(of_it));
        }
        Ok(())
    }

    /// Carries out the plan's actions; the first that fails is a finding and the end.
    async fn unwind(&mut self, plan: &Plan, point: &mut Point) -> Result<Option<Broke>, Error> {
        let digest = plan.digest()?;
        let stored = StoredPlan {
            digest,
            plan: plan.clone(),
        };
        let unwind = Unwind {
            plan,
            digest,
            mandate: mandate_of(&[self.approval(&stored)?], None, Vec::new()),
            demand: None,
        };
        let context = compensation_context(&self.live, &unwind);
        for action in &plan.actions {
            let acted = self
                .inner
                .act(self.session, &self.live, action, &context, &unwind)
                .await;
            let Err(error) = acted else { continue };
            if is_surroundings(&error) {
                return Err(error);
            }
            let phase = self.live.definition().phase(action.phase.as_str());
            let writes = phase.map(|p| p.writes.clone()).unwrap_or_default();
            point.findings.push(Difference {
                what: match &error {
                    Error::GuardRefused { .. } => What::Guard,
                    Error::Adapter(AdapterError::Guard(_)) => What::Guard,
                    Error::Adapter(AdapterError::Verify(_)) => What::Verify,
                    _ => What::Revert,
                },
                phase: Some(action.phase.clone()),
                relation: phase.and_then(written_by),
                difference: error.to_string(),
                code: Some(error.code().to_owned()),
                row: None,
            });
            return Ok(Some(Broke {
                writes,
                aborted: error.sqlstate().is_some(),
            }));
        }
        self.cover(point).await
    }

    /// What the way back wrote must be declared, and what it left must be allowed.
    async fn cover(&self, point: &mut Point) -> Result<Option<Broke>, Error> {
        let beyond = self
            .inner
            .written_beyond(self.session, &self.declared())
            .await;
        match beyond {
            Ok(beyond) if beyond.is_empty() => Ok(None),
            Ok(beyond) => {
                point.findings.push(Difference {
                    what: What::Coverage,
                    phase: self.newest(),
                    relation: Some(beyond.join(", ")),
                    difference: "the way back wrote it, and no phase declares it in `writes`"
                        .to_owned(),
                    code: Some("RD0302".to_owned()),
                    row: None,
                });
                Ok(None)
            }
            Err(error) if is_surroundings(&error) => Err(error),
            // A deferred constraint says no to what the way back left.
            Err(error) => {
                point.findings.push(Difference {
                    what: What::Revert,
                    phase: self.newest(),
                    relation: None,
                    difference: error.to_string(),
                    code: Some(error.code().to_owned()),
                    row: None,
                });
                Ok(Some(Broke {
                    writes: Vec::new(),
                    aborted: true,
                }))
            }
        }
    }

    /// A decision for statements that need one, signed by a key that nobody has and nobody keeps.
    fn approval(&self, stored: &StoredPlan) -> Result<Approval, Error> {
        let key =
            SigningKey::generate(REHEARSAL).map_err(|error| Error::Input(error.to_string()))?;
        let requester = &stored.plan.cause.requester;
        let mut decision =
            self.inner
                .decision(Purpose::PlanApprove, REHEARSAL, requester, &self.at.at)?;
        decision.run = Some(stored.plan.run);
        decision.basis = Some(stored.plan.basis);
        decision.plan = Some(stored.digest);
        let envelope = sign(&decision, &key)?;
        Ok(Approval {
            signer: Signer {
                key_id: key.id().clone(),
                principal: REHEARSAL.to_owned(),
                role: Role::Sovereign,
            },
            decision,
            envelope,
        })
    }
}

/// An action that failed.
struct Broke {
    writes: Vec<String>,
    /// The server ended the transaction's work: nothing can be read until it is rolled back to a savepoint.
    aborted: bool,
}

fn refused(plan: &Plan, point: &mut Point) {
    let refusals = plan.actions.iter().filter(|a| a.action == Action::Refuse);
    let declared = |code: Option<RefusalCode>| {
        matches!(
            code,
            Some(RefusalCode::Irreversible | RefusalCode::PastPivot)
        )
    };
    point.verdict = Verdict::ForwardOnly;
    for action in refusals {
        if declared(action.code) {
            point
                .notes
                .push(format!("{}: {}", action.phase, action.why));
            continue;
        }
        point.verdict = Verdict::Broken;
        point.findings.push(Difference {
            what: What::Plan,
            phase: Some(action.phase.clone()),
            relation: None,
            difference: action.why.clone(),
            code: action.code.map(|code| code.as_str().to_owned()),
            row: None,
        });
    }
}

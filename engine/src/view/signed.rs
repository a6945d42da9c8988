//! Where a plan stands and who signed it, as its run's log says.

use std::collections::BTreeMap;

use redress_ledger::decision::{Basis, Expected, Purpose};
use redress_ledger::quorum::{Quorum, Signer, quorum_missing};
use redress_ledger::state::State;
use redress_ledger::{Envelope, Hash, KeyId, Kind, Role};
use serde::Deserialize;
use serde_json::Value;

use super::{ActionView, ApprovalView, PlanState, PlanView, RecordView};
use crate::error::Error;
use crate::keyring::Trusted;
use crate::log::LogError;
use crate::plan::Plan;
use crate::run::RunRow;
use crate::schema::Installation;
use crate::story::Story;

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
pub(super) fn plan_view(
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
        basis: RecordView {
            seq: plan.basis.seq,
            hash: plan.basis.hash,
        },
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

//! What brings a failed run back: the plan that stands or would be made, its fingerprint, and which signatures it lacks.
//!
//! **Invariant:** what is said here of a run in `status` and what bulk recovery does with it come from one function.

use redress_ledger::quorum::{Quorum, Signer};
use redress_ledger::state::State;

use super::fingerprint::{Facts, Fingerprint, fingerprint};
use super::show::error_of;
use super::signed::still_missing;
use crate::approve::Judged;
use crate::db::Session;
use crate::definition::Definition;
use crate::engine::Inner;
use crate::error::Error;
use crate::planning::StoredPlan;
use crate::run::{Live, RunRow};
use crate::story::Story;

/// Why a plan is made that nobody gave a reason for.
const REASON: &str = "asked for by an operator";

impl Inner {
    /// What a failed or stuck run shares with others that fail alike, and whether a plan can bring it back.
    pub(crate) fn recovery(
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
        let recovery =
            standing.unwrap_or_else(|| self.plan_unasked(row, story, definition, REASON));
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

    /// The same for a run that is at hand, with the plan that stands.
    pub(crate) async fn recovery_of(
        &self,
        session: &Session,
        live: &Live,
    ) -> Result<Option<Recovery>, Error> {
        let last = match live.row.plan {
            Some(digest) => Some(StoredPlan {
                digest,
                plan: self.plan_by_digest(session, digest).await?,
            }),
            None => None,
        };
        let found = self.recovery(&live.row, &live.story, live.definition(), last.as_ref())?;
        let stands =
            |last: &StoredPlan| (last.plan.basis.seq, last.plan.basis.hash) == live.story.basis;
        Ok(found.map(|(fingerprint, ready)| Recovery {
            fingerprint,
            ready,
            standing: last.filter(stands),
        }))
    }

    /// The plan that stands, or the one that is made now because none does.
    pub(crate) async fn plan_at_hand(
        &self,
        session: &Session,
        live: &Live,
        standing: Option<StoredPlan>,
    ) -> Result<StoredPlan, Error> {
        match standing {
            Some(stored) => Ok(stored),
            None => {
                let plan = self.plan_unasked(&live.row, &live.story, live.definition(), REASON);
                self.store_plan(session, live, plan).await
            }
        }
    }

    /// Which signatures a plan lacks now, and whose it has.
    pub(crate) async fn lacks(
        &self,
        session: &Session,
        live: &Live,
        stored: &StoredPlan,
    ) -> Result<(Quorum, Vec<Signer>), Error> {
        let now = self.now(session).await?;
        let approvals = self
            .valid_approvals(session, live, stored, &now, Judged::Now)
            .await?;
        let signers: Vec<Signer> = approvals.into_iter().map(|one| one.signer).collect();
        let requester = &stored.plan.cause.requester;
        let missing = still_missing(&stored.plan.quorum, &signers, requester);
        Ok((missing, signers))
    }
}

/// How a run that is at hand is brought back.
pub(crate) struct Recovery {
    pub fingerprint: Fingerprint,
    /// A plan can bring it back.
    pub ready: bool,
    /// The plan that stands.
    pub standing: Option<StoredPlan>,
}

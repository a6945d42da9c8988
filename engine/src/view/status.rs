//! What waits for a person, oldest first.

use std::collections::BTreeSet;

use redress_ledger::state::State;
use redress_sql as sql;
use uuid::Uuid;

use super::next::{release_hold, release_kill};
use super::reading::Reading;
use super::show::{bears, error_of};
use super::{Attention, AttentionKind, Next, RunView};
use crate::error::Error;
use crate::hold::Hold;
use crate::run::RunRow;
use crate::story::Story;

impl Reading<'_> {
    /// Runs, switch and holds that wait for a person.
    pub(super) async fn attention(&mut self) -> Result<Vec<Attention>, Error> {
        let holds = self.holds().await?;
        let mut waiting = Vec::new();
        let mut explained = BTreeSet::new();
        for row in &self.query(sql::RUNS_NEEDING_A_PERSON, &[]).await? {
            let row = RunRow::read(row)?;
            // A run that only waits behind somebody else's hold is not what a person must look at.
            let stopped = matches!(row.state, State::Failed | State::Stuck);
            let story = self.story_of(&row).await?;
            let view = self.view(&row, &story, &holds).await?;
            let waits = view.waits_for.is_some();
            if !stopped && !waits && !holds.iter().any(|hold| hold.run == Some(row.id)) {
                continue;
            }
            explained.insert(row.id);
            waiting.extend(run_attention(&row, &story, view, &holds));
        }
        let switch = self.inner.read_switch(self).await?;
        if let Some(next) = release_kill(switch.as_ref()) {
            waiting.push(Attention {
                kind: AttentionKind::Switch,
                run: None,
                saga: None,
                subject: None,
                state: switch
                    .as_ref()
                    .map_or_else(|| "missing".to_owned(), |s| s.state.clone()),
                since: switch.as_ref().map_or_else(String::new, |s| s.at.clone()),
                reason: switch.map_or_else(String::new, |s| s.reason),
                code: "kill".to_owned(),
                holds: Vec::new(),
                next,
                fingerprint: None,
                phase: None,
                recoverable: false,
                view: None,
            });
        }
        for hold in &holds {
            if hold.run.is_some_and(|run| explained.contains(&run)) {
                continue;
            }
            let quorum = self.release_quorum(hold).await?;
            waiting.push(hold_attention(hold, release_hold(hold, &quorum)));
        }
        waiting.sort_by(|a, b| a.since.cmp(&b.since));
        Ok(waiting)
    }
}

fn run_attention(row: &RunRow, story: &Story, view: RunView, holds: &[Hold]) -> Option<Attention> {
    let bearing: Vec<&Hold> = holds.iter().filter(|hold| bears(hold, row)).collect();
    let own = bearing.iter().find(|hold| hold.run == Some(row.id));
    let error = error_of(story);
    let stopped = matches!(row.state, State::Failed | State::Stuck);
    let since = if stopped {
        moved_at(story)
    } else {
        own.map(|hold| hold.at.clone())
    };
    let phase = error.as_ref().and_then(|error| error.phase.clone());
    let (code, reason) = match (own, error) {
        (Some(hold), _) if !stopped => (hold.code.clone(), hold.reason.clone()),
        (_, Some(error)) => (error.code, error.message),
        (Some(hold), None) => (hold.code.clone(), hold.reason.clone()),
        (None, None) => (String::new(), view.waits_for.clone().unwrap_or_default()),
    };
    Some(Attention {
        kind: AttentionKind::Run,
        run: Some(row.id),
        saga: Some(row.saga.clone()),
        subject: row.subject.clone(),
        state: row.state.as_str().to_owned(),
        since: since.unwrap_or_else(|| row.opened_at.clone()),
        reason,
        code,
        holds: bearing.iter().map(|hold| hold.id).collect::<Vec<Uuid>>(),
        next: view.next.clone()?,
        fingerprint: view.fingerprint,
        phase: phase.filter(|_| stopped),
        recoverable: view.recoverable,
        view: Some(Box::new(view)),
    })
}

/// When the run came into its state.
fn moved_at(story: &Story) -> Option<String> {
    let moved = story.entries.iter().rev().find(|entry| {
        let moved = entry.record.body.get("transition");
        moved.is_some_and(|moved| moved.get("from") != moved.get("to"))
    });
    moved.map(|entry| entry.record.at.clone())
}

fn hold_attention(hold: &Hold, next: Next) -> Attention {
    Attention {
        kind: AttentionKind::Hold,
        run: hold.run,
        saga: (hold.scope == "saga")
            .then(|| hold.target.clone())
            .flatten(),
        subject: (hold.scope == "subject")
            .then(|| hold.target.clone())
            .flatten(),
        state: "held".to_owned(),
        since: hold.at.clone(),
        reason: hold.reason.clone(),
        code: hold.code.clone(),
        holds: vec![hold.id],
        next,
        fingerprint: None,
        phase: None,
        recoverable: false,
        view: None,
    }
}

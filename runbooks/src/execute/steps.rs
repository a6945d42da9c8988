//! What each kind of step does, and how it is told that it is done already.
//!
//! **Invariant:** whatever commits on its own (a plan, a hold, a release) is looked for before it is done: an execution
//! that died behind the act and before its record goes on with the record.

use std::time::Duration;

use redress::ask::{Answer, Demand, Question, Wanted};
use redress::definition::{Compensation, HoldScope, Phase};
use redress::step::Hand;
use redress::view::{PlanState, RunView};
use redress::{CallOut, Error, Outcome, Released, StoredPlan};
use redress_ledger::quorum::quorum_missing;
use redress_ledger::state::State;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::apply::Execution;
use super::{ExecuteError, context, plan};
use crate::model::{Call, Hold, Manual, Release, Step, Wait};

/// How often a wait looks.
const POLL: Duration = Duration::from_millis(500);
/// The most bytes that a snapshot or a call may leave in its record.
const KEPT_BYTES_MAX: usize = 16 * 1024;

impl Execution<'_> {
    /// Carries out the run's plan of this step, if what was checked still holds.
    pub(super) async fn carry_out_plan(
        &self,
        step: &Step,
    ) -> Result<Map<String, Value>, ExecuteError> {
        let engine = self.operator.engine;
        let run = self.run(step)?;
        let view = engine.show(run).await?;
        let Some(digest) = self.document.plans.get(&step.id).copied() else {
            // A rewind that had nothing to do when it was planned.
            return Ok(outcome_of(&view, None));
        };
        let stands = view.plan.as_ref().filter(|plan| plan.digest == digest);
        if stands.is_some_and(|plan| plan.state == PlanState::Applied) {
            return Ok(outcome_of(&view, Some(digest.to_string())));
        }
        let stored = match &step.rewind {
            Some(back) => self.planned_rewind(step, back, digest).await?,
            None => engine.find_plan(&digest.to_string()).await?,
        };
        let begun = view.state == State::Compensating;
        if !begun {
            self.sign_plan(&stored).await?;
        }
        let demand = self.demand(step, &[])?;
        let demand = (!begun).then_some(&demand);
        match engine.apply_where(&stored, demand).await? {
            Outcome::Stuck(_) => Err(Error::Stuck {
                run,
                why: "the plan could not finish".to_owned(),
                standing: "see `redress show RUN`".to_owned(),
            }
            .into()),
            _ => Ok(outcome_of(
                &engine.show(run).await?,
                Some(digest.to_string()),
            )),
        }
    }

    async fn planned_rewind(
        &self,
        step: &Step,
        back: &crate::model::Back,
        digest: redress_ledger::Hash,
    ) -> Result<StoredPlan, ExecuteError> {
        let engine = self.operator.engine;
        if let Ok(stored) = engine.find_plan(&digest.to_string()).await {
            return Ok(stored);
        }
        let asked = plan::rewind(back, &self.document.reason, &self.context, step.id.as_str())?;
        let stored = engine.make_rewind(self.run(step)?, &asked).await?;
        if stored.digest == digest {
            return Ok(stored);
        }
        Err(ExecuteError::Stale(
            "the rewind would be another one now".to_owned(),
        ))
    }

    /// Signs the run's plan with the operator's own key, if a signature of theirs is missing and counts.
    async fn sign_plan(&self, stored: &StoredPlan) -> Result<(), ExecuteError> {
        let engine = self.operator.engine;
        let missing = async || -> Result<Option<String>, ExecuteError> {
            let approvals = engine.approvals(stored).await?;
            let signers: Vec<_> = approvals.into_iter().map(|one| one.signer).collect();
            let requester = &stored.plan.cause.requester;
            let missing = quorum_missing(&stored.plan.quorum, &signers, requester).err();
            Ok(missing.map(|missing| missing.to_string()))
        };
        if stored.plan.quorum.is_empty() || missing().await?.is_none() {
            return Ok(());
        }
        match engine
            .approve(stored, self.operator.key, &self.document.reason)
            .await
        {
            Ok(_) | Err(Error::ApprovalsMissing(_)) => {}
            Err(error) => return Err(error.into()),
        }
        match missing().await? {
            None => Ok(()),
            Some(missing) => Err(Error::ApprovalsMissing(format!(
                "{missing}; they sign the run's plan with `redress approve {}`, plan {}",
                &stored.digest.to_string()[..12],
                stored.digest
            ))
            .into()),
        }
    }

    /// What has to hold in the transaction that acts.
    pub(super) fn demand(
        &self,
        step: &Step,
        locks: &[crate::model::Statement],
    ) -> Result<Demand, ExecuteError> {
        let checks = self.checks_of(step);
        let locks = locks
            .iter()
            .map(|lock| {
                let params = context::resolve(&lock.params, &self.context, step.id.as_str())?;
                Ok((lock.sql.clone(), params))
            })
            .collect::<Result<_, ExecuteError>>()?;
        Ok(Demand {
            locks,
            asking: self.asking.clone(),
            questions: plan::questions(&checks, &self.context)?,
        })
    }

    pub(super) async fn hold(
        &self,
        step: &Step,
        hold: &Hold,
    ) -> Result<Map<String, Value>, ExecuteError> {
        let engine = self.operator.engine;
        let (scope, target) = match hold.scope {
            HoldScope::All => (HoldScope::All, None),
            HoldScope::Run => (HoldScope::Run, Some(self.run(step)?.to_string())),
            other => {
                let view = engine.show(self.run(step)?).await?;
                let target = match other {
                    HoldScope::Saga => Some(view.saga),
                    _ => view.subject,
                };
                let target = target.ok_or_else(|| self.cannot(step, "the run has no subject"))?;
                (other, Some(target))
            }
        };
        // The words tell it again from any other hold.
        let reason = format!(
            "{} (runbook {}, execution {}, step {})",
            self.document.reason, self.document.runbook.runbook, self.document.execution, step.id
        );
        let stands = engine
            .holds()
            .await?
            .into_iter()
            .find(|one| one.reason == reason);
        let hold = match stands {
            Some(hold) => hold,
            None => {
                engine
                    .hold(scope, target.as_deref(), &reason, false)
                    .await?
            }
        };
        Ok(outputs(
            json!([{"hold": hold.id.to_string(), "scope": hold.scope}]),
        ))
    }

    pub(super) async fn release(
        &self,
        step: &Step,
        release: &Release,
    ) -> Result<Map<String, Value>, ExecuteError> {
        let engine = self.operator.engine;
        let mut wanted: Vec<Uuid> = Vec::new();
        match release.holds.as_deref() {
            None => {}
            Some(word @ ("own" | "run")) => {
                let run = self.run(step)?;
                let held = engine.show(run).await?.held;
                let meant = held
                    .into_iter()
                    .filter(|hold| hold.run == Some(run) || (word == "run" && hold.scope == "run"));
                wanted.extend(meant.map(|hold| hold.id));
            }
            Some(pointer) => {
                let found = self.context.pointer(pointer).and_then(Value::as_str);
                let id = found.and_then(|text| text.parse().ok());
                let id = id.ok_or_else(|| self.cannot(step, "it leads to no hold's id"))?;
                if engine.holds().await?.iter().any(|hold| hold.id == id) {
                    wanted.push(id);
                }
            }
        }
        let mut released = Vec::new();
        for hold in wanted {
            let done = engine
                .release_hold(hold, self.operator.key, &self.document.reason)
                .await?;
            signed(done, &format!("redress release {hold}"))?;
            released.push(json!(hold.to_string()));
        }
        if release.switch {
            let done = engine
                .release_kill(self.operator.key, &self.document.reason)
                .await?;
            signed(done, "redress release kill")?;
            released.push(json!("kill"));
        }
        Ok(Map::from_iter([(
            "released".to_owned(),
            Value::Array(released),
        )]))
    }

    pub(super) async fn resume(&self, step: &Step) -> Result<Map<String, Value>, ExecuteError> {
        let engine = self.operator.engine;
        let run = self.run(step)?;
        let view = engine.show(run).await?;
        if view.state == State::Failed {
            engine.resume(run).await?;
        } else if !self.happened(run, "run.resumed").await? {
            return Err(self.cannot(
                step,
                &format!("the run is {}, only a failed one is resumed", view.state),
            ));
        }
        Ok(outcome_of(&engine.show(run).await?, None))
    }

    pub(super) async fn resolve(&self, step: &Step) -> Result<Map<String, Value>, ExecuteError> {
        let engine = self.operator.engine;
        let run = self.run(step)?;
        if engine.show(run).await?.state != State::Resolved {
            engine
                .resolve(run, self.operator.key, &self.document.reason)
                .await?;
        }
        Ok(outcome_of(&engine.show(run).await?, None))
    }

    /// Whether the run's log has such a record behind this execution's plan.
    async fn happened(&self, run: Uuid, kind: &str) -> Result<bool, ExecuteError> {
        let lines = self.operator.engine.log(run, 0).await?;
        let id = self.document.execution.to_string();
        let planned = lines.iter().find(|line| {
            line.kind == "runbook.step"
                && line
                    .record
                    .pointer("/body/execution")
                    .and_then(Value::as_str)
                    == Some(id.as_str())
        });
        let since = planned.map_or(i64::MAX, |line| line.seq);
        Ok(lines
            .iter()
            .any(|line| line.seq > since && line.kind == kind))
    }

    pub(super) async fn snapshot(
        &self,
        step: &Step,
        snapshot: &crate::model::Snapshot,
    ) -> Result<Map<String, Value>, ExecuteError> {
        let questions = plan::readings(&snapshot.queries, &self.context)?;
        let answers = self.operator.engine.ask(&self.asking, &questions).await?;
        let mut kept = Map::new();
        for (question, answer) in questions.iter().zip(answers) {
            let Answer::Yes(rows) = answer else {
                let why = format!("{}: {}", question.name, answer.found());
                return Err(self.cannot(step, &why));
            };
            kept.insert(question.name.clone(), Value::Array(rows));
        }
        bounded(step, Value::Object(kept))
    }

    /// Calls an adapter outside: the intent is recorded before the act, and a call in doubt is asked about.
    pub(super) async fn call(
        &self,
        hand: &mut Hand,
        step: &Step,
        call: &Call,
    ) -> Result<Map<String, Value>, ExecuteError> {
        let engine = self.operator.engine;
        let phase = phase_of(step, call)?;
        let key = format!("{}.{}", self.document.execution, step.id);
        let out = CallOut {
            phase: &phase,
            context: &self.context,
            key: &key,
        };
        let applied = match self.intent(hand, step).await? {
            Some(prepared) => match engine.probe_call(&out, &prepared).await? {
                Some(applied) => applied,
                None => engine.call_out(&out, &prepared).await?,
            },
            None => {
                let prepared = engine.prepare_call(&out).await?;
                self.note_intent(hand, step, &prepared).await?;
                engine.call_out(&out, &prepared).await?
            }
        };
        bounded(step, Value::Object(applied.output))
    }

    pub(super) async fn wait(
        &self,
        step: &Step,
        wait: &Wait,
    ) -> Result<Map<String, Value>, ExecuteError> {
        if let Some(ms) = wait.pause {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
        let Some(until) = &wait.until else {
            return Ok(Map::new());
        };
        let question = Question {
            name: step.id.to_string(),
            sql: until.sql.clone(),
            params: context::resolve(&until.params, &self.context, step.id.as_str())?,
            wanted: Wanted::AllTrue,
        };
        let limit = tokio::time::Instant::now() + Duration::from_millis(wait.timeout);
        loop {
            let answers = self
                .operator
                .engine
                .ask(&self.asking, std::slice::from_ref(&question))
                .await?;
            let found = match answers.first() {
                Some(Answer::Yes(_)) => return Ok(Map::new()),
                Some(other) => other.found(),
                None => "no answer".to_owned(),
            };
            if tokio::time::Instant::now() >= limit {
                return Err(ExecuteError::InVain {
                    step: step.id.to_string(),
                    ms: wait.timeout,
                    found,
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a person did, with the evidence that the step asks for.
    pub(super) fn manual(
        &self,
        step: &Step,
        manual: &Manual,
    ) -> Result<Map<String, Value>, ExecuteError> {
        let given = &self.given;
        let said = given.did.as_deref() == Some(step.id.as_str());
        let lacking: Vec<String> = manual
            .evidence
            .keys()
            .filter(|name| {
                let one = given.evidence.get(name.as_str());
                one.is_none_or(|one| one.bytes.trim_ascii().is_empty())
            })
            .map(ToString::to_string)
            .collect();
        if !said || !lacking.is_empty() {
            return Err(ExecuteError::Waits {
                step: step.id.to_string(),
                instruction: manual.instruction.clone(),
                evidence: manual.evidence.keys().map(ToString::to_string).collect(),
            });
        }
        let attached = manual.evidence.keys().filter_map(|name| {
            let evidence = given.evidence.get(name.as_str())?;
            Some((name.to_string(), evidence.value()))
        });
        Ok(Map::from_iter([(
            "evidence".to_owned(),
            Value::Object(attached.collect()),
        )]))
    }

    fn run(&self, step: &Step) -> Result<Uuid, ExecuteError> {
        let run = self.document.run.as_ref().map(|run| run.id);
        run.ok_or_else(|| self.cannot(step, "it needs a run"))
    }

    fn cannot(&self, step: &Step, why: &str) -> ExecuteError {
        ExecuteError::Step {
            step: step.id.to_string(),
            why: why.to_owned(),
        }
    }
}

fn signed(released: Released, command: &str) -> Result<(), ExecuteError> {
    match released {
        Released::Done => Ok(()),
        Released::Missing(missing) => {
            Err(Error::ApprovalsMissing(format!("{missing}; they sign with `{command}`")).into())
        }
    }
}

/// A phase that says what a call is, as one of a saga would.
fn phase_of(step: &Step, call: &Call) -> Result<Phase, ExecuteError> {
    use redress::definition::builder;
    let phase = builder::Phase::new(step.id.as_str(), call.adapter.as_str())
        .compensation(Compensation::Irreversible)
        .timeout(Duration::from_millis(call.timeout))
        .with(call.with.clone());
    let saga = builder::Saga::new("runbook", 1).phase(phase).build();
    let found = saga.ok().and_then(|saga| saga.phases.into_iter().next());
    found.ok_or_else(|| ExecuteError::Step {
        step: step.id.to_string(),
        why: "it says no call that an adapter could make".to_owned(),
    })
}

fn bounded(step: &Step, value: Value) -> Result<Map<String, Value>, ExecuteError> {
    let bytes = value.to_string().len();
    if bytes > KEPT_BYTES_MAX {
        return Err(ExecuteError::Step {
            step: step.id.to_string(),
            why: format!("what it keeps has {bytes} bytes, a record holds {KEPT_BYTES_MAX}"),
        });
    }
    Ok(outputs(value))
}

fn outputs(value: Value) -> Map<String, Value> {
    Map::from_iter([("outputs".to_owned(), value)])
}

/// Where a run stands after a step, and by which plan.
fn outcome_of(view: &RunView, plan: Option<String>) -> Map<String, Value> {
    let mut body = Map::from_iter([("run_state".to_owned(), json!(view.state.as_str()))]);
    if let Some(plan) = plan {
        body.insert("run_plan".to_owned(), json!(plan));
    }
    body
}

//! Applies a stored plan: takes it in hands, and goes on behind the last step that has a record.
//!
//! **Invariant:** nothing is begun that is stale, expired or not approved; whoever lost the lease records nothing more.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use redress::ask::{Answer, Asking};
use redress::step::{Acting, ExecutionState, Hand, Note};
use redress::telemetry::Told;
use redress::{Error, step};
use redress_ledger::{Class, Hash};
use serde_json::{Map, Value, json};
use tracing::Instrument;

use super::document::Document;
use super::work::Statements;
use super::{ExecuteError, Operator, context, plan};
use crate::model::{Check, Step, Transaction};

/// What an operator attaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The file that they came from.
    pub file: Option<String>,
}

impl Evidence {
    /// The most bytes that are kept as they are; of larger ones the hash is.
    const KEPT_BYTES_MAX: usize = 4 * 1024;

    /// As it stands in a record: length and SHA-256, and the text where it is short.
    pub(super) fn value(&self) -> Value {
        let text = std::str::from_utf8(&self.bytes).ok();
        let text = text.filter(|text| text.len() <= Self::KEPT_BYTES_MAX && !text.contains('\0'));
        json!({
            "bytes": self.bytes.len(),
            "sha256": Hash::of(&self.bytes),
            "file": self.file,
            "text": text,
        })
    }
}

/// What an operator says about manual steps.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// The manual step that was done.
    pub did: Option<String>,
    /// What is attached, by name.
    pub evidence: BTreeMap<String, Evidence>,
}

/// How an execution ended.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The execution as it is now.
    pub execution: step::Execution,
    /// Whether it was done before, and nothing was to do.
    pub before: bool,
}

/// An execution that is being carried out.
pub(super) struct Execution<'a> {
    pub operator: &'a Operator<'a>,
    pub document: &'a Document,
    pub context: Value,
    pub asking: Asking,
    pub given: &'a Given,
    /// Whether a step has acted: what was checked before it may rightly differ then.
    pub acted: bool,
}

/// Carries out an execution from where it is to its end, or to the first thing that stops it.
///
/// # Errors
/// [`ExecuteError::Stale`], missing approvals, [`ExecuteError::Refused`]: see each; what was done is in the log.
/// [`ExecuteError::Waits`]: a person must do something, then apply again.
pub async fn apply(
    operator: &Operator<'_>,
    id: &str,
    given: &Given,
    told: &(dyn Fn(&Step, u32) + Send + Sync),
) -> Result<Applied, ExecuteError> {
    let engine = operator.engine;
    let execution = engine.execution(id).await?;
    let document: Document = serde_json::from_value(execution.document.clone())
        .map_err(|error| ExecuteError::Document(error.to_string()))?;
    if !execution.state.is_open() {
        return ended(execution);
    }
    let asking = plan::asking(operator, &document.runbook, document.role.as_deref()).await?;
    let base = match execution.run {
        Some(run) => engine.context(run).await?,
        None => Value::Null,
    };
    let mut context = context::of(base, &document, &operator.person);
    context["plan"] = json!({"digest": execution.plan, "reason": document.reason});
    let signers = engine.execution_signers(&execution).await?;
    context["approvals"] = signers
        .iter()
        .map(|signer| json!({"principal": signer.principal, "key": signer.key_id.to_string()}))
        .collect();
    context::take_steps(&mut context, &engine.execution_records(&execution).await?);
    let done = usize::try_from(execution.done).unwrap_or(usize::MAX);
    let going = Execution {
        operator,
        document: &document,
        context,
        asking,
        given,
        acted: document.runbook.steps.iter().take(done).any(Step::acts),
    };
    if execution.state == ExecutionState::Planned {
        going.may_begin(&execution).await?;
    }
    let mut hand = engine
        .take_execution(execution.id, &operator.name())
        .await?;
    let result = while_held(operator, hand.clone(), going.through(&mut hand, told)).await;
    if let Err(error) = engine.leave_execution(&hand).await {
        tracing::warn!(error = %Told(&error), code = error.code(), execution = %execution.id, "giving the execution out of hands");
    }
    result?;
    Ok(Applied {
        execution: engine.execution(&execution.id.to_string()).await?,
        before: false,
    })
}

fn ended(execution: step::Execution) -> Result<Applied, ExecuteError> {
    match execution.state {
        ExecutionState::Done => Ok(Applied {
            execution,
            before: true,
        }),
        state => Err(Error::ExecutionState {
            execution: execution.id,
            state: state.as_str(),
            needed: "it has ended; plan again with `redress runbook run`",
        }
        .into()),
    }
}

/// Keeps the execution in hands while something goes on, and stops that when somebody else has taken it.
async fn while_held<T>(
    operator: &Operator<'_>,
    hand: Hand,
    work: impl Future<Output = Result<T, ExecuteError>>,
) -> Result<T, ExecuteError> {
    let beat = async {
        let pause = operator.engine.lease() / 3;
        loop {
            tokio::time::sleep(pause.max(Duration::from_millis(10))).await;
            match operator.engine.beat_execution(&hand).await {
                Ok(()) => {}
                Err(error @ Error::ExecutionLost(_)) => return error,
                // The lease may last until the database is back; a step asks it anyway.
                Err(error) => {
                    tracing::warn!(error = %Told(&error), code = error.code(), "keeping the execution in hands")
                }
            }
        }
    };
    tokio::select! {
        result = work => result,
        lost = beat => Err(lost.into()),
    }
}

impl Execution<'_> {
    async fn through(
        mut self,
        hand: &mut Hand,
        told: &(dyn Fn(&Step, u32) + Send + Sync),
    ) -> Result<(), ExecuteError> {
        if hand.execution().state == ExecutionState::Planned {
            let note = self.note("begun", "begin", ExecutionState::Begun, Map::new());
            self.record(hand, note, None).await?;
        }
        let steps = &self.document.runbook.steps;
        loop {
            let done = hand.execution().done;
            let Some(step) = usize::try_from(done).ok().and_then(|at| steps.get(at)) else {
                break;
            };
            told(step, done);
            let span = tracing::info_span!(
                "step",
                execution = %hand.execution().id,
                runbook = self.document.runbook.runbook.as_str(),
                step = step.id.as_str(),
            );
            if let Err(error) = self.go(hand, step).instrument(span).await {
                if ends(&error) {
                    let body = plan::refusal_body(&error);
                    let note =
                        self.note("refused", step.id.as_str(), ExecutionState::Refused, body);
                    self.record(hand, note, None).await?;
                }
                return Err(error);
            }
            self.acted |= step.acts();
        }
        self.finish(hand).await
    }

    /// One step with its record.
    async fn go(&mut self, hand: &mut Hand, step: &Step) -> Result<(), ExecuteError> {
        if let Some(transaction) = &step.transaction {
            return self.transact(hand, step, transaction).await;
        }
        let alone = step.hold.is_some()
            || step.release.is_some()
            || step.call.is_some()
            || step.resume.is_some()
            || step.resolve.is_some();
        if alone {
            self.ask_again(step).await?;
        }
        let body = if step.compensate.is_some() || step.rewind.is_some() {
            self.carry_out_plan(step).await?
        } else if let Some(hold) = &step.hold {
            self.hold(step, hold).await?
        } else if let Some(release) = &step.release {
            self.release(step, release).await?
        } else if step.resume.is_some() {
            self.resume(step).await?
        } else if step.resolve.is_some() {
            self.resolve(step).await?
        } else if let Some(snapshot) = &step.snapshot {
            self.snapshot(step, snapshot).await?
        } else if let Some(call) = &step.call {
            self.call(hand, step, call).await?
        } else if let Some(wait) = &step.wait {
            self.wait(step, wait).await?
        } else if let Some(manual) = &step.manual {
            self.manual(step, manual)?
        } else {
            return Err(ExecuteError::Step {
                step: step.id.to_string(),
                why: "it says nothing to do".to_owned(),
            });
        };
        if let Some(outputs) = body.get("outputs") {
            self.context["steps"][step.id.as_str()] = outputs.clone();
        }
        let note = self.done(step, body);
        self.record(hand, note, None).await
    }

    async fn transact(
        &mut self,
        hand: &mut Hand,
        step: &Step,
        transaction: &Transaction,
    ) -> Result<(), ExecuteError> {
        let demand = self.demand(step, &transaction.lock)?;
        let scope = self.document.runbook.scope.as_ref();
        let work = Statements {
            transaction,
            context: self.context.clone(),
            step: step.id.as_str(),
            writes: scope
                .map(|scope| scope.relations.clone())
                .unwrap_or_default(),
        };
        let acting = Acting {
            demand: &demand,
            work: &work,
        };
        let note = self.done(step, Map::new());
        self.record(hand, note, Some(&acting)).await?;
        let records = self
            .operator
            .engine
            .execution_records(hand.execution())
            .await?;
        context::take_steps(&mut self.context, &records);
        Ok(())
    }

    /// The checks that are made again before a step: all before the first that acts, later those that it lists.
    pub(super) fn checks_of(&self, step: &Step) -> Vec<Check> {
        let listed = step
            .transaction
            .as_ref()
            .and_then(|own| own.recheck.as_ref());
        let all = self.document.runbook.checks.iter();
        all.filter(|check| match listed {
            Some(listed) => listed.contains(&check.id),
            None => !self.acted,
        })
        .cloned()
        .collect()
    }

    async fn ask_again(&self, step: &Step) -> Result<(), ExecuteError> {
        let checks = self.checks_of(step);
        self.all_hold(&checks).await
    }

    async fn all_hold(&self, checks: &[Check]) -> Result<(), ExecuteError> {
        let questions = plan::questions(checks, &self.context)?;
        let answers = self.operator.engine.ask(&self.asking, &questions).await?;
        let wrong = questions.iter().zip(&answers).zip(checks);
        for ((question, answer), check) in wrong {
            if !matches!(answer, Answer::Yes(_)) {
                return Err(plan::no(&question.name, answer, Some(check)));
            }
        }
        Ok(())
    }

    /// What must hold afterwards, and the end.
    async fn finish(&self, hand: &mut Hand) -> Result<(), ExecuteError> {
        let runbook = &self.document.runbook;
        let held = match self.all_hold(&runbook.after).await {
            Ok(()) => self.baseline_is_back().await,
            wrong => wrong,
        };
        let (state, body, why) = match held {
            Ok(()) => (ExecutionState::Done, Map::new(), None),
            Err(error @ ExecuteError::Refused { .. }) => {
                let why = error.to_string();
                (
                    ExecutionState::Unproven,
                    plan::refusal_body(&error),
                    Some(why),
                )
            }
            Err(error) => return Err(error),
        };
        let note = self.note("finished", "after", state, body);
        self.record(hand, note, None).await?;
        why.map_or(Ok(()), |why| {
            Err(ExecuteError::Unproven {
                execution: self.document.execution,
                why,
            })
        })
    }

    async fn baseline_is_back(&self) -> Result<(), ExecuteError> {
        let runbook = &self.document.runbook;
        let questions = plan::readings(&runbook.baseline, &self.context)?;
        let answers = self.operator.engine.ask(&self.asking, &questions).await?;
        for (question, answer) in questions.iter().zip(&answers) {
            let before = self.document.baseline.get(&question.name);
            let same = matches!(answer, Answer::Yes(rows) if before == Some(&json!(rows)));
            if !same {
                return Err(ExecuteError::Refused {
                    check: question.name.clone(),
                    unknown: matches!(answer, Answer::Unknown(_)),
                    found: answer.found(),
                    why: format!("before it was {}", before.unwrap_or(&Value::Null)),
                    refusal: None,
                    next: None,
                });
            }
        }
        Ok(())
    }

    /// What `prepare` gave for a call whose intent was recorded and whose outcome was not.
    pub(super) async fn intent(
        &self,
        hand: &Hand,
        step: &Step,
    ) -> Result<Option<Value>, ExecuteError> {
        let records = self
            .operator
            .engine
            .execution_records(hand.execution())
            .await?;
        let intended = records.iter().rev().find(|record| {
            let text = |name: &str| record.body.get(name).and_then(Value::as_str);
            text("event") == Some("intended") && text("step") == Some(step.id.as_str())
        });
        Ok(intended.map(|record| record.body.get("prepared").cloned().unwrap_or_default()))
    }

    pub(super) async fn note_intent(
        &self,
        hand: &mut Hand,
        step: &Step,
        prepared: &Value,
    ) -> Result<(), ExecuteError> {
        let body = Map::from_iter([("prepared".to_owned(), prepared.clone())]);
        let note = self.note("intended", step.id.as_str(), ExecutionState::Begun, body);
        self.record(hand, note, None).await
    }

    fn done<'n>(&'n self, step: &'n Step, mut body: Map<String, Value>) -> Note<'n> {
        body.insert("kind".to_owned(), json!(step.kind()));
        Note {
            advances: true,
            ..self.note("step", step.id.as_str(), ExecutionState::Begun, body)
        }
    }

    fn note<'n>(
        &'n self,
        event: &'static str,
        step: &'n str,
        state: ExecutionState,
        body: Map<String, Value>,
    ) -> Note<'n> {
        Note {
            event,
            step,
            advances: false,
            state,
            reason: &self.document.reason,
            body,
        }
    }

    async fn record(
        &self,
        hand: &mut Hand,
        note: Note<'_>,
        acting: Option<&Acting<'_>>,
    ) -> Result<(), ExecuteError> {
        let engine = self.operator.engine;
        let recorded = engine
            .record_step(hand, note, self.operator.key, acting)
            .await;
        recorded.map_err(ExecuteError::from)
    }
}

/// Whether an error is an answer of this runbook, so that another one is right now; what passes is tried again.
fn ends(error: &ExecuteError) -> bool {
    match error {
        ExecuteError::Engine(error) => match error {
            Error::ApprovalsMissing(_)
            | Error::ExecutionLost(_)
            | Error::ExecutionBusy { .. }
            | Error::NoTrust
            | Error::Decision(_)
            | Error::Held(_)
            | Error::InDoubt { .. }
            | Error::UnknownAdapter(_)
            | Error::ReleaseUnproven { .. } => false,
            other => {
                let gate = other
                    .sqlstate()
                    .is_some_and(|state| state.starts_with("RDG"));
                !gate
                    && matches!(
                        other.class(),
                        Class::Refused | Class::Business | Class::Hold
                    )
            }
        },
        ExecuteError::Waits { .. } | ExecuteError::InVain { .. } => false,
        _ => true,
    }
}

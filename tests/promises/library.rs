//! The shipped runbooks, each tried from the prepared states that it names.

use std::collections::BTreeMap;

use redress::{Engine, Error};
use redress_cli::drill::{Ground, prepare};
use redress_ledger::key::{Role, SigningKey};
use redress_ledger::quorum::quorum_missing;
use redress_runbooks::execute::{self, Evidence, ExecuteError, Given, Operator, Request};
use redress_runbooks::fixture::Fixture;
use redress_runbooks::library::Shelf;
use redress_runbooks::model::{Outcome, Runbook, Test};
use redress_tests::Lab;
use uuid::Uuid;

use crate::common::sound;

/// Two people, and who of them carries the runbook out.
struct Team<'a> {
    engine: &'a Engine,
    lab: &'a Lab,
}

impl Team<'_> {
    fn operator<'k>(&'k self, key: &'k SigningKey) -> Operator<'k> {
        let person = key.vkey().name().to_string();
        Operator {
            engine: self.engine,
            key,
            person,
            host: "here".to_owned(),
        }
    }

    /// Carries a runbook out as its test says; nothing, or the code with which it was refused.
    async fn try_out(
        &self,
        book: &Runbook,
        test: &Test,
        run: Option<Uuid>,
    ) -> Result<(), ExecuteError> {
        // Where those who sign must be others, the operator is no sovereign.
        let approvals = &book.approvals;
        let others = approvals.distinct && approvals.quorum.contains_key(&Role::Sovereign);
        let key = if others {
            &self.lab.operator
        } else {
            &self.lab.sovereign
        };
        let operator = self.operator(key);
        let text = |value: &serde_json::Value| {
            value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned)
        };
        let params = test
            .params
            .iter()
            .map(|(name, value)| (name.to_string(), text(value)));
        let request = Request {
            runbook: book.clone(),
            run,
            params: params.collect(),
            reason: "tried".to_owned(),
        };
        let (execution, _) = execute::plan(&operator, &request).await?;
        let id = execution.id.to_string();
        let evidence = test
            .evidence
            .iter()
            .map(|(name, text)| {
                (
                    name.to_string(),
                    Evidence {
                        bytes: text.clone().into_bytes(),
                        file: None,
                    },
                )
            })
            .collect::<BTreeMap<_, _>>();
        let mut given = Given {
            did: None,
            evidence,
        };
        let mut last = None;
        for _ in 0..20 {
            match execute::apply(&operator, &id, &given, &|_, _| {}).await {
                Ok(_) => return Ok(()),
                Err(ExecuteError::Waits { step, .. }) => given.did = Some(step),
                Err(error @ ExecuteError::Engine(Error::ApprovalsMissing(_))) => {
                    last = Some(error);
                    self.sign(&id, run).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.expect("it waits for signatures for ever"))
    }

    /// Everybody else signs what waits for signatures.
    async fn sign(&self, id: &str, run: Option<Uuid>) {
        let execution = self.engine.execution(id).await.unwrap();
        let others = [&self.lab.sovereign, &self.lab.reviewer, &self.lab.operator];
        let others = others
            .into_iter()
            .filter(|key| execution.made_by != key.vkey().name());
        for key in others {
            let decision = self
                .engine
                .decision_on_execution(&execution, "tried")
                .await
                .unwrap();
            let envelope = redress_ledger::sign(&decision, key).unwrap();
            self.engine
                .approve_execution(&execution, envelope)
                .await
                .unwrap();
        }
        let Some(run) = run else { return };
        if let Ok(stored) = self.engine.find_plan(&run.to_string()).await
            && quorum_missing(&stored.plan.quorum, &[], "").is_err()
        {
            let _ = self
                .engine
                .approve(&stored, &self.lab.sovereign, "tried")
                .await;
        }
        if execution.done > 0 {
            for hold in self.engine.show(run).await.unwrap().held {
                let _ = self
                    .engine
                    .release_hold(hold.id, &self.lab.sovereign, "tried")
                    .await;
            }
        }
    }
}

async fn tried(book: &Runbook, test: &Test) -> Result<(), String> {
    let lab = Lab::new().await;
    let trust = lab.trust();
    let ground = Ground {
        url: lab.url(),
        schema: Default::default(),
        state: lab.state_dir(),
        trust: &trust,
        sovereign: &lab.sovereign,
    };
    let fixture = Fixture::parse(&test.fixture).ok_or("no such fixture")?;
    let run = prepare(fixture, &ground)
        .await
        .map_err(|error| format!("{}: {error}", test.fixture))?;
    let engine = lab.engine().await;
    let team = Team {
        engine: &engine,
        lab: &lab,
    };
    let about = run.filter(|_| book.needs_a_run());
    let found = team.try_out(book, test, about).await;
    let code = |error: &ExecuteError| match error {
        ExecuteError::Refused {
            refusal: Some(own), ..
        } => own.clone(),
        other => other.code().to_owned(),
    };
    match (test.expect.outcome, &found) {
        (Outcome::Done, Ok(())) => {}
        (Outcome::Refused, Err(error)) if Some(code(error)) == test.expect.code => {}
        (_, found) => return Err(format!("{found:?}")),
    }
    if let (Some(state), Some(run)) = (test.expect.state, run) {
        let view = engine.show(run).await.map_err(|error| error.to_string())?;
        if view.state != state {
            return Err(format!("the run is {}, expected {state}", view.state));
        }
    }
    sound(&engine).await;
    Ok(())
}

/// As many at once as there are processors, since each has a database of its own.
#[tokio::test(flavor = "multi_thread")]
async fn every_shipped_runbook_does_what_its_tests_say() {
    let shelf = Shelf::shipped().expect("the shipped runbooks");
    let mut wrong = Vec::new();
    let mut tests = 0;
    for book in shelf.books() {
        for test in &book.runbook.tests {
            tests += 1;
            if let Err(why) = tried(&book.runbook, test).await {
                wrong.push(format!("{}, {}: {why}", book.name(), test.name));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {tests}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(tests > shelf.books().len());
}

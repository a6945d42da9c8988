//! `runbook run`, `resume`, `abandon`, `executions`: carrying out a runbook, from its plan to its end.

use std::collections::BTreeMap;
use std::path::Path;

use redress::Engine;
use redress::step::{Execution, ExecutionState, Note};
use redress_runbooks::execute::{
    Applied, Document, Evidence, ExecuteError, Given, Operator, Request, apply, missing, plan,
};
use redress_runbooks::instruction::{Part, parts};
use redress_runbooks::model::{Runbook, Step};
use serde_json::{Map, Value, json};

use crate::commands::apart;
use crate::commands::find_run;
use crate::commands::look::quorum_text;
use crate::commands::plan::ApproveArgs;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::read::read_file;
use crate::text::{age, local, plain, short_id};

/// What to carry out.
#[derive(Debug, clap::Args)]
pub struct CarryArgs {
    /// The runbook: its name, or a file
    #[arg(value_name = "NAME|FILE")]
    pub name: String,
    /// The run that it is about: its id, or the beginning or end of it
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// A parameter; a value that begins with @ is read from a file
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Why
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "carried out by an operator"
    )]
    pub reason: String,
    /// Only plan: look, ask the checks, store what would be done
    #[arg(long)]
    pub plan: bool,
    /// The short code of what is confirmed, where nobody can be asked: the run's short id, or the runbook's name
    #[arg(long, value_name = "CODE")]
    pub confirm: Option<String>,
}

/// What to go on with.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// The execution: its id, or the beginning or end of it
    #[arg(value_name = "EXEC")]
    pub execution: String,
    /// The step by hand that was done
    #[arg(long, value_name = "STEP")]
    pub did: Option<String>,
    /// What the step asks for; a value that begins with @ is a file
    #[arg(long, value_name = "NAME=VALUE", requires = "did")]
    pub evidence: Vec<String>,
    /// The short code of what is confirmed, where nobody can be asked
    #[arg(long, value_name = "CODE")]
    pub confirm: Option<String>,
}

/// What to give up.
#[derive(Debug, clap::Args)]
pub struct AbandonArgs {
    /// The execution: its id, or the beginning or end of it
    #[arg(value_name = "EXEC")]
    pub execution: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Which executions.
#[derive(Debug, clap::Args)]
pub struct ExecutionsArgs {
    /// Of this run
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// Only those that are under way
    #[arg(long)]
    pub open: bool,
}

/// Plans a runbook, and carries it out once the person has confirmed it and everybody has signed.
///
/// # Errors
/// [`Fail::Execute`]: a refusal is recorded; what was done is in the log.
pub async fn run(place: &Place, args: &CarryArgs, runbook: Runbook) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(text) => Some(find_run(&engine, text).await?),
        None => None,
    };
    let request = Request {
        runbook,
        run,
        params: pairs(&args.set, "--set")?,
        reason: args.reason.clone(),
    };
    let key = place.signing_key()?;
    let operator = operator(&engine, &key.key);
    let (execution, document) = plan(&operator, &request).await?;
    let lacks = missing(&engine, &execution, &document).await?;
    if !place.say.is_json() {
        print_plan(place, &execution, &document)?;
    }
    let short = short_id(execution.id);
    if let Some(lacks) = lacks {
        if place.say.is_json() {
            print_json(place, &execution, &document, Some(lacks.to_string()))?;
        } else {
            let whose = match document.runbook.approvals.distinct {
                true => format!(" ({}, who asks for it, does not count)", execution.made_by),
                false => String::new(),
            };
            place.say.notice(&format!(
                "{lacks}{whose}. Next: redress approve {short} --as KEY, then redress runbook resume {short} --as KEY"
            ));
        }
        return Ok(if args.plan {
            Exit::Done
        } else {
            Exit::Approvals
        });
    }
    if args.plan {
        if place.say.is_json() {
            print_json(place, &execution, &document, None)?;
        } else {
            place
                .say
                .notice(&format!("next: redress runbook resume {short} --as KEY"));
        }
        return Ok(Exit::Done);
    }
    confirm(place, &document, args.confirm.as_deref())?;
    carry_out(place, &operator, &execution, &document, &Given::default()).await
}

/// Goes on with an execution: begins one that was planned, or carries on behind its last step.
///
/// # Errors
/// [`Fail::Execute`].
pub async fn resume(place: &Place, args: &ResumeArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let execution = engine.execution(&args.execution).await?;
    let document = read(&execution)?;
    let mut given = Given {
        did: args.did.clone(),
        evidence: BTreeMap::new(),
    };
    for (name, value) in pairs_of(&args.evidence, "--evidence")? {
        given.evidence.insert(name, evidence(&value)?);
    }
    let key = place.signing_key()?;
    let operator = operator(&engine, &key.key);
    if execution.state == ExecutionState::Planned {
        if !place.say.is_json() {
            print_plan(place, &execution, &document)?;
        }
        confirm(place, &document, args.confirm.as_deref())?;
    }
    carry_out(place, &operator, &execution, &document, &given).await
}

/// Gives an execution up; what its steps have done stands.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn abandon(place: &Place, args: &AbandonArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let execution = engine.execution(&args.execution).await?;
    if !execution.state.is_open() {
        return Err(redress::Error::ExecutionState {
            execution: execution.id,
            state: execution.state.as_str(),
            needed: "only one that is not over is given up",
        }
        .into());
    }
    let key = place.signing_key()?;
    let who = operator(&engine, &key.key);
    let mut hand = engine
        .take_execution(execution.id, &format!("{} on {}", who.person, who.host))
        .await?;
    let note = Note {
        event: "abandoned",
        step: "abandon",
        advances: false,
        state: ExecutionState::Abandoned,
        reason: &args.reason,
        body: Map::new(),
    };
    let recorded = engine.record_step(&mut hand, note, &key.key, None).await;
    engine.leave_execution(&hand).await?;
    recorded?;
    show(place, &engine, &execution.id.to_string()).await
}

/// Lists executions, youngest first.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn executions(place: &Place, args: &ExecutionsArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(text) => Some(find_run(&engine, text).await?),
        None => None,
    };
    let list = engine.executions(run, args.open, LIST_MAX).await?;
    if place.say.is_json() {
        let list: Vec<Value> = list.iter().map(brief).collect();
        place
            .say
            .value(&json!({"schema": 1, "executions": list, "errors": []}))?;
        return Ok(Exit::Done);
    }
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|one| {
            vec![
                short_id(one.id),
                one.state.as_str().to_owned(),
                one.runbook.clone(),
                one.run.map(short_id).unwrap_or_default(),
                one.made_by.clone(),
                age(&one.made_at).unwrap_or_default(),
            ]
        })
        .collect();
    place.say.table(
        &["execution", "state", "runbook", "run", "by", "age"],
        &[0, 1],
        &rows,
    )?;
    Ok(Exit::Done)
}

/// Shows one execution: its plan, and what was done by whom.
///
/// # Errors
/// [`Fail::Engine`].
pub async fn show(place: &Place, engine: &Engine, id: &str) -> Result<Exit, Fail> {
    let execution = engine.execution(id).await?;
    let document = read(&execution)?;
    if place.say.is_json() {
        let mut value = whole(&execution, &document);
        let records = engine.execution_records(&execution).await?;
        value["records"] = records
            .iter()
            .map(|record| json!({"at": record.at, "body": record.body}))
            .collect();
        value["errors"] = json!([]);
        place.say.value(&value)?;
        return Ok(Exit::Done);
    }
    print_plan(place, &execution, &document)?;
    let rows: Vec<Vec<String>> = engine
        .execution_records(&execution)
        .await?
        .iter()
        .map(|record| {
            let text = |name: &str| {
                record
                    .body
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            vec![
                local(&record.at),
                text("event").to_owned(),
                text("step").to_owned(),
                text("principal").to_owned(),
                text("message").to_owned(),
            ]
        })
        .collect();
    place
        .say
        .table(&["at", "what", "step", "by", "why"], &[1], &rows)?;
    if let Some(owner) = &execution.owner {
        place.say.item("in hands  ", owner)?;
    }
    if execution.state.is_open() {
        let command = format!("redress runbook resume {} --as KEY", short_id(execution.id));
        place.say.command("next      ", &command)?;
    }
    Ok(Exit::Done)
}

/// Signs that an execution may be carried out.
///
/// # Errors
/// [`Fail::Engine`]: the signature does not count, and why.
pub async fn approve(
    place: &Place,
    engine: &Engine,
    execution: &Execution,
    args: &ApproveArgs,
) -> Result<Exit, Fail> {
    let document = read(execution)?;
    if let Some(file) = &args.signature {
        let envelope = apart::read_signed(place, engine, file, args.decision.as_deref()).await?;
        let approval = engine.approve_execution(execution, envelope).await?;
        return approved(place, engine, execution, &approval).await;
    }
    let decision = engine
        .decision_on_execution(execution, &args.reason)
        .await?;
    if let Some(out) = &args.out {
        let written = apart::write_out(&decision, out)?;
        apart::tell(place, &execution.id.to_string(), &written)?;
        return Ok(Exit::Done);
    }
    place.expect_signer()?;
    if !place.say.is_json() {
        print_plan(place, execution, &document)?;
    }
    place.say.notice(&format!(
        "valid until {}. Reason: {}",
        decision.not_after, args.reason
    ));
    place.confirm("this runbook's plan", &word(&document))?;
    let key = place.signing_key()?;
    let envelope = redress_ledger::sign(&decision, &key.key).map_err(redress::Error::from)?;
    let approval = engine.approve_execution(execution, envelope).await?;
    approved(place, engine, execution, &approval).await
}

/// Tells whose signature counts now, and what comes next.
async fn approved(
    place: &Place,
    engine: &Engine,
    execution: &Execution,
    approval: &redress::Approval,
) -> Result<Exit, Fail> {
    let lacks = missing(engine, execution, &read(execution)?).await?;
    let lacks = lacks.map(|lacks| lacks.to_string());
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "execution": execution.id,
            "plan": execution.plan,
            "decision": approval.decision.id,
            "principal": approval.signer.principal,
            "role": approval.signer.role.as_str(),
            "missing": lacks,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    let role = approval.signer.role;
    place.say.line(&format!(
        "approved by {} ({role})",
        approval.signer.principal
    ))?;
    match lacks {
        Some(lacks) => place.say.notice(&format!(
            "{lacks}. Next: redress approve {} --as KEY",
            short_id(execution.id)
        )),
        None => place.say.notice(&format!(
            "next: redress runbook resume {} --as KEY",
            short_id(execution.id)
        )),
    }
    Ok(Exit::Done)
}

fn operator<'a>(engine: &'a Engine, key: &'a redress_ledger::key::SigningKey) -> Operator<'a> {
    let host = rustix::system::uname();
    Operator {
        engine,
        key,
        person: key.vkey().name().to_string(),
        host: host.nodename().to_string_lossy().into_owned(),
    }
}

async fn carry_out(
    place: &Place,
    operator: &Operator<'_>,
    execution: &Execution,
    document: &Document,
    given: &Given,
) -> Result<Exit, Fail> {
    let steps = document.runbook.steps.len();
    let told = |step: &Step, done: u32| {
        let n = done.saturating_add(1);
        let why = if step.why.is_empty() {
            step.kind()
        } else {
            &step.why
        };
        place
            .say
            .notice(&format!("step {n} of {steps}, {}: {why}", step.id));
    };
    let id = execution.id.to_string();
    match apply(operator, &id, given, &told).await {
        Ok(applied) => end(place, operator, &applied, document).await,
        Err(error @ ExecuteError::Waits { .. }) => {
            tell_waiting(place, &error, execution, document, given);
            Err(error.into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn end(
    place: &Place,
    operator: &Operator<'_>,
    applied: &Applied,
    document: &Document,
) -> Result<Exit, Fail> {
    if place.say.is_json() {
        let mut value = whole(&applied.execution, document);
        value["errors"] = json!([]);
        place.say.value(&value)?;
        return Ok(Exit::Done);
    }
    let done = if applied.before {
        "was done before"
    } else {
        "done"
    };
    place.say.line(&format!(
        "runbook {} {done}, execution {}",
        document.runbook.runbook, applied.execution.id
    ))?;
    if let Some(run) = applied.execution.run {
        let view = operator.engine.show(run).await?;
        place.say.line(&format!("run {run} is {}", view.state))?;
        if let Some(next) = &view.next {
            place.say.item("next  ", &next.what)?;
            place.say.command("      ", &next.command)?;
        } else {
            place.say.command("next  ", "redress status")?;
        }
    }
    Ok(Exit::Done)
}

/// Says what is to be done by hand, what the words in it stand for, and the whole command that comes next.
fn tell_waiting(
    place: &Place,
    error: &ExecuteError,
    execution: &Execution,
    document: &Document,
    given: &Given,
) {
    let ExecuteError::Waits {
        step,
        instruction,
        evidence,
    } = error
    else {
        return;
    };
    let (say, short) = (&place.say, short_id(execution.id));
    if let Some(did) = given.did.as_deref().filter(|did| *did != step.as_str()) {
        say.notice(&format!("--did {} is not the step that waits", plain(did)));
    }
    say.notice(&format!("to do by hand, step {step}:"));
    for part in parts(instruction) {
        match part {
            Part::Prose(text) => say.notice(&format!("  {text}")),
            Part::Typed(line) => say.notice(&format!("     {line}")),
        }
    }
    if let Some(run) = &document.run {
        say.notice(&format!("  (RUN is {}, EXEC is {short})", run.id));
    }
    let steps = &document.runbook.steps;
    let manual = steps
        .iter()
        .find(|one| one.id.as_str() == step)
        .and_then(|one| one.manual.as_ref());
    let asked = manual.into_iter().flat_map(|manual| &manual.evidence);
    for (name, what) in asked {
        let lacks = given.did.is_some()
            && given
                .evidence
                .get(name.as_str())
                .is_none_or(|one| one.bytes.trim_ascii().is_empty());
        let lacks = if lacks { " (missing)" } else { "" };
        say.notice(&format!("  evidence {name}{lacks}: {what}"));
    }
    let attach: String = evidence
        .iter()
        .map(|name| format!(" --evidence {name}='TEXT'"))
        .collect();
    say.notice(&format!(
        "then: redress runbook resume {short} --did {step}{attach} --as KEY"
    ));
    say.notice("TEXT may be @FILE; KEY is one of `redress key list`");
}

/// What a person types to confirm: the run's short id, or the runbook's name where it is about none.
fn word(document: &Document) -> String {
    match &document.run {
        Some(run) => short_id(run.id),
        None => document.runbook.runbook.to_string(),
    }
}

fn confirm(place: &Place, document: &Document, given: Option<&str>) -> Result<(), Fail> {
    let word = word(document);
    match given {
        Some(text) if text == word => Ok(()),
        Some(_) => Err(Fail::own(
            "RD0916",
            format!("--confirm must be {word}: nothing was begun"),
        )),
        None => match place.confirm("and carry out this runbook", &word) {
            Err(fail) if fail.code() == "RD0913" => Err(Fail::own(
                "RD0913",
                format!(
                    "nobody can be asked here: give --confirm {word}; it is planned, `redress runbook resume {} --confirm {word} --as KEY` begins it",
                    document.execution
                ),
            )),
            other => other,
        },
    }
}

fn read(execution: &Execution) -> Result<Document, Fail> {
    serde_json::from_value(execution.document.clone())
        .map_err(|error| ExecuteError::Document(error.to_string()).into())
}

fn print_plan(place: &Place, execution: &Execution, document: &Document) -> Result<(), Fail> {
    let (say, runbook) = (&place.say, &document.runbook);
    say.item("execution  ", &execution.id.to_string())?;
    say.item(
        "runbook    ",
        &format!(
            "{} version {}: {}",
            runbook.runbook, runbook.version, runbook.title
        ),
    )?;
    if let Some(run) = &document.run {
        let text = format!(
            "{} of {} version {}, {} at record {}",
            run.id, run.saga, run.version, run.state, run.basis.seq
        );
        say.item("run        ", &text)?;
    }
    say.item("risk       ", risk(runbook))?;
    say.item(
        "state      ",
        &format!(
            "{}, {} of {} steps done",
            execution.state.as_str(),
            execution.done,
            runbook.steps.len()
        ),
    )?;
    for (name, value) in &document.params {
        say.item("parameter  ", &format!("{name} = {value}"))?;
    }
    if let (Some(scope), Some(rows)) = (&runbook.scope, document.rows) {
        say.item(
            "scope      ",
            &format!(
                "{rows} rows of at most {}, in {}",
                scope.max,
                scope.relations.join(", ")
            ),
        )?;
    }
    say.item("to sign    ", &who_signs(runbook))?;
    say.item("good until ", &local(&document.not_after))?;
    say.item("digest     ", &execution.plan.to_string()[..DIGEST_CHARS])?;
    let checks: Vec<Vec<String>> = document
        .checks
        .iter()
        .map(|check| {
            let text = |name: &str| {
                check
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            vec![text("check"), text("outcome"), text("found")]
        })
        .collect();
    if !checks.is_empty() {
        say.table(&["check", "answer", "found"], &[1], &checks)?;
    }
    let steps: Vec<Vec<String>> = (0_u32..)
        .zip(&runbook.steps)
        .map(|(at, step)| {
            let done = if at < execution.done { "done" } else { "" };
            vec![
                step.id.to_string(),
                step.kind().to_owned(),
                step.why.clone(),
                done.to_owned(),
            ]
        })
        .collect();
    say.table(&["step", "does", "why", ""], &[1, 3], &steps)
}

/// Who must sign a runbook, in words.
pub fn who_signs(runbook: &Runbook) -> String {
    let needs = quorum_text(&runbook.approvals.quorum);
    match runbook.approvals.distinct {
        true => format!("{needs}, nobody who runs it"),
        false => needs,
    }
}

fn risk(runbook: &Runbook) -> &'static str {
    use redress_runbooks::model::Risk;
    match runbook.risk {
        Risk::ReadOnly => "it only looks",
        Risk::Reversible => "what it does can be undone",
        Risk::Irreversible => "what it does stays",
    }
}

fn print_json(
    place: &Place,
    execution: &Execution,
    document: &Document,
    lacks: Option<String>,
) -> Result<(), Fail> {
    let mut value = whole(execution, document);
    value["missing"] = json!(lacks);
    value["errors"] = json!([]);
    place.say.value(&value)
}

fn brief(execution: &Execution) -> Value {
    json!({
        "execution": execution.id,
        "runbook": execution.runbook,
        "version": execution.version,
        "run": execution.run,
        "state": execution.state.as_str(),
        "done": execution.done,
        "plan": execution.plan,
        "made_by": execution.made_by,
        "made_at": execution.made_at,
        "owner": execution.owner,
    })
}

fn whole(execution: &Execution, document: &Document) -> Value {
    let mut value = brief(execution);
    value["schema"] = json!(1);
    value["checks"] = json!(document.checks);
    value["params"] = json!(document.params);
    value["rows"] = json!(document.rows);
    value["not_after"] = json!(document.not_after);
    value["approvals"] = json!(document.runbook.approvals);
    value["steps"] = (0_u32..)
        .zip(&document.runbook.steps)
        .map(|(at, step)| json!({"id": step.id, "kind": step.kind(), "why": step.why, "done": at < execution.done}))
        .collect();
    value
}

/// `NAME=VALUE`, where a value that begins with `@` is read from a file.
fn pairs(texts: &[String], flag: &str) -> Result<BTreeMap<String, String>, Fail> {
    pairs_of(texts, flag)?
        .into_iter()
        .map(|(name, value)| {
            let value = match value.strip_prefix('@') {
                None => value,
                Some(file) => String::from_utf8(read_file(Path::new(file), PARAM_BYTES_MAX)?)
                    .map_err(|_| Fail::own("RD0917", format!("no UTF-8 text, {file}")))?,
            };
            Ok((name, value))
        })
        .collect()
}

fn pairs_of(texts: &[String], flag: &str) -> Result<BTreeMap<String, String>, Fail> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let usage = |why: &str| Fail::own("RD0924", format!("{flag} {}: {why}", plain(text)));
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| usage("write NAME=VALUE"))?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(usage("it is given twice"));
        }
    }
    Ok(pairs)
}

fn evidence(value: &str) -> Result<Evidence, Fail> {
    Ok(match value.strip_prefix('@') {
        None => Evidence {
            bytes: value.as_bytes().to_vec(),
            file: None,
        },
        Some(file) => Evidence {
            bytes: read_file(Path::new(file), EVIDENCE_BYTES_MAX)?,
            file: Path::new(file)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        },
    })
}

const LIST_MAX: u32 = 1_000;
const DIGEST_CHARS: usize = 12;
const PARAM_BYTES_MAX: usize = 64 << 10;
const EVIDENCE_BYTES_MAX: usize = 16 << 20;

//! Says in words what a runbook's fields mean.

use redress::definition::{HoldScope, duration};
use redress_ledger::Hash;
use redress_ledger::quorum;

use crate::instruction::{Part, parts};
use crate::model::{
    Approvals, Check, Outcome, Param, Query, Release, Risk, Rows, Runbook, Scope, Statement, Step,
    Test, Then, Transaction, Wait,
};

use super::{Block, Page, Section};

/// The whole page.
pub(super) fn page(book: &Runbook, digest: &Hash) -> Page {
    let mut facts = vec![
        (
            "Runbook",
            format!("{} version {}", book.runbook, book.version),
        ),
        ("Risk", risk(book.risk).to_owned()),
        ("Owner", book.owner.clone()),
        ("To sign", approvals(&book.approvals)),
        ("Digest", digest.to_string()),
    ];
    if !book.environments.is_empty() {
        facts.push(("Only for", book.environments.join(", ")));
    }
    let mut sections = Vec::new();
    let mut section = |heading, blocks: Vec<Block>| {
        if !blocks.is_empty() {
            sections.push(Section { heading, blocks });
        }
    };
    section("What it is for", paragraphs(&book.summary));
    section("When it is right", matches(book));
    section(
        "What you give",
        book.params
            .iter()
            .map(|(name, one)| param(name.as_str(), one))
            .collect(),
    );
    section(
        "What must hold first",
        book.checks.iter().map(check).collect(),
    );
    section(
        "What it may touch",
        book.scope.as_ref().map(scope).unwrap_or_default(),
    );
    let steps = book.steps.iter().enumerate();
    section(
        "What is done",
        steps.map(|(at, one)| step(at + 1, one)).collect(),
    );
    let mut after: Vec<Block> = book.after.iter().map(check).collect();
    after.extend(book.baseline.iter().map(baseline));
    section("What must hold afterwards", after);
    section("Limits", limits(book));
    section("How it was tried", book.tests.iter().map(test).collect());
    Page {
        title: book.title.clone(),
        facts,
        sections,
    }
}

/// A risk in words.
fn risk(risk: Risk) -> &'static str {
    match risk {
        Risk::ReadOnly => "read only: nothing is changed by it",
        Risk::Reversible => "reversible: nothing is lost by it",
        Risk::Irreversible => "IRREVERSIBLE: what it does stays",
    }
}

fn approvals(approvals: &Approvals) -> String {
    if quorum::is_open(&approvals.quorum) {
        return "nobody beyond what the steps themselves need".to_owned();
    }
    let needed = approvals.quorum.iter().filter(|(_, count)| **count > 0);
    let needed: Vec<String> = needed
        .map(|(role, count)| format!("{count} {role}"))
        .collect();
    let distinct = if approvals.distinct {
        "; whoever runs it does not count"
    } else {
        ""
    };
    format!("{}{distinct}", needed.join(", "))
}

fn matches(book: &Runbook) -> Vec<Block> {
    let matches = &book.matches;
    let list = |items: Vec<String>| items.join(", ");
    let mut lines = Vec::new();
    if let Some(saga) = &matches.saga {
        let versions = list(matches.versions.iter().map(ToString::to_string).collect());
        lines.push(match versions.as_str() {
            "" => format!("The run is one of the saga `{saga}`."),
            versions => format!("The run is one of the saga `{saga}`, version {versions}."),
        });
    }
    if let Some(phase) = &matches.failed_phase {
        lines.push(format!("It failed at `{phase}`."));
    }
    if !matches.committed.is_empty() {
        let phases = list(
            matches
                .committed
                .iter()
                .map(|one| format!("`{one}`"))
                .collect(),
        );
        lines.push(format!("These phases stand: {phases}."));
    }
    if !matches.states.is_empty() {
        let states = list(matches.states.iter().map(ToString::to_string).collect());
        lines.push(format!("Its state is one of: {states}."));
    }
    if !matches.codes.is_empty() {
        lines.push(format!(
            "The error is one of: {}.",
            list(matches.codes.clone())
        ));
    }
    lines.into_iter().map(item).collect()
}

fn param(name: &str, param: &Param) -> Block {
    let mut says = param.kind.words().to_owned();
    match (param.min, param.max) {
        (Some(min), Some(max)) => says.push_str(&format!(", from {min} to {max}")),
        (Some(min), None) => says.push_str(&format!(", at least {min}")),
        (None, Some(max)) => says.push_str(&format!(", at most {max}")),
        (None, None) => {}
    }
    match &param.default {
        Some(default) => says.push_str(&format!("; if left out: {default}")),
        None => says.push_str("; must be given"),
    }
    let mut body = Vec::new();
    if !param.about.is_empty() {
        body.push(Block::Text(param.about.clone()));
    }
    if let Some(pattern) = &param.pattern {
        body.push(Block::Code(pattern.clone()));
    }
    Block::Item {
        number: None,
        head: format!("`{name}`: {says}"),
        body,
    }
}

fn check(check: &Check) -> Block {
    let mut body = vec![Block::Code(check.sql.clone())];
    body.extend(bound(&check.params));
    body.push(Block::Text(match &check.expect {
        Some(value) => format!("It must give {value}."),
        None => "Every value of it must be true.".to_owned(),
    }));
    if let Some(fail) = &check.on_fail {
        let next = match &fail.next {
            Some(next) => format!("; then `redress runbook show {next}`"),
            None => String::new(),
        };
        body.push(Block::Text(format!(
            "Otherwise it is refused as {}{next}.",
            fail.refuse
        )));
    }
    Block::Item {
        number: None,
        head: format!("`{}`: {}", check.id, check.why),
        body,
    }
}

fn baseline(query: &Query) -> Block {
    let mut body = vec![Block::Code(query.sql.clone())];
    body.extend(bound(&query.params));
    Block::Item {
        number: None,
        head: format!("`{}`: the same value as before", query.name),
        body,
    }
}

fn scope(scope: &Scope) -> Vec<Block> {
    let relations: Vec<String> = scope
        .relations
        .iter()
        .map(|one| format!("`{one}`"))
        .collect();
    vec![
        Block::Text(format!(
            "Only {}, and at most {} rows, counted by:",
            relations.join(", "),
            scope.max
        )),
        Block::Code(scope.rows.clone()),
    ]
}

fn step(number: usize, step: &Step) -> Block {
    let head = if step.why.is_empty() {
        format!("`{}`", step.id)
    } else {
        format!("`{}`: {}", step.id, step.why)
    };
    Block::Item {
        number: Some(number),
        head,
        body: done(step),
    }
}

/// What a step does, in words.
fn done(step: &Step) -> Vec<Block> {
    let mut says = Vec::new();
    if let Some(compensate) = &step.compensate {
        says.push(Block::Text(
            "The committed phases are undone, the newest first, as the saga's file says; `redress plan RUN` shows each action.".into(),
        ));
        let other = compensate.actions.iter();
        says.extend(other.map(|(phase, action)| item(format!("`{phase}`: {}", action.as_str()))));
    }
    if let Some(back) = &step.rewind {
        let then = match back.then {
            Then::Stop => "stays there, failed, until somebody lets it go on",
            Then::Resume => "goes on from there by itself",
        };
        says.push(Block::Text(format!(
            "The run goes back to `{}` and {then}.",
            back.to
        )));
    }
    if let Some(transaction) = &step.transaction {
        says.extend(transaction_done(transaction));
    }
    if let Some(hold) = &step.hold {
        let what = match hold.scope {
            HoldScope::Run => "this run",
            HoldScope::Subject => "every run on this subject",
            HoldScope::Saga => "every run of this saga",
            HoldScope::All => "everything",
        };
        says.push(Block::Text(format!(
            "A hold stops {what} until a signature releases it."
        )));
    }
    if let Some(release) = &step.release {
        says.extend(released(release));
    }
    if step.resume.is_some() {
        says.push(Block::Text(
            "The run goes forward again, with the phase that failed.".into(),
        ));
    }
    if step.resolve.is_some() {
        says.push(Block::Text(
            "The run is closed by a signed decision as it stands; nothing more of it is undone."
                .into(),
        ));
    }
    if let Some(snapshot) = &step.snapshot {
        says.push(Block::Text("This is read and kept as evidence:".into()));
        says.extend(snapshot.queries.iter().map(kept));
    }
    if let Some(call) = &step.call {
        let time = duration::format(call.timeout);
        says.push(Block::Text(format!(
            "The adapter `{}` acts, for at most {time}, on:",
            call.adapter
        )));
        says.push(Block::Code(format!("{:#}", call.with)));
    }
    if let Some(wait) = &step.wait {
        says.extend(waited(wait));
    }
    if let Some(manual) = &step.manual {
        says.push(Block::Text("You do this:".into()));
        says.extend(instructed(&manual.instruction));
        let evidence = manual.evidence.iter();
        says.extend(evidence.map(|(name, what)| item(format!("attach `{name}`: {what}"))));
    }
    says
}

/// Prose flows as all prose does; lines to type stay as they are, those that follow each other in one block.
fn instructed(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for part in parts(text) {
        match (part, blocks.last_mut()) {
            (Part::Typed(line), Some(Block::Code(code))) => {
                code.push('\n');
                code.push_str(&line);
            }
            (Part::Typed(line), _) => blocks.push(Block::Code(line)),
            (Part::Prose(prose), _) => blocks.push(Block::Text(prose)),
        }
    }
    blocks
}

fn released(release: &Release) -> Vec<Block> {
    let mut says = Vec::new();
    match release.holds.as_deref() {
        None => {}
        Some("own") => says.push(Block::Text(
            "The holds that the run's own failure set are released.".into(),
        )),
        Some("run") => says.push(Block::Text(
            "The holds that name the run are released, and those that its own failure set.".into(),
        )),
        Some(pointer) => says.push(Block::Text(format!(
            "The hold that `{pointer}` names is released."
        ))),
    }
    if release.switch {
        says.push(Block::Text(
            "The kill switch is released: all work may go on.".into(),
        ));
    }
    says
}

fn kept(query: &Query) -> Block {
    let mut body = vec![Block::Code(query.sql.clone())];
    body.extend(bound(&query.params));
    Block::Item {
        number: None,
        head: format!("`{}`", query.name),
        body,
    }
}

fn waited(wait: &Wait) -> Vec<Block> {
    let mut says = Vec::new();
    if let Some(pause) = wait.pause {
        says.push(Block::Text(format!(
            "It waits {}.",
            duration::format(pause)
        )));
    }
    if let Some(until) = &wait.until {
        let time = duration::format(wait.timeout);
        says.push(Block::Text(format!(
            "It waits, at most {time}, until all of this is true:"
        )));
        says.push(Block::Code(until.sql.clone()));
    }
    says
}

fn transaction_done(transaction: &Transaction) -> Vec<Block> {
    let mut says = vec![Block::Text(
        "In one transaction, with its record, or not at all:".into(),
    )];
    let lists = [
        ("rows are locked", &transaction.lock),
        ("rows are kept as they were", &transaction.capture),
        ("this is done", &transaction.acts),
        ("this is appended", &transaction.append),
        (
            "before COMMIT all of this must be true",
            &transaction.verify,
        ),
    ];
    for (at, (what, statements)) in lists.into_iter().enumerate() {
        says.extend(statements.iter().map(|one| statement(what, one)));
        // After the locks and before anything is kept or done.
        if at == 0 {
            let again = match &transaction.recheck {
                None => "every check is made again".to_owned(),
                Some(listed) => {
                    let names: Vec<String> = listed.iter().map(|one| format!("`{one}`")).collect();
                    format!("these checks are made again: {}", names.join(", "))
                }
            };
            says.push(item(again));
        }
    }
    says
}

fn statement(what: &str, statement: &Statement) -> Block {
    let rows = match statement.rows {
        None => String::new(),
        Some(Rows::Exactly(count)) => format!(", exactly {count} rows"),
        Some(Rows::Between { min, max }) => format!(", {min} to {max} rows"),
    };
    let mut body = vec![Block::Code(statement.sql.clone())];
    body.extend(bound(&statement.params));
    Block::Item {
        number: None,
        head: format!("{what}{rows}:"),
        body,
    }
}

fn bound(params: &[redress::pointer::Pointer]) -> Option<Block> {
    let params = params.iter().enumerate();
    let bound: Vec<String> = params
        .map(|(at, one)| format!("${} is `{one}`", at + 1))
        .collect();
    (!bound.is_empty()).then(|| Block::Text(format!("{}.", bound.join(", "))))
}

fn limits(book: &Runbook) -> Vec<Block> {
    let limits = book.limits;
    let text = format!(
        "A plan may be applied for {}. A statement waits at most {} for a lock and takes at most {}.",
        duration::format(limits.plan_ttl),
        duration::format(limits.lock),
        duration::format(limits.statement)
    );
    let mut blocks = vec![Block::Text(text)];
    if let Some(role) = &book.role {
        blocks.push(Block::Text(format!(
            "Checks are read under the role `{role}`."
        )));
    }
    blocks
}

fn test(test: &Test) -> Block {
    let expect = &test.expect;
    let mut says = match expect.outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Refused => "refused".to_owned(),
    };
    if let Some(code) = &expect.code {
        says.push_str(&format!(" as {code}"));
    }
    if let Some(state) = &expect.state {
        says.push_str(&format!(", the run is {state}"));
    }
    item(format!("{} (`{}`): {says}", test.name, test.fixture))
}

fn paragraphs(text: &str) -> Vec<Block> {
    let parts = text
        .split("\n\n")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| Block::Text(part.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

fn item(head: String) -> Block {
    Block::Item {
        number: None,
        head,
        body: Vec::new(),
    }
}

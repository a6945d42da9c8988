//! A plan as a page: what it changes, what must hold, who has signed, and the next command.

use redress::plan::{CauseKind, PlannedAction};
use redress::view::{ActionPage, Next, PlanPage, PlanState, RunView};
use redress::{Engine, StoredPlan};
use redress_ledger::Hash;
use serde_json::{Value, json};

use crate::commands::look::{quorum_text, to_value};
use crate::commands::status::print_next;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::{fit, local, short_id};

/// A plan and what is known about it now.
pub struct Page<'p> {
    stored: &'p StoredPlan,
    page: PlanPage,
    view: RunView,
}

impl<'p> Page<'p> {
    /// Reads what the plan is about.
    ///
    /// # Errors
    /// [`Fail::Engine`].
    pub async fn read(engine: &Engine, stored: &'p StoredPlan) -> Result<Self, Fail> {
        Ok(Self {
            stored,
            page: engine.plan_page(stored).await?,
            view: engine.show(stored.plan.run).await?,
        })
    }

    /// The next act on the run, while this is its plan.
    fn next(&self) -> Option<&Next> {
        let its_own = self.view.plan.as_ref().map(|plan| plan.digest) == Some(self.stored.digest);
        self.view.next.as_ref().filter(|_| its_own)
    }

    fn state(&self) -> Option<PlanState> {
        let plan = self.view.plan.as_ref()?;
        (plan.digest == self.stored.digest).then_some(plan.state)
    }

    /// What stands beside the plan in JSON.
    ///
    /// # Errors
    /// RD0921, which no page gives.
    pub fn add_to(&self, value: &mut Value) -> Result<(), Fail> {
        value["code"] = json!(prefix(self.stored.digest));
        value["state"] = to_value(&self.state())?;
        let page = to_value(&self.page)?;
        for name in ["atomic", "details", "missing", "valid"] {
            value[name] = page[name].clone();
        }
        let plan = self.view.plan.as_ref();
        let own = plan.filter(|plan| plan.digest == self.stored.digest);
        value["approvals"] = to_value(&own.map(|plan| &plan.approvals))?;
        value["next"] = to_value(&self.next())?;
        Ok(())
    }

    /// Prints the page.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn print(&self, place: &Place) -> Result<(), Fail> {
        let (say, plan) = (&place.say, &self.stored.plan);
        let state = to_value(&self.state())?;
        let state = state.as_str().map(|state| format!(", {state}"));
        say.item("plan     ", &self.stored.digest.to_string())?;
        let code = prefix(self.stored.digest);
        say.item("code     ", &format!("{code}{}", state.unwrap_or_default()))?;
        let subject = self.view.subject.as_ref();
        let subject = subject
            .map(|text| format!(" on {text}"))
            .unwrap_or_default();
        say.item("run      ", &plan.run.to_string())?;
        let what = format!("{} version {}{subject}", plan.saga, plan.version);
        say.item("of       ", &what)?;
        say.item("because  ", &cause(&plan.cause.kind))?;
        say.item("reason   ", &plan.cause.reason)?;
        say.item("made on  ", &format!("record {}", plan.basis.seq))?;
        let how = match self.page.atomic {
            true => "in one transaction: all of it or nothing",
            false => {
                "step by step: each action in a transaction of its own, a stop is gone on from"
            }
        };
        say.item("how      ", how)?;
        if plan.actions.is_empty() {
            say.item("does     ", "nothing: no phase stands")?;
        }
        for (at, (action, page)) in plan.actions.iter().zip(&self.page.details).enumerate() {
            print_action(place, at + 1, action, page)?;
        }
        let names: Vec<String> = plan.baseline.iter().map(ToString::to_string).collect();
        let before = match names.is_empty() {
            true => "no baseline is compared".to_owned(),
            false => format!("before COMMIT as before the run: {}", names.join(", ")),
        };
        say.item("holds    ", &before)?;
        if let Some(target) = &plan.stops_at {
            say.item("then     ", &format!("the run stands before {target}"))?;
        }
        self.print_signatures(place)?;
        match self.next() {
            Some(next) => print_next(place, "next     ", next),
            None => Ok(()),
        }
    }

    fn print_signatures(&self, place: &Place) -> Result<(), Fail> {
        let say = &place.say;
        say.item("to sign  ", &quorum_text(&self.stored.plan.quorum))?;
        let given = self.view.plan.iter().flat_map(|plan| &plan.approvals);
        for one in given.filter(|_| self.state().is_some()) {
            let valid = self
                .page
                .valid
                .iter()
                .find(|valid| valid.principal == one.principal);
            let until = match (valid, one.counts) {
                (Some(valid), _) => format!("until {}", local(&valid.not_after)),
                (None, true) => "not verified here".to_owned(),
                (None, false) => "does not count".to_owned(),
            };
            say.item(
                "signed   ",
                &format!("{} ({}), {until}", one.principal, one.role),
            )?;
        }
        if self.page.missing.is_empty() {
            return Ok(());
        }
        say.item("missing  ", &quorum_text(&self.page.missing))
    }
}

fn print_action(
    place: &Place,
    number: usize,
    action: &PlannedAction,
    page: &ActionPage,
) -> Result<(), Fail> {
    let say = &place.say;
    let head = if number == 1 {
        "does     "
    } else {
        "         "
    };
    say.item(
        head,
        &format!("{number}. {} {}", action.action.as_str(), action.phase),
    )?;
    let sub = |name: &str, text: &str| say.item(&format!("            {name:<9}"), text);
    let code = action.code.map(|code| format!("[{}] ", code.as_str()));
    sub(
        "why",
        &format!("{}{}", code.unwrap_or_default(), action.why),
    )?;
    let rows: Vec<String> = page
        .rows
        .iter()
        .map(|(place, rows)| match rows.as_u64() {
            Some(1) => format!("{place}: 1 row"),
            _ => format!("{place}: {rows} rows"),
        })
        .collect();
    match (rows.is_empty(), page.writes.is_empty()) {
        (false, _) => sub("touched", &rows.join(", "))?,
        (true, false) => sub("may change", &page.writes.join(", "))?,
        (true, true) => sub("touched", "no relation")?,
    }
    sub("guards", &listed(&page.guards))?;
    sub("verifies", &listed(&page.verifications))
}

/// How many there are, and the first words of each.
fn listed(texts: &[String]) -> String {
    if texts.is_empty() {
        return "none".to_owned();
    }
    let first: Vec<String> = texts
        .iter()
        .take(SHOWN_MAX)
        .map(|text| fit(text, WORDS_CELLS))
        .collect();
    let more = texts.len().saturating_sub(SHOWN_MAX);
    let more = if more > 0 {
        format!("; {more} more")
    } else {
        String::new()
    };
    format!("{}: {}{more}", texts.len(), first.join("; "))
}

fn cause(kind: &CauseKind) -> String {
    match kind {
        CauseKind::Failure {
            phase,
            code,
            message,
        } => format!("{phase} failed: [{code}] {message}"),
        CauseKind::Cancelled {} => "the run was cancelled".to_owned(),
        CauseKind::Requested {} => "somebody asks for it".to_owned(),
        CauseKind::RewindTo { phase, trigger, .. } => {
            format!("back to {phase} ({})", trigger.as_str())
        }
    }
}

/// The beginning of a digest, by which a plan is found.
pub fn prefix(digest: Hash) -> String {
    let text = digest.to_string();
    text[..PREFIX_CHARS].to_owned()
}

/// What is typed to sign a plan.
pub fn word(stored: &StoredPlan) -> String {
    short_id(stored.plan.run)
}

const PREFIX_CHARS: usize = 12;
/// Statements of which the first words are shown.
const SHOWN_MAX: usize = 3;
const WORDS_CELLS: usize = 48;

//! What a check found: how things are, what that means, and what to do.

use serde_json::{Value, json};

/// How a check came out; a later one is worse.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum State {
    /// As it should be.
    Ok,
    /// It could not be found out.
    Unknown,
    /// It goes on, and somebody should look.
    Warn,
    /// A person must act.
    Fail,
}

impl State {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }

    /// The words on a screen.
    pub fn words(self) -> &'static str {
        match self {
            Self::Unknown => "could not tell",
            other => other.as_str(),
        }
    }
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name, such as `server.version`.
    pub name: &'static str,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What that means; empty where nothing is wrong.
    pub means: String,
    /// What to do; empty where nothing is to be done.
    pub next: String,
    /// The error that it leads to, if it has a page.
    pub code: Option<&'static str>,
}

impl Check {
    fn new(name: &'static str, state: State, found: impl Into<String>) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            means: String::new(),
            next: String::new(),
            code: None,
        }
    }

    /// As it should be.
    pub fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self::new(name, State::Ok, found)
    }

    /// Not found out, and how somebody can.
    pub fn unknown(name: &'static str, found: impl Into<String>, next: impl Into<String>) -> Self {
        Self {
            next: next.into(),
            ..Self::new(name, State::Unknown, found)
        }
    }

    /// Somebody should look.
    pub fn warn(
        name: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            means: means.into(),
            next: next.into(),
            ..Self::new(name, State::Warn, found)
        }
    }

    /// A person must act.
    pub fn fail(
        name: &'static str,
        found: impl Into<String>,
        means: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            state: State::Fail,
            ..Self::warn(name, found, means, next)
        }
    }

    /// Names the error that it leads to.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The runbook that is about its error.
    pub fn runbook(&self) -> Option<&'static str> {
        let code = self.code?;
        redress_runbooks::library::about(code).first().copied()
    }

    /// This check as JSON.
    pub fn json(&self) -> Value {
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        json!({
            "check": self.name, "state": self.state.as_str(), "found": self.found,
            "means": some(&self.means), "next": some(&self.next),
            "code": self.code, "runbook": self.runbook(),
        })
    }
}

//! Every way in which a command can end without doing what was asked, and how that is told.

use std::path::PathBuf;

use redress::adapter::Finding;
use redress::definition::DefinitionError;
use redress_ledger::key::KeyError;
use redress_ledger::keyfile::KeyFileError;
use redress_ledger::trust::TrustError;
use redress_runbooks::execute::ExecuteError;
use serde_json::{Value, json};
use thiserror::Error;

use crate::cluster::ClusterError;
use crate::exit::Exit;
use crate::say::Say;

/// A command did not do what was asked.
#[derive(Debug, Error)]
pub enum Fail {
    /// The engine said no.
    #[error(transparent)]
    Engine(#[from] redress::Error),
    /// The private server cannot be had.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A key file is not accepted.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// A key is not accepted.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The trust file is not accepted.
    #[error("{source}, trust file {}", path.display())]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: TrustError,
    },
    /// A saga file is refused.
    #[error("the saga file is refused, with {} finding(s)", .0.len())]
    Saga(Vec<Located>),
    /// Runbooks are refused.
    #[error("the runbook is refused, with {} finding(s)", .0.len())]
    Runbook(Vec<Located>),
    /// A question that cannot be asked, because of what the reader handed in.
    #[error("{message}")]
    Unasked {
        /// The stable code.
        code: &'static str,
        /// What happened.
        message: String,
    },
    /// A runbook was refused, or not carried out to its end.
    #[error(transparent)]
    Execute(Box<ExecuteError>),
    /// Something of the command itself.
    #[error("{message}")]
    Own {
        /// The stable code.
        code: &'static str,
        /// What happened.
        message: String,
    },
    /// Whoever reads our output has gone; that is no error.
    #[error("the output is closed")]
    ClosedPipe,
}

/// One finding of a saga file, with its place.
#[derive(Clone, Debug)]
pub struct Located {
    /// The stable code.
    pub code: &'static str,
    /// `FILE:LINE:COLUMN`, or nothing where there is no file.
    pub place: String,
    /// The line, from 1; 0 where there is no file.
    pub line: u32,
    /// The column, from 1; 0 where there is no file.
    pub column: u32,
    /// The value, as a JSON pointer into the definition.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl Located {
    /// A finding without a file: only its pointer says where.
    pub fn nowhere(finding: &Finding) -> Self {
        Self {
            code: finding.code,
            place: finding.path.clone(),
            line: 0,
            column: 0,
            path: finding.path.clone(),
            message: finding.message.clone(),
        }
    }

    /// This finding as JSON.
    pub fn json(&self) -> Value {
        json!({
            "code": self.code,
            "message": self.message,
            "path": self.path,
            "place": self.place,
            "line": self.line,
            "column": self.column,
        })
    }
}

impl From<DefinitionError> for Located {
    fn from(error: DefinitionError) -> Self {
        Self {
            code: error.code(),
            place: format!("{}:{}:{}", error.file, error.line, error.column),
            line: error.line,
            column: error.column,
            message: error.message(),
            path: error.path,
        }
    }
}

impl From<ExecuteError> for Fail {
    fn from(error: ExecuteError) -> Self {
        Self::Execute(Box::new(error))
    }
}

impl Fail {
    /// A failure of the command itself.
    pub fn own(code: &'static str, message: impl Into<String>) -> Self {
        Self::Own {
            code,
            message: message.into(),
        }
    }

    /// The same failure, told as a wrong command line: nothing was judged.
    pub fn unasked(fail: Fail) -> Self {
        Self::Unasked {
            code: fail.code(),
            message: fail.to_string(),
        }
    }

    /// What is about to be signed was not read to its end: that is no quiet end.
    pub fn unread(fail: Fail) -> Self {
        match fail {
            Self::ClosedPipe => Self::own(
                "RD0921",
                "nobody reads what is to be signed: nothing was signed",
            ),
            other => other,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine(error) => error.code(),
            Self::Cluster(error) => error.code(),
            Self::KeyFile(error) => error.code(),
            Self::Key(error) => error.code(),
            Self::Trust { source, .. } => source.code(),
            Self::Saga(findings) | Self::Runbook(findings) => {
                findings.first().map_or("RD0110", |finding| finding.code)
            }
            Self::Execute(error) => error.code(),
            Self::Own { code, .. } | Self::Unasked { code, .. } => code,
            Self::ClosedPipe => "RD0921",
        }
    }

    /// The exit status.
    pub fn exit(&self) -> Exit {
        match self {
            // Whatever is wrong with a definition, it was refused and nothing changed.
            Self::Saga(_) | Self::Runbook(_) | Self::Engine(redress::Error::Definition(_)) => {
                Exit::Refused
            }
            Self::Trust { .. } => Exit::Configuration,
            Self::Unasked { .. } => Exit::Usage,
            Self::ClosedPipe => Exit::Done,
            // Rights that are missing are a matter of how the installation is set up.
            Self::Engine(error) if error.sqlstate() == Some("42501") => Exit::Configuration,
            Self::Execute(error) => match error.as_ref() {
                ExecuteError::Engine(error) if error.sqlstate() == Some("42501") => {
                    Exit::Configuration
                }
                other => Exit::of_code(other.code()).unwrap_or(Exit::Failed),
            },
            other => Exit::of_code(other.code()).unwrap_or(Exit::Failed),
        }
    }

    fn findings(&self) -> Vec<Located> {
        match self {
            Self::Saga(findings) | Self::Runbook(findings) => findings.clone(),
            Self::Engine(redress::Error::Definition(findings)) => {
                findings.iter().map(Located::nowhere).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The failure as the one JSON value of a command: `errors` has every error, `error` the first of them with what
    /// stands and what to do next.
    pub fn json(&self) -> Value {
        let page = redress_runbooks::page(self.code());
        let mut errors: Vec<Value> = self.findings().iter().map(Located::json).collect();
        if errors.is_empty() {
            errors.push(json!({"code": self.code(), "message": self.to_string()}));
        }
        let mut value = json!({
            "schema": 1,
            "error": {
                "code": self.code(),
                "message": self.to_string(),
                "stands": page.map(|page| page.stands),
                "next": page.map(|page| page.next),
                "runbook": redress_runbooks::library::about(self.code()).first(),
            },
            "errors": errors,
        });
        if let Self::Execute(error) = self
            && let ExecuteError::Waits {
                step,
                instruction,
                evidence,
            } = error.as_ref()
        {
            value["error"]["step"] = json!(step);
            value["error"]["instruction"] = json!(instruction);
            value["error"]["evidence"] = json!(evidence);
        }
        if let Some((refusal, next)) = self.refusal() {
            value["error"]["refusal"] = json!(refusal);
            value["error"]["next_runbook"] = json!(next);
        }
        value
    }

    /// The runbook's own code for a refusal, and the runbook that is right then.
    fn refusal(&self) -> Option<(Option<&str>, Option<&str>)> {
        let Self::Execute(error) = self else {
            return None;
        };
        match error.as_ref() {
            ExecuteError::Refused { refusal, next, .. } => {
                Some((refusal.as_deref(), next.as_deref()))
            }
            _ => None,
        }
    }

    /// Tells what happened, what stands and what to do next.
    pub fn tell(&self, say: &Say) {
        if matches!(self, Self::ClosedPipe) {
            return;
        }
        let findings = self.findings();
        for finding in &findings {
            say.error(
                finding.code,
                &format!("{}: {}", finding.place, finding.message),
            );
        }
        if findings.is_empty() {
            say.error(self.code(), &self.to_string());
        }
        if let Some((Some(refusal), _)) = self.refusal() {
            say.hint("refused", refusal);
        }
        if let Some((_, Some(next))) = self.refusal() {
            say.hint("runbook", &format!("redress runbook show {next}"));
        }
        if let Some(page) = redress_runbooks::page(self.code()) {
            say.hint("stands", page.stands);
            say.hint("next", page.next);
        }
        let refused = self.refusal().is_some_and(|(_, next)| next.is_some());
        let about = redress_runbooks::library::about(self.code());
        if let Some(name) = about.first().filter(|_| !refused) {
            say.hint("runbook", &format!("redress runbook show {name}"));
        }
        if say.is_json() {
            // Standard output may be closed; there is nobody left to tell.
            let _ = say.value(&self.json());
        }
    }
}

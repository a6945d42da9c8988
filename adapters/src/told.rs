//! Who a worker tells of what happens: programs and web hooks, as its `redress.toml` names them.
//!
//! **Invariant:** a configuration that names somebody who cannot be told is refused as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use redress::alert::{AlertSink, CommandSink};
use redress::notify::Topic;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{ConfigError, HttpConfig, is_plain};
use crate::http::{Source, WebhookSink};

/// One who is told: a program or a web hook.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NotifyConfig {
    /// The name under which it is remembered how far it was told.
    pub name: String,
    /// What it hears of; holds, stuck and compensated runs unless it says otherwise.
    #[serde(default = "usual_topics")]
    pub on: Vec<String>,
    /// A program that gets each notification as JSON on its standard input; an absolute path.
    pub command: Option<PathBuf>,
    /// A URL that each notification is posted to; its host is one of `http.hosts`.
    pub url: Option<String>,
    /// A header with a secret, for a URL.
    pub header: Option<HookSecret>,
}

/// A header whose value is a secret.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct HookSecret {
    /// The header's name.
    pub name: String,
    /// What stands before the secret, such as `Bearer `.
    #[serde(default)]
    pub prefix: String,
    /// The variable that has it, one of `http.secret_env`.
    pub env: Option<String>,
    /// The file that has it, one of `http.secret_files`.
    pub file: Option<PathBuf>,
}

impl HookSecret {
    /// Where the secret is; the configuration names exactly one place.
    pub(crate) fn source(&self) -> Source {
        match (&self.env, &self.file) {
            (Some(name), _) => Source::Env(name.clone()),
            (None, file) => Source::File(file.clone().unwrap_or_default()),
        }
    }
}

impl NotifyConfig {
    /// What it hears of.
    ///
    /// # Errors
    /// [`ConfigError::Notify`] naming a word that is none.
    pub fn topics(&self) -> Result<Vec<Topic>, ConfigError> {
        let topics = self.on.iter().map(|word| word.parse());
        let topics: Result<_, String> = topics.collect();
        topics.map_err(|why| self.wrong(why))
    }

    /// Who it is.
    ///
    /// # Errors
    /// [`ConfigError::Notify`] when it is not exactly one of a program and a URL that may be reached.
    pub fn sink(&self, http: &HttpConfig) -> Result<Arc<dyn AlertSink>, ConfigError> {
        match (&self.command, &self.url) {
            (Some(program), None) if is_plain(program) && self.header.is_none() => {
                Ok(Arc::new(CommandSink::new(program)))
            }
            (None, Some(url)) => {
                if let Some(header) = &self.header
                    && header.env.is_some() == header.file.is_some()
                {
                    return Err(self.wrong("its header has `env` or `file`".to_owned()));
                }
                let sink = WebhookSink::new(url, self.header.clone(), http);
                Ok(Arc::new(sink.map_err(|why| self.wrong(why))?))
            }
            (Some(_), None) => Err(self.wrong(
                "`command` is an absolute path without `..`, and has no `header`".to_owned(),
            )),
            _ => Err(self.wrong("it has either `command` or `url`".to_owned())),
        }
    }

    pub(crate) fn wrong(&self, why: String) -> ConfigError {
        let name = self.name.clone();
        ConfigError::Notify { name, why }
    }
}

fn usual_topics() -> Vec<String> {
    let usual = [Topic::Hold, Topic::Stuck, Topic::Compensated];
    usual.map(|topic| topic.as_str().to_owned()).to_vec()
}

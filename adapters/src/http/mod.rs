//! The `http` adapter: one request to a host that the worker lists, with an idempotency key, a probe and an undo.
//!
//! | answer | act, undo | probe |
//! |---|---|---|
//! | `expect`, else 2xx | done | `done`, else 2xx: done, unless `when` says otherwise |
//! | 429, or listed under `retry` | nothing was done, try again | cannot tell |
//! | any other 4xx but 408 | no: nothing was done | `not_done`, else 404 and 410: not done |
//! | 3xx, 408, 5xx, an answer that ends early, none in time | the probe is asked | cannot tell |
//! | no connection | nothing was done, try again | cannot tell |
//!
//! **Invariant:** host and scheme are fixed text and listed by the worker, at registration and at every request; no
//! redirect is followed and no proxy used. Values become whole segments, query values, headers or JSON values.
//!
//! **Invariant:** a secret is read when it is sent, and taken out of whatever is kept or said.
//!
//! **What can go wrong:** a server that says 4xx after it has acted breaks what a 4xx means. One that does not heed the
//! idempotency key may act twice, when a try is still on its way while the probe says "not done".

use async_trait::async_trait;
use redress::adapter::{AdapterError, Applied, Finding};
use redress::definition::{Compensation, Phase};
use redress::external::{ActError, ExternalAdapter, ExternalCall, Probe, Undo, WayBack};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::{Map, Value, json};

mod check;
mod hook;
mod host;
mod secret;
mod send;
mod with;

pub use hook::WebhookSink;
pub use host::Host;
pub use send::BODY_BYTES_MAX;
pub use with::{
    Header, KEY_HEADER, ProbeRequest, Request, Source, UndoRequest, When as WhenSaid, With,
};

use crate::config::HttpConfig;
use crate::finding::read_with;
use crate::pieces::{context_of, prepared};
use send::{Answer, Wire, ready};
use with::Ask;

/// The name that saga files use.
pub const NAME: &str = "http";
/// Most characters of an answer in an error.
const SAID_CHARS_MAX: usize = 500;

/// Sends requests to hosts that its worker lists.
#[derive(Debug, Default)]
pub struct HttpAdapter {
    config: HttpConfig,
    wire: Wire,
}

/// An answer that came whole.
struct Whole {
    status: u16,
    text: String,
    more: bool,
}

impl HttpAdapter {
    /// May reach what is listed.
    pub fn new(config: HttpConfig) -> Self {
        Self {
            config,
            wire: Wire::default(),
        }
    }

    fn read(&self, phase: &Phase) -> Result<With, AdapterError> {
        read_with(&phase.with).map_err(|finding| {
            AdapterError::Hold(format!("`with{}`: {}", finding.path, finding.message))
        })
    }

    /// Sends what acts: done with its answer, certainly not done, or unknown.
    async fn doing(
        &self,
        ask: Ask<'_>,
        lists: (&[u16], &[u16]),
        header: &str,
        call: &ExternalCall<'_>,
    ) -> Result<Whole, ActError> {
        let context = context_of(call);
        let key = (header, call.key);
        let request = ready(ask, &context, &self.config, key, Method::POST);
        let request = request.map_err(ActError::NotDone)?;
        let answer = self.wire.send(&request, &self.config, call.limit).await;
        let (expect, retry) = lists;
        match answer.map_err(ActError::NotDone)? {
            Answer::NotSent(why) => Err(ActError::again(why)),
            Answer::Lost(why) => Err(ActError::unknown(why)),
            Answer::Got {
                status,
                body,
                more,
                broken,
            } => {
                let text = shown(&body, &request.secrets);
                let said = || said(status, &text);
                if is_listed(status, expect, &[200..=299]) {
                    return match broken {
                        Some(why) => Err(ActError::unknown(format!("{}: {why}", said()))),
                        None => Ok(Whole { status, text, more }),
                    };
                }
                match status {
                    _ if status == 429 || retry.contains(&status) => Err(ActError::again(said())),
                    408 => Err(ActError::unknown(said())),
                    400..=499 => Err(ActError::refused(said())),
                    _ => Err(ActError::unknown(said())),
                }
            }
        }
    }

    /// Sends what only looks.
    async fn looking(
        &self,
        ask: Ask<'_>,
        key: (&str, &str),
        call: &ExternalCall<'_>,
    ) -> Result<Whole, AdapterError> {
        let context = context_of(call);
        let request = ready(ask, &context, &self.config, key, Method::GET)?;
        match self.wire.send(&request, &self.config, call.limit).await? {
            Answer::NotSent(why) | Answer::Lost(why) => Err(AdapterError::Transient(why)),
            Answer::Got {
                broken: Some(why), ..
            } => Err(AdapterError::Transient(why)),
            Answer::Got {
                status, body, more, ..
            } => Ok(Whole {
                status,
                text: shown(&body, &request.secrets),
                more,
            }),
        }
    }

    async fn asked(
        &self,
        probe: &ProbeRequest,
        key: (&str, &str),
        call: &ExternalCall<'_>,
    ) -> Result<Option<Whole>, String> {
        let answer = match self.looking(probe.request(), key, call).await {
            Ok(answer) => answer,
            Err(error) => return Err(format!("the probe: {error}")),
        };
        let not_done = &[404..=404, 410..=410];
        if is_listed(answer.status, &probe.not_done, not_done)
            && !probe.done.contains(&answer.status)
        {
            return Ok(None);
        }
        if !is_listed(answer.status, &probe.done, &[200..=299]) {
            return Err(format!("the probe: {}", said(answer.status, &answer.text)));
        }
        let Some(when) = &probe.when else {
            return Ok(Some(answer));
        };
        let value: Option<Value> = serde_json::from_str(&answer.text).ok();
        match value.as_ref().and_then(|value| when.pointer.resolve(value)) {
            None => Err(format!(
                "the probe's answer has nothing at {}",
                when.pointer
            )),
            Some(found) if *found == when.equals => Ok(Some(answer)),
            Some(_) => Ok(None),
        }
    }
}

#[async_trait]
impl ExternalAdapter for HttpAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        match read_with::<With>(&phase.with) {
            Ok(with) => check::check(&with, &self.config),
            Err(finding) => vec![finding],
        }
    }

    fn way_back(&self, phase: &Phase) -> WayBack<'_> {
        match read_with::<With>(&phase.with) {
            Ok(with) if with.read_only => WayBack::Nothing,
            Ok(with) if with.undo.is_some() => WayBack::Undo(self),
            _ => WayBack::Irreversible,
        }
    }

    async fn prepare(&self, call: &ExternalCall<'_>) -> Result<Value, AdapterError> {
        let with = self.read(call.phase)?;
        let key = (header_of(&with), call.act_key);
        let Some(capture) = &with.capture else {
            // What may not be reached from here, or points to nothing, must not get as far as an intent.
            let context = context_of(call);
            ready(with.request(), &context, &self.config, key, Method::POST)?;
            return Ok(prepared(None));
        };
        let answer = self.looking(capture.request(), key, call).await?;
        match answer.status {
            200..=299 => Ok(prepared(Some(output_of(&answer)))),
            408 | 429 | 500..=599 => Err(AdapterError::Transient(format!(
                "capture: {}",
                said(answer.status, &answer.text)
            ))),
            _ => Err(AdapterError::Business(format!(
                "capture: {}",
                said(answer.status, &answer.text)
            ))),
        }
    }

    async fn act(&self, call: &ExternalCall<'_>) -> Result<Applied, ActError> {
        let with = self.read(call.phase).map_err(ActError::NotDone)?;
        let lists = (with.expect.as_slice(), with.retry.as_slice());
        let answer = self
            .doing(with.request(), lists, header_of(&with), call)
            .await?;
        Ok(applied(&answer))
    }

    async fn probe(&self, call: &ExternalCall<'_>) -> Probe<Applied> {
        let with = match self.read(call.phase) {
            Ok(with) => with,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        let Some(probe) = &with.probe else {
            // What changes nothing may be done again, everything else cannot be told.
            return match with.read_only && call.phase.compensation == Compensation::None {
                true => Probe::NotDone,
                false => Probe::Unknown("the phase has no probe".to_owned()),
            };
        };
        match self
            .asked(probe, (header_of(&with), call.act_key), call)
            .await
        {
            Ok(Some(answer)) => Probe::Done(applied(&answer)),
            Ok(None) => Probe::NotDone,
            Err(why) => Probe::Unknown(why),
        }
    }
}

#[async_trait]
impl Undo for HttpAdapter {
    async fn undo(&self, call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError> {
        let with = self.read(call.phase).map_err(ActError::NotDone)?;
        let Some(undo) = &with.undo else {
            return Err(ActError::refused("the phase has no undo"));
        };
        let lists = (undo.expect.as_slice(), undo.retry.as_slice());
        self.doing(undo.request(), lists, header_of(&with), call)
            .await?;
        Ok(touched())
    }

    async fn probe_undo(&self, call: &ExternalCall<'_>) -> Probe<Map<String, Value>> {
        let with = match self.read(call.phase) {
            Ok(with) => with,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        let header = header_of(&with);
        let own = with.undo.as_ref().and_then(|undo| undo.probe.as_ref());
        let found = match (own, &with.probe) {
            (Some(own), _) => {
                let found = self.asked(own, (header, call.key), call).await;
                found.map(|found| found.is_some())
            }
            (None, Some(act)) => {
                let found = self.asked(act, (header, call.act_key), call).await;
                found.map(|found| found.is_none())
            }
            (None, None) => Err("the undo has no probe".to_owned()),
        };
        match found {
            Ok(true) => Probe::Done(touched()),
            Ok(false) => Probe::NotDone,
            Err(why) => Probe::Unknown(why),
        }
    }
}

fn header_of(with: &With) -> &str {
    with.key_header.as_deref().unwrap_or(KEY_HEADER)
}

fn is_listed(status: u16, list: &[u16], usual: &[std::ops::RangeInclusive<u16>]) -> bool {
    match list {
        [] => usual.iter().any(|range| range.contains(&status)),
        list => list.contains(&status),
    }
}

fn touched() -> Map<String, Value> {
    Map::from_iter([("http".to_owned(), json!(1))])
}

fn applied(answer: &Whole) -> Applied {
    let output = output_of(answer);
    Applied {
        undo: json!({ "done": output }),
        output,
        touched: touched(),
    }
}

/// What is kept of an answer: its status, and its JSON or its text.
fn output_of(answer: &Whole) -> Map<String, Value> {
    let mut output = Map::from_iter([("status".to_owned(), json!(answer.status))]);
    match serde_json::from_str::<Value>(&answer.text) {
        Ok(value) => output.insert("json".to_owned(), value),
        Err(_) if answer.text.is_empty() => None,
        Err(_) => output.insert("text".to_owned(), json!(answer.text)),
    };
    if answer.more {
        output.insert("cut".to_owned(), json!(true));
    }
    output
}

fn shown(body: &[u8], secrets: &[SecretString]) -> String {
    secret::hidden(&String::from_utf8_lossy(body), secrets)
}

fn said(status: u16, text: &str) -> String {
    let text: String = text.chars().take(SAID_CHARS_MAX).collect();
    match text.trim() {
        "" => format!("the server answered {status}"),
        text => format!("the server answered {status}: {text}"),
    }
}

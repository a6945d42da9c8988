//! The `command` adapter: one program, listed by the worker, run without a shell, with a probe and an undo.
//!
//! ```text
//! with -> check (programs, pointers) -> capture | act | probe | undo, each: argv -> process group -> exit code, output
//! ```
//!
//! | exit code | act, undo | probe |
//! |---|---|---|
//! | 0 | done | done |
//! | 1 | no | not done |
//! | 75, or listed under `retry` | nothing was done, try again | cannot tell |
//! | listed under `unknown` | the probe is asked | cannot tell |
//! | any other one | no: nothing was done | cannot tell |
//! | a signal, or no end in time | the probe is asked | cannot tell |
//!
//! **Invariant:** what is run is one of the worker's own list, at registration and at every run; the rest of argv is
//! fixed text or whole values. The environment holds `PATH`, the keys and what both sides name, nothing else.
//!
//! **What can go wrong:** a command that says "no" after it has begun breaks its promise; one that cannot keep it lists
//! its codes under `unknown`.

use async_trait::async_trait;
use redress::adapter::{AdapterError, Applied, Finding};
use redress::definition::{Compensation, Phase};
use redress::external::{ActError, ExternalAdapter, ExternalCall, Probe, Undo, WayBack};
use redress::pointer::Pointer;
use serde_json::{Map, Value, json};

mod check;
mod process;
mod with;

pub use process::{STDERR_BYTES_MAX, STDOUT_BYTES_MAX};
pub use with::{Command, Output, Undo as UndoWith, With};

use crate::config::CommandConfig;
use crate::finding::read_with;
use crate::pieces::{Piece, context_of, found, prepared};
use process::{Ended, How, Spec, run};

/// The name that saga files use.
pub const NAME: &str = "command";
/// The exit code that says: not now (`EX_TEMPFAIL`).
const TRY_AGAIN: i32 = 75;
/// Where programs that a command runs itself are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs programs that its worker lists.
#[derive(Clone, Debug, Default)]
pub struct CommandAdapter {
    config: CommandConfig,
}

impl CommandAdapter {
    /// May run what is listed.
    pub fn new(config: CommandConfig) -> Self {
        Self { config }
    }

    fn read(&self, phase: &Phase) -> Result<With, AdapterError> {
        read_with(&phase.with).map_err(|finding| {
            AdapterError::Hold(format!("`with{}`: {}", finding.path, finding.message))
        })
    }

    /// What is to be run; an error means that nothing was.
    fn spec(
        &self,
        with: &With,
        argv: &[Piece],
        stdin: Option<&Pointer>,
        call: &ExternalCall<'_>,
    ) -> Result<Spec, AdapterError> {
        let Some(Piece::Text(program)) = argv.first() else {
            let text = "the program is missing, or is no fixed text";
            return Err(AdapterError::Hold(text.to_owned()));
        };
        // Looked at again: a definition is older than the configuration of today.
        if let Some(why) = check::unlisted(program, &self.config) {
            return Err(AdapterError::Hold(why));
        }
        let context = context_of(call);
        let mut args = Vec::with_capacity(argv.len());
        for piece in &argv[1..] {
            let text = piece.text(&context)?;
            if text.contains('\0') {
                let text = "an argument cannot hold U+0000".to_owned();
                return Err(AdapterError::Business(text));
            }
            args.push(text);
        }
        let mut env = vec![
            ("PATH".to_owned(), PATH.into()),
            ("REDRESS_KEY".to_owned(), call.act_key.into()),
        ];
        if call.key != call.act_key {
            env.push(("REDRESS_UNDO_KEY".to_owned(), call.key.into()));
        }
        for name in &with.env {
            if !self.config.env.contains(name) {
                let text = format!("this worker does not hand on the variable: {name}");
                return Err(AdapterError::Hold(text));
            }
            env.extend(std::env::var_os(name).map(|value| (name.clone(), value)));
        }
        let stdin = match stdin {
            Some(pointer) => Some(found(pointer, &context)?.to_string().into_bytes()),
            None => None,
        };
        Ok(Spec {
            program: program.into(),
            args,
            env,
            cwd: with.cwd.as_deref().unwrap_or("/").into(),
            stdin,
            limit: call.limit,
        })
    }

    /// Runs what acts: done with its output, certainly not done, or unknown.
    async fn doing(
        &self,
        with: &With,
        argv: &[Piece],
        stdin: Option<&Pointer>,
        call: &ExternalCall<'_>,
    ) -> Result<Ended, ActError> {
        let spec = self
            .spec(with, argv, stdin, call)
            .map_err(ActError::NotDone)?;
        let ended = run(&spec)
            .await
            .map_err(|error| ActError::NotDone(not_run(&spec, &error)))?;
        match ended.how {
            How::Exit(0) => Ok(ended),
            How::Exit(code) if code == TRY_AGAIN || with.retry.contains(&code) => {
                Err(ActError::again(said(&ended)))
            }
            How::Exit(code) if with.unknown.contains(&code) => Err(ActError::unknown(said(&ended))),
            How::Exit(_) => Err(ActError::refused(said(&ended))),
            How::Signal(_) | How::TimedOut => Err(ActError::unknown(said(&ended))),
        }
    }

    /// Runs what only looks.
    async fn looking(
        &self,
        with: &With,
        command: &Command,
        call: &ExternalCall<'_>,
    ) -> Result<Ended, AdapterError> {
        let spec = self.spec(with, &command.argv, command.stdin.as_ref(), call)?;
        run(&spec).await.map_err(|error| not_run(&spec, &error))
    }

    async fn asked(
        &self,
        with: &With,
        probe: &Command,
        call: &ExternalCall<'_>,
    ) -> Result<Option<Ended>, String> {
        match self.looking(with, probe, call).await {
            Err(error) => Err(error.to_string()),
            Ok(ended) => match ended.how {
                How::Exit(0) => Ok(Some(ended)),
                How::Exit(1) => Ok(None),
                _ => Err(format!("the probe {}", said(&ended))),
            },
        }
    }
}

#[async_trait]
impl ExternalAdapter for CommandAdapter {
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
        let Some(capture) = &with.capture else {
            // What may not be run here, or points to nothing, must not get as far as an intent.
            self.spec(&with, &with.argv, with.stdin.as_ref(), call)?;
            return Ok(prepared(None));
        };
        let ended = self.looking(&with, capture, call).await?;
        match ended.how {
            How::Exit(0) => {
                Ok(prepared(Some(output_of(&with, &ended).map_err(|why| {
                    AdapterError::Business(format!("capture: {why}"))
                })?)))
            }
            How::Exit(code) if code == TRY_AGAIN || with.retry.contains(&code) => {
                Err(AdapterError::Transient(format!("capture {}", said(&ended))))
            }
            How::TimedOut => Err(AdapterError::Transient(format!("capture {}", said(&ended)))),
            _ => Err(AdapterError::Business(format!("capture {}", said(&ended)))),
        }
    }

    async fn act(&self, call: &ExternalCall<'_>) -> Result<Applied, ActError> {
        let with = self.read(call.phase).map_err(ActError::NotDone)?;
        let ended = self
            .doing(&with, &with.argv, with.stdin.as_ref(), call)
            .await?;
        applied(&with, &ended).map_err(ActError::unknown)
    }

    async fn probe(&self, call: &ExternalCall<'_>) -> Probe<Applied> {
        let with = match self.read(call.phase) {
            Ok(with) => with,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        let Some(probe) = &with.probe else {
            return unprobed(&with, call.phase);
        };
        match self.asked(&with, probe, call).await {
            Ok(None) => Probe::NotDone,
            Ok(Some(ended)) => match applied(&with, &ended) {
                Ok(applied) => Probe::Done(applied),
                Err(why) => Probe::Unknown(format!("the probe says that it was done, and {why}")),
            },
            Err(why) => Probe::Unknown(why),
        }
    }
}

#[async_trait]
impl Undo for CommandAdapter {
    async fn undo(&self, call: &ExternalCall<'_>) -> Result<Map<String, Value>, ActError> {
        let with = self.read(call.phase).map_err(ActError::NotDone)?;
        let Some(undo) = &with.undo else {
            return Err(ActError::refused("the phase has no undo"));
        };
        self.doing(&with, &undo.argv, undo.stdin.as_ref(), call)
            .await?;
        Ok(touched())
    }

    async fn probe_undo(&self, call: &ExternalCall<'_>) -> Probe<Map<String, Value>> {
        let with = match self.read(call.phase) {
            Ok(with) => with,
            Err(error) => return Probe::Unknown(error.to_string()),
        };
        let own = with.undo.as_ref().and_then(|undo| undo.probe.as_ref());
        let (probe, of_act) = match (own, &with.probe) {
            (Some(own), _) => (own, false),
            (None, Some(act)) => (act, true),
            (None, None) => return Probe::Unknown("the undo has no probe".to_owned()),
        };
        match self.asked(&with, probe, call).await {
            Ok(done) if done.is_some() != of_act => Probe::Done(touched()),
            Ok(_) => Probe::NotDone,
            Err(why) => Probe::Unknown(why),
        }
    }
}

/// Without a probe: what changes nothing may be done again, everything else cannot be told.
fn unprobed(with: &With, phase: &Phase) -> Probe<Applied> {
    match with.read_only && phase.compensation == Compensation::None {
        true => Probe::NotDone,
        false => Probe::Unknown("the phase has no probe".to_owned()),
    }
}

fn touched() -> Map<String, Value> {
    Map::from_iter([("command".to_owned(), json!(1))])
}

fn applied(with: &With, ended: &Ended) -> Result<Applied, String> {
    let output = output_of(with, ended)?;
    Ok(Applied {
        undo: json!({ "done": output }),
        output,
        touched: touched(),
    })
}

/// What is kept of standard output; what went beyond the bound is said.
fn output_of(with: &With, ended: &Ended) -> Result<Map<String, Value>, String> {
    let mut output = Map::new();
    match with.output {
        Output::Text => {
            output.insert("stdout".to_owned(), json!(ended.stdout.text()));
        }
        Output::Json => {
            let value: Value = serde_json::from_slice(&ended.stdout.bytes)
                .map_err(|error| format!("its standard output is not JSON: {error}"))?;
            output.insert("json".to_owned(), value);
        }
    }
    if ended.stdout.more > 0 {
        output.insert("discarded".to_owned(), json!(ended.stdout.more));
    }
    Ok(output)
}

/// How it ended and what it said last, for people.
fn said(ended: &Ended) -> String {
    let how = match ended.how {
        How::Exit(code) => format!("ended with exit code {code}"),
        How::Signal(signal) => format!("was ended by signal {signal}"),
        How::TimedOut => "did not end in time and was killed with its process group".to_owned(),
    };
    let text = ended.stderr.text();
    match text.trim() {
        "" => how,
        text => format!("{how}: {text}"),
    }
}

/// A program that could not be started: nothing was done.
fn not_run(spec: &Spec, error: &std::io::Error) -> AdapterError {
    use std::io::ErrorKind;
    let text = format!("cannot be run: {error}, {}", spec.program.display());
    match error.kind() {
        ErrorKind::ArgumentListTooLong => AdapterError::Business(text),
        ErrorKind::OutOfMemory | ErrorKind::WouldBlock | ErrorKind::ExecutableFileBusy => {
            AdapterError::Transient(text)
        }
        _ => AdapterError::Hold(text),
    }
}

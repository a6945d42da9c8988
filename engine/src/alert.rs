//! Tells somebody about a failure that nobody has recovered: a file always, a command or an own sink when configured.
//!
//! **Invariant:** a sink that fails never blocks or changes a run; its error is logged.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::engine::Inner;
use crate::metric;

/// Longest time that an alert command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Hears of unrecovered failures.
#[async_trait]
pub trait AlertSink: Send + Sync {
    /// Delivers one alert: run, saga, subject, reason, code, hold, and the paths of the pre and post snapshots.
    ///
    /// # Errors
    /// The sink's own words; they are logged.
    async fn deliver(&self, alert: &Value) -> Result<(), String>;
}

/// Runs a program with the alert as JSON on its standard input; no shell is involved.
#[derive(Clone, Debug)]
pub struct CommandSink {
    program: PathBuf,
}

impl CommandSink {
    /// Names the program.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
        }
    }
}

#[async_trait]
impl AlertSink for CommandSink {
    async fn deliver(&self, alert: &Value) -> Result<(), String> {
        let work = async {
            let mut child = Command::new(&self.program)
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()?;
            if let Some(mut input) = child.stdin.take() {
                input.write_all(alert.to_string().as_bytes()).await?;
            }
            child.wait().await
        };
        match tokio::time::timeout(COMMAND_TIMEOUT, work).await {
            Err(_) => Err(format!("no end within {} s", COMMAND_TIMEOUT.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(status.to_string()),
        }
    }
}

impl Inner {
    /// Delivers an alert to the file and to every sink.
    pub(crate) async fn alert(&self, alert: &Value) {
        if let Some(dir) = &self.state_dir
            && let Err(error) = dir.append_alert(alert)
        {
            metric::alert_failed("file");
            tracing::error!(%error, "alert file");
        }
        for sink in &self.alerts {
            if sink.deliver(alert).await.is_err() {
                metric::alert_failed("command");
                // What a sink says may quote what it was told.
                tracing::error!("an alert sink did not take the alert");
            }
        }
    }
}

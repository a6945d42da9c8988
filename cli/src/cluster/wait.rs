//! Bounds every wait: polls a condition, runs a command or takes a file lock until a deadline.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::error::ClusterError;

/// Polls until `probe` gives something or the deadline passes; the pause grows from 1 to 20 ms.
pub fn until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    let mut pause = POLL_MIN;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Takes an exclusive lock on a file, which is made if missing; the lock goes with the handle.
pub(super) fn lock(path: &Path, limit: Duration) -> Result<File, ClusterError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(ClusterError::io("open the lock file", path))?;
    let taken = until(limit, || match file.try_lock() {
        Ok(()) => Some(Ok(())),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(error)) => Some(Err(error)),
    });
    match taken {
        Some(Ok(())) => Ok(file),
        Some(Err(error)) => Err(ClusterError::io("lock the file", path)(error)),
        None => Err(ClusterError::Busy {
            dir: path.parent().unwrap_or(path).to_path_buf(),
            limit,
        }),
    }
}

/// What a finished command left.
pub(super) struct Finished {
    /// How it ended; nothing if it was killed at its deadline.
    pub status: Option<ExitStatus>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Finished {
    /// Tells whether the command ended by itself with status 0.
    pub fn ok(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The last lines that it printed, on one line; made for an error message.
    pub fn tail(&self) -> String {
        let text = if self.err.trim().is_empty() {
            &self.out
        } else {
            &self.err
        };
        let shown = tail(text);
        match self.status {
            None => format!("killed at its deadline: {shown}"),
            Some(_) if shown.is_empty() => "it printed nothing".to_owned(),
            Some(_) => shown,
        }
    }
}

/// Runs a command without input, kills it at the deadline, and gives what it printed.
pub(super) fn run(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let out = drain(child.stdout.take());
    let err = drain(child.stderr.take());
    let status = ended(&mut child, limit)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    // A grandchild may hold the pipe open for ever; what came until now is enough.
    let text = |end: mpsc::Receiver<Vec<u8>>| {
        let bytes = end.recv_timeout(DRAIN_LIMIT).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Finished {
        status,
        out: text(out),
        err: text(err),
    })
}

/// Waits for a child to end; nothing when the deadline passes first.
pub fn ended(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    until(limit, || child.try_wait().transpose()).transpose()
}

/// The last few lines of a text, joined to one.
pub(super) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let from = lines.len().saturating_sub(TAIL_LINES);
    lines[from..].join("; ")
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A broken pipe ends the text; what was read before it is still sent.
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}

const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(20);
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
const TAIL_LINES: usize = 4;

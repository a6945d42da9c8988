//! Runs one program in a process group of its own and ends all of it.
//!
//! **Invariant:** whatever happens to the caller, the group is killed when this is dropped; the leader is reaped only
//! after its group was killed, so that its number can be nobody else's.
//!
//! **Invariant:** output is read as fast as it comes and kept up to a bound, so neither memory grows nor the program
//! waits.
//!
//! **What can go wrong:** a process that leaves the group (`setsid`) is not ended. A worker that is killed by SIGKILL
//! leaves its programs running: the next driver's probe meets them, and the key keeps the act single.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Most bytes that are kept of standard output.
pub const STDOUT_BYTES_MAX: usize = 256 * 1024;
/// Most bytes that are kept of standard error.
pub const STDERR_BYTES_MAX: usize = 2 * 1024;
/// Between TERM and KILL.
const TERM_GRACE: Duration = Duration::from_millis(400);
/// How long the rest of the output is waited for, before and after the group is killed.
const DRAIN: Duration = Duration::from_millis(150);
/// How often it is looked whether the program has ended, at first and at most.
const LOOKS: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(40));

/// What is to be run.
pub(super) struct Spec {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<(String, std::ffi::OsString)>,
    pub cwd: PathBuf,
    pub stdin: Option<Vec<u8>>,
    pub limit: Duration,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Exit(i32),
    Signal(i32),
    TimedOut,
}

/// A program that has ended, with all of its group.
pub(super) struct Ended {
    pub how: How,
    pub stdout: Kept,
    pub stderr: Kept,
}

/// The beginning of an output, and how much more there was.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub bytes: Vec<u8>,
    pub more: u64,
}

impl Kept {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// Kills the group when it is dropped, until it is disarmed.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // A group that is gone already is what was wanted.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

struct Reading {
    kept: Arc<Mutex<Kept>>,
    task: JoinHandle<()>,
}

impl Reading {
    fn start(mut pipe: impl AsyncRead + Unpin + Send + 'static, bytes_max: usize) -> Self {
        let kept = Arc::new(Mutex::new(Kept::default()));
        let into = Arc::clone(&kept);
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
                let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
                let room = bytes_max.saturating_sub(kept.bytes.len()).min(n);
                kept.bytes.extend_from_slice(&buffer[..room]);
                kept.more += (n - room) as u64;
            }
        });
        Self { kept, task }
    }

    async fn drained(&mut self) -> bool {
        self.task.is_finished() || timeout(DRAIN, &mut self.task).await.is_ok()
    }

    fn taken(self) -> Kept {
        self.task.abort();
        std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a program to its end, or ends it.
pub(super) async fn run(spec: &Spec) -> std::io::Result<Ended> {
    let mut command = tokio::process::Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&spec.cwd)
        .stdin(match spec.stdin {
            Some(_) => Stdio::piped(),
            None => Stdio::null(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let group = Group(pid.and_then(Pid::from_raw));
    let missing = || std::io::Error::other("the program has no pipes");
    let mut out = Reading::start(child.stdout.take().ok_or_else(missing)?, STDOUT_BYTES_MAX);
    let mut err = Reading::start(child.stderr.take().ok_or_else(missing)?, STDERR_BYTES_MAX);
    if let (Some(mut pipe), Some(bytes)) = (child.stdin.take(), spec.stdin.clone()) {
        // One that does not read its input is not waited for.
        tokio::spawn(async move {
            let _ = pipe.write_all(&bytes).await;
        });
    }
    let timed_out = !ended(group.0, spec.limit).await;
    if timed_out {
        group.signal(Signal::TERM);
        ended(group.0, TERM_GRACE).await;
    }
    if !timed_out {
        out.drained().await;
        err.drained().await;
    }
    // The leader is not reaped yet, or still runs: the number is its own.
    group.signal(Signal::KILL);
    let status = child.wait().await?;
    disarm(group);
    out.drained().await;
    err.drained().await;
    let how = match (timed_out, status.code()) {
        (true, _) => How::TimedOut,
        (false, Some(code)) => How::Exit(code),
        (false, None) => {
            How::Signal(std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default())
        }
    };
    Ok(Ended {
        how,
        stdout: out.taken(),
        stderr: err.taken(),
    })
}

fn disarm(mut group: Group) {
    group.0 = None;
}

/// Waits until the leader has ended, without reaping it.
async fn ended(leader: Option<Pid>, limit: Duration) -> bool {
    let Some(leader) = leader else { return true };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let deadline = Instant::now() + limit;
    let mut pause = LOOKS.0;
    loop {
        match waitid(WaitId::Pid(leader), options) {
            Ok(None) => {}
            // Ended, or nobody's child any more.
            Ok(Some(_)) | Err(_) => return true,
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(pause.min(left)).await;
        pause = (pause * 2).min(LOOKS.1);
    }
}

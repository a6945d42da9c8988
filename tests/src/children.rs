//! Real processes for tests: started with their output kept, frozen, continued and killed.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use redress_cli::cluster::{ended, until};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A started process; dropping it kills and collects it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
    output: TempDir,
    status: Option<ExitStatus>,
}

impl Running {
    /// Starts a command; its output goes into files, so it can never block on a full pipe.
    #[track_caller]
    pub fn start(command: &mut Command) -> Self {
        let output = tempfile::tempdir().expect("a temporary folder can be made");
        let file = |name: &str| {
            File::create(output.path().join(name)).expect("a file in a new folder can be made")
        };
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(file(OUT))
            .stderr(file(ERR))
            .spawn()
            .unwrap_or_else(|error| panic!("could not run {name}: {error}"));
        Self {
            child,
            name,
            output,
            status: None,
        }
    }

    /// The process number.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process number fits")
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.wait(KILL_LIMIT);
    }

    /// SIGSTOP: freezes the process.
    pub fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: lets a frozen process go on. It waits until the process stands still: one that was told to stop
    /// itself may not have come so far, and would sleep through a signal that came before.
    #[track_caller]
    pub fn thaw(&mut self) {
        eventually(KILL_LIMIT, "the process stands still", || {
            self.poll().is_some() || is_stopped(self.pid())
        });
        self.signal(Signal::CONT);
    }

    /// SIGTERM: asks the process to end.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Sends a signal unless the process was seen to have ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.poll().is_none() {
            signal_process(self.pid(), signal);
        }
    }

    /// How the process ended, if it has.
    pub fn poll(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("our own child can be asked");
        }
        self.status
    }

    /// Waits for the end; panics with the output when the deadline passes first.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.status {
            return status;
        }
        match ended(&mut self.child, limit).expect("our own child can be asked") {
            Some(status) => {
                self.status = Some(status);
                status
            }
            None => panic!(
                "{} did not end within {limit:?}\n{}{}",
                self.name,
                self.stdout(),
                self.stderr()
            ),
        }
    }

    /// What was written to standard output until now.
    pub fn stdout(&self) -> String {
        self.text(OUT)
    }

    /// What was written to standard error until now.
    pub fn stderr(&self) -> String {
        self.text(ERR)
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Only a process that was not collected still owns its number.
        if self.poll().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Whether a process is stopped by a signal, by proc(5): the state follows the name, which may hold any character.
pub fn is_stopped(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    state.starts_with('T')
}

/// Sends a signal to a process that the test knows to be its own or its server's.
#[track_caller]
pub fn signal_process(pid: i32, signal: Signal) {
    assert!(pid > 1, "a test signals single processes only");
    let target = Pid::from_raw(pid).expect("a positive number is a process number");
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("could not signal process {pid}: {error}"),
    }
}

/// Polls until the condition holds; panics with `what` when the deadline passes first.
#[track_caller]
pub fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    // Not in the closure of `until`, so that the panic names the caller's line.
    if until(limit, || condition().then_some(())).is_none() {
        panic!("not within {limit:?}: {what}");
    }
}

const OUT: &str = "out";
const ERR: &str = "err";
const KILL_LIMIT: Duration = Duration::from_secs(10);

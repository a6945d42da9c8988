//! Ends a test server when its test process has ended, however that happened.
//!
//! The warden is a small shell that reads from a pipe whose other end only the test process has.
//! When that process dies, the kernel closes the pipe, the read ends, and the warden acts. It is
//! also what ends the shared server, because a static is never dropped.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The watching shell.
#[derive(Debug)]
pub(crate) struct Warden {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Warden {
    /// Starts to watch over a server: its plot's folder, its data and its socket's folder.
    pub(crate) fn over(plot: &Path, data: &Path, socket: &Path) -> Self {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "redress-test-warden"])
            .args([plot, data, socket])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C must reach the test process alone.
            .process_group(0)
            .spawn()
            .expect("a shell runs");
        let pipe = shell.stdin.take();
        Self { shell, pipe }
    }

    #[cfg(test)]
    pub(crate) fn pid(&self) -> u32 {
        self.shell.id()
    }

    /// Lets the warden go: the server has been removed.
    pub(crate) fn dismiss(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // If it is gone already there is nobody to dismiss.
            let _ = pipe.write_all(b"done\n");
        }
        let _ = self.shell.wait();
    }
}

/// A process number is trusted only if that process works in the data folder.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
read -r word
[ "$word" = done ] && exit 0
pid=$(head -n 1 "$2/postmaster.pid" | tr -cd 0-9)
if [ -d /proc/self ] && [ "$(readlink "/proc/$pid/cwd")" != "$2" ]; then pid=; fi
if [ -n "$pid" ] && [ "$pid" -gt 1 ]; then
    kill -QUIT "$pid"
    kill -CONT "$pid"
    n=0
    while [ -e "$2/postmaster.pid" ] && kill -0 "$pid" && [ $n -lt 100 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    kill -KILL "$pid"
fi
rm -rf "$1" "$3"
"#;

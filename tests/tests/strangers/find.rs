//! Finds the strangers' software, or installs it, or says loudly that it is not there.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use redress_tests::ground::lock;

/// Where the packages of Go lie on Debian, and the one that is needed.
pub const GOPATH: &str = "/usr/share/gocode";
const MOD: &str = "src/golang.org/x/mod/sumdb/tlog";
const GO_PACKAGES: [&str; 2] = ["golang-go", "golang-golang-x-mod-dev"];

/// What a virtual environment of the tests has; other versions may be called in another way.
const PYTHON_PACKAGES: [&str; 4] = [
    "pymerkle==7.0.0",
    "securesystemslib==1.6.0",
    "rfc8785==0.1.4",
    "cryptography",
];
/// The second verifier needs 3.11.
const PYTHON_PROBE: &str = "import sys, pymerkle, securesystemslib, rfc8785, cryptography
assert sys.version_info >= (3, 11)";
/// A whole installation, by another process of the tests too.
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// Says that a stranger was not asked; past the capture of the test's output.
pub fn skipped(stranger: &str, why: &str) {
    let line = format!("SKIPPED: {stranger} was not asked: {why}\n");
    // Nobody to tell: the test passes all the same.
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The folder in which the tests keep what they install.
pub fn kept(below: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(below)
}

/// Whether a program is there and answers.
pub fn has(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let command = command.args(args).stdin(Stdio::null());
    command.output().is_ok_and(|done| done.status.success())
}

/// Whether Go and its package are there, after trying to install them.
pub fn go() -> bool {
    let there = || has("go", &["version"]) && Path::new(GOPATH).join(MOD).is_dir();
    let _alone = alone("go");
    there() || (apt(&GO_PACKAGES) && there())
}

/// A Python with the packages of the strangers, in an environment of the tests.
pub fn python() -> Option<PathBuf> {
    let _alone = alone("python");
    let folder = kept("strangers-venv");
    let python = folder.join("bin/python");
    let import = ["-c", PYTHON_PROBE];
    let there = || has(&python.to_string_lossy(), &import);
    if there() {
        return Some(python);
    }
    let quiet = |command: &mut Command| command.output().is_ok_and(|done| done.status.success());
    let made = quiet(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        && quiet(
            Command::new(&python)
                .args(["-m", "pip", "install", "-q"])
                .args(PYTHON_PACKAGES),
        );
    (made && there()).then_some(python)
}

/// Installs packages of Debian where root needs no password.
fn apt(packages: &[&str]) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root && !has("sudo", &["-n", "true"]) {
        return false;
    }
    let call = |args: &[&str]| {
        let mut command = if root {
            Command::new("apt-get")
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "apt-get"]);
            command
        };
        command
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command.output().is_ok_and(|done| done.status.success())
    };
    let install = [&["install", "-y", "--no-install-recommends"], packages].concat();
    call(&install) || (call(&["update"]) && call(&install))
}

/// Keeps a thing of the tests to one owner at a time, among threads and among processes.
pub fn alone(what: &str) -> File {
    let folder = kept("");
    std::fs::create_dir_all(&folder).expect("the folder of the tests can be made");
    lock(&folder.join(format!("{what}.lock")), INSTALL_LIMIT)
}

/// Runs a command to its end with something on its standard input.
#[track_caller]
pub fn run_with(command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program that was found runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // From another thread: a program that answers before it has read everything would wait for us.
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let done = child.wait_with_output().expect("it ends");
    // One that ends early has said why by its status.
    let _ = writer.join();
    done
}

/// Runs a command that must succeed; gives what it wrote.
#[track_caller]
pub fn run(program: impl AsRef<OsStr>, args: &[&str]) -> Vec<u8> {
    let done = Command::new(program).args(args).output().expect("it runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{args:?}: {said}");
    done.stdout
}

//! Judges a `with` of the `command` adapter against what this worker allows.

use std::path::Path;

use redress::adapter::Finding;
use redress::pointer::Pointer;

use super::with::With;
use crate::config::{CommandConfig, is_plain};
use crate::finding::{NO_WAY_BACK, NOT_LISTED, SHAPE, finding};
use crate::pieces::{Piece, When, misdirected};

/// Everything that is wrong; empty when nothing is.
pub(super) fn check(with: &With, config: &CommandConfig) -> Vec<Finding> {
    let mut judge = Judge {
        config,
        findings: Vec::new(),
    };
    judge.command("", &with.argv, with.stdin.as_ref(), When::Forth);
    if let Some(probe) = &with.probe {
        judge.command("/probe", &probe.argv, probe.stdin.as_ref(), When::Forth);
    }
    if let Some(capture) = &with.capture {
        judge.command(
            "/capture",
            &capture.argv,
            capture.stdin.as_ref(),
            When::Before,
        );
    }
    if let Some(undo) = &with.undo {
        judge.command("/undo", &undo.argv, undo.stdin.as_ref(), When::Back);
        if let Some(probe) = &undo.probe {
            judge.command("/undo/probe", &probe.argv, probe.stdin.as_ref(), When::Back);
        }
    }
    judge.surroundings(with);
    judge.codes(with);
    match (with.read_only, &with.probe, &with.undo) {
        (false, None, _) => judge.find(
            "/argv",
            NO_WAY_BACK,
            "give a `probe`: after a crash nobody else can say whether it was done (or say `read_only: true`)",
        ),
        (true, _, Some(_)) => {
            judge.find("/undo", SHAPE, "what is `read_only` has nothing to undo");
        }
        _ => {}
    }
    judge.findings
}

struct Judge<'c> {
    config: &'c CommandConfig,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, path: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.findings.push(finding(path, code, message));
    }

    fn command(&mut self, path: &str, argv: &[Piece], stdin: Option<&Pointer>, when: When) {
        let path_of = |at: usize| match path {
            "" => format!("/argv/{at}"),
            _ => format!("{path}/argv/{at}"),
        };
        match argv.first() {
            None => {
                let message = "the program and its arguments are missing";
                self.find(format!("{path}/argv"), SHAPE, message);
            }
            Some(Piece::At { .. }) => {
                let message = "the program is fixed text: an input must not choose what is run";
                self.find(path_of(0), SHAPE, message);
            }
            Some(Piece::Text(program)) => {
                if let Some(why) = unlisted(program, self.config) {
                    self.find(path_of(0), NOT_LISTED, why);
                }
            }
        }
        for (at, piece) in argv.iter().enumerate() {
            if let Piece::Text(text) = piece
                && text.contains('\0')
            {
                self.find(path_of(at), SHAPE, "an argument cannot hold U+0000");
            }
            let pointer = piece.pointer();
            let wrong = pointer.and_then(|pointer| misdirected(&path_of(at), pointer, when));
            self.findings.extend(wrong);
        }
        let wrong = stdin.and_then(|stdin| misdirected(&format!("{path}/stdin"), stdin, when));
        self.findings.extend(wrong);
    }

    fn surroundings(&mut self, with: &With) {
        for (at, name) in with.env.iter().enumerate() {
            if !self.config.env.contains(name) {
                let message =
                    format!("this worker does not hand on the variable (command.env): {name}");
                self.find(format!("/env/{at}"), NOT_LISTED, message);
            }
        }
        if let Some(cwd) = &with.cwd
            && cwd != "/"
            && !is_plain(Path::new(cwd))
        {
            self.find("/cwd", SHAPE, "an absolute path without `..` is needed");
        }
    }

    fn codes(&mut self, with: &With) {
        for (list, codes) in [("retry", &with.retry), ("unknown", &with.unknown)] {
            for (at, code) in codes.iter().enumerate() {
                let path = format!("/{list}/{at}");
                if !(1..=255).contains(code) {
                    self.find(
                        path,
                        SHAPE,
                        "an exit code that is no success is from 1 to 255",
                    );
                } else if list == "unknown" && with.retry.contains(code) {
                    self.find(path, SHAPE, "this exit code stands under `retry` too");
                }
            }
        }
    }
}

/// Why a program may not be run here.
pub(super) fn unlisted(program: &str, config: &CommandConfig) -> Option<String> {
    let listed = config.allow.iter().any(|path| path.as_os_str() == program);
    (!listed).then(|| format!("this worker does not list the program (command.allow): {program}"))
}

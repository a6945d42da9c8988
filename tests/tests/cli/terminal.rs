//! A person at a terminal of 80x24: nothing overflows, nothing that somebody wrote acts on it, a yes is typed.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use redress_tests::redress_bin;
use serde_json::json;
use textwrap::core::display_width;

use crate::kit::{Kit, SAGA, ended, fed, has_python};

/// What was on the terminal, and how the command ended.
pub struct Seen {
    pub exit: i32,
    pub text: String,
}

/// Runs a command in a terminal of its own; what is typed is a line for each prompt.
#[track_caller]
pub fn at_a_terminal(kit: &Kit, arguments: &[&str], typed: &[&str]) -> Seen {
    let (pty, pts) = pty_process::blocking::open().expect("a terminal");
    pty.resize(pty_process::Size::new(24, 80)).expect("a size");
    let mut child = pty_process::blocking::Command::new(redress_bin())
        .args(arguments)
        .current_dir(kit.dir.path())
        .env_remove("DATABASE_URL")
        .env_remove("REDRESS_TRUST")
        .env_remove("RUST_LOG")
        .env("TERM", "xterm-256color")
        .env("REDRESS_STATE_DIR", kit.state())
        .env("REDRESS_DATABASE_URL", kit.database.url())
        .env("REDRESS_KEY_PASSPHRASE_FILE", kit.path("pass"))
        .spawn(pts)
        .expect("the command runs");
    let (mut reader, mut writer) = (&pty, &pty);
    let (mut bytes, mut chunk, mut answers) = (Vec::new(), [0_u8; 4_096], typed.iter());
    // The last reader's end of a terminal is an error, not an end of file.
    while let Ok(count) = reader.read(&mut chunk) {
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..count]);
        // A prompt ends the output without a line's end.
        let asked = String::from_utf8_lossy(&bytes)
            .rsplit('\n')
            .next()
            .is_some_and(|last| last.contains("type ") && last.trim_end().ends_with(':'));
        if asked && let Some(answer) = answers.next() {
            writer
                .write_all(format!("{answer}\r").as_bytes())
                .expect("typed");
            bytes.push(b'\n');
        }
    }
    let exit = child.wait().expect("it ends").code().unwrap_or(-1);
    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
    Seen { exit, text }
}

/// Shows a screen and insists that it fits and sends nothing to the terminal but text.
#[track_caller]
pub fn fits(kit: &Kit, arguments: &[&str], exit: i32) -> String {
    fits_when_typed(kit, arguments, &[], exit)
}

/// The same for a screen that asks.
#[track_caller]
pub fn fits_when_typed(kit: &Kit, arguments: &[&str], typed: &[&str], exit: i32) -> String {
    let mut seen = at_a_terminal(kit, arguments, typed);
    assert_eq!(seen.exit, exit, "{arguments:?}\n{}", seen.text);
    seen.text = without_progress(&seen.text);
    // The colours of an error and of `--help` are ours; nothing else may be sent.
    let ours = ["\u{1b}[1;31m", "\u{1b}[1m", "\u{1b}[4m", "\u{1b}[0m"];
    // What was typed is written once more over the question.
    let prompts = ["\u{1b}[2K", "\u{1b}[1A"];
    for ours in ours
        .iter()
        .chain(prompts.iter().filter(|_| !typed.is_empty()))
    {
        seen.text = seen.text.replace(ours, "");
    }
    for line in seen.text.lines() {
        assert!(
            display_width(line) <= 80,
            "{arguments:?}: {} cells\n{line}",
            display_width(line)
        );
    }
    let plain = |c: char| c == '\n' || !c.is_control();
    assert!(
        seen.text.chars().all(plain),
        "{arguments:?}\n{:?}",
        seen.text
    );
    for hidden in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{fe0f}'] {
        assert!(
            !seen.text.contains(hidden),
            "{arguments:?}\n{:?}",
            seen.text
        );
    }
    assert!(
        !seen.text.trim().is_empty(),
        "{arguments:?} shows something"
    );
    seen.text
}

/// Without the line that says how long something already takes: it is written over itself and cleared at the end.
fn without_progress(text: &str) -> String {
    let mut parts = text.split("\u{1b}[2K");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.starts_with("redress: ") {
        true if !part.contains('\n') => text,
        _ => text + part,
    })
}

/// A text that somebody else wrote: long, wide, and full of what a terminal would act on.
pub fn hostile(number: usize) -> String {
    format!(
        "{number}\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}txt.exe\u{2066}\u{200b}\u{fe0f}{}{}{}",
        "漢字".repeat(30),
        "🦀".repeat(20),
        "a-word-that-does-not-end".repeat(4)
    )
}

/// A saga with names as long as names may be.
pub fn long_saga() -> String {
    let name = |text: &str| format!("{text}_{}", "x".repeat(62 - text.len()));
    SAGA.replace("saga: shop", &format!("saga: {}", name("saga")))
        .replace("name: reserve", &format!("name: {}", name("reserve")))
        .replace("name: book", &format!("name: {}", name("book")))
}

#[test]
fn every_screen_fits_a_terminal_of_80_columns_whatever_people_wrote() {
    let kit = Kit::shop();
    let file = kit.write("long.yaml", long_saga().as_bytes());
    let mut runs = Vec::new();
    for number in 1..=3 {
        let input = json!({"order": hostile(number), "qty": 1, "fail": true}).to_string();
        let view = kit.json(&["start", &file, "--input", &input, "--wait"], 3);
        runs.push(view["run"].as_str().unwrap().to_owned());
    }
    let saga = kit.json(&["show", &runs[0]], 0)["saga"]
        .as_str()
        .unwrap()
        .to_owned();
    let qty = json!({"order": hostile(9), "qty": 1}).to_string();
    kit.ok(&["start", &saga, "--input", &qty, "--wait"]);
    kit.ok(&["hold", "subject:elsewhere", "--reason", &hostile(7)]);
    kit.ok(&kit.signed(&["approve", &runs[0], "--reason", &hostile(8)]));
    let fingerprint = kit.json(&["status"], 3)["groups"][0]["fingerprint"].clone();
    let fingerprint = fingerprint.as_str().unwrap();

    fits(&kit, &["status"], 3);
    fits(&kit, &["runs"], 0);
    fits(&kit, &["runs", "--match", fingerprint], 0);
    let shown = fits(&kit, &["show", &runs[0]], 0);
    for part in [
        "opened on",
        " committed",
        "… failed: apply 1",
        "✓",
        "✗",
        "‖ hold",
        "signed by sov (sovereign)",
    ] {
        assert!(shown.contains(part), "{part} in\n{shown}");
    }
    let plan = fits(&kit, &["plan", &runs[1]], 0);
    for part in [
        "in one transaction",
        "1. soft_revert",
        "shop.reservation: 1 row",
        "guards   1: select",
    ] {
        assert!(plan.contains(part), "{part} in\n{plan}");
    }
    fits(&kit, &["plan", "--match", fingerprint], 0);
    fits(&kit, &["holds"], 0);
    fits(&kit, &["log", &runs[0]], 0);
    fits(&kit, &["log", "--all"], 0);
    fits(&kit, &["check"], 0);
    fits(&kit, &["saga", "list"], 0);
    fits(&kit, &["key", "list"], 0);
    fits(&kit, &["audit", "log"], 0);
    fits(&kit, &["explain", "RD0421"], 0);
    fits(&kit, &["apply", &runs[1]], 5);
    fits(&kit, &["show", &hostile(4)], 4);
    for command in ["--help", "status", "plan", "apply", "approve", "show"] {
        let words: Vec<&str> = [command, "--help"]
            .into_iter()
            .take(if command == "--help" { 1 } else { 2 })
            .collect();
        fits(&kit, &words, 0);
    }
    fits(&kit, &["apply", &runs[0]], 0);
    fits(&kit, &["rewinds"], 0);
    fits(&kit, &["show", &runs[0]], 0);
}

#[test]
fn an_approval_is_confirmed_by_typing_the_runs_short_id_and_by_nothing_else() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let records = kit.records();
    let words = ["approve", &run, "--as", "sov"];
    for wrong in ["yes", "", &run[..8], &run] {
        let seen = at_a_terminal(&kit, &words, &[wrong]);
        assert_eq!(seen.exit, 4, "{}", seen.text);
        assert!(seen.text.contains("RD0916"), "{}", seen.text);
    }
    assert_eq!(kit.records(), records, "nothing was signed");
    let seen = at_a_terminal(&kit, &words, &[&run[run.len() - 8..]]);
    assert_eq!(seen.exit, 0, "{}", seen.text);
    for part in [
        "in one transaction",
        "to sign  1 sovereign",
        "valid until",
        "approved by sov",
    ] {
        assert!(seen.text.contains(part), "{part} in\n{}", seen.text);
    }
    let shown = fits(&kit, &["plan", &run], 0);
    assert!(
        shown.contains("signed   sov (sovereign), until "),
        "{shown}"
    );
    kit.ok(&["apply", &run]);
}

#[test]
fn a_set_is_confirmed_by_typing_its_code_and_by_nothing_else() {
    let kit = Kit::shop();
    for order in ["o-1", "o-2"] {
        kit.failed_run(order);
    }
    let group = kit.json(&["status"], 3)["groups"][0].clone();
    let fingerprint = group["fingerprint"].as_str().unwrap();
    let set = kit.json(&["plan", "--match", fingerprint], 0);
    let (code, records) = (set["set"]["code"].as_str().unwrap(), kit.records());
    let words = ["apply", "--match", fingerprint, "--as", "sov"];
    for wrong in ["yes", "", fingerprint] {
        let seen = at_a_terminal(&kit, &words, &[wrong]);
        assert_eq!(seen.exit, 4, "{}", seen.text);
    }
    assert_eq!(kit.records(), records);
    let seen = at_a_terminal(&kit, &words, &[code]);
    assert_eq!(seen.exit, 0, "{}", seen.text);
    assert!(seen.text.contains("of 2 runs: 2 done"), "{}", seen.text);
}

#[test]
fn a_reader_that_goes_away_ends_a_screen_quietly() {
    let kit = Kit::shop();
    for order in ["o-1", "o-2", "o-3"] {
        kit.failed_run(order);
    }
    let script = format!("'{}' status | head -1", redress_bin().display());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .env("REDRESS_STATE_DIR", kit.state())
        .env("REDRESS_DATABASE_URL", kit.database.url());
    let ran = ended(&mut shell);
    assert_eq!(
        (ran.exit, ran.out.lines().count()),
        (0, 1),
        "{}{}",
        ran.out,
        ran.err
    );
    assert_eq!(ran.err, "");
    // Standard output closed from the start: the exit status says what there is.
    let script = format!("'{}' status >&-", redress_bin().display());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .env("REDRESS_STATE_DIR", kit.state())
        .env("REDRESS_DATABASE_URL", kit.database.url());
    assert_eq!(ended(&mut shell).exit, 3);
}

#[test]
fn what_is_piped_is_whole_and_plain_and_json_for_others() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    for words in [&["status"][..], &["show", &run], &["plan", &run], &["runs"]] {
        let no_color = ended(kit.command(words).env("NO_COLOR", "1"));
        let coloured = ended(kit.command(words).env("CLICOLOR_FORCE", "1"));
        for ran in [no_color, coloured] {
            assert!(
                !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
                "{words:?}"
            );
        }
        let ran = kit.run(&[words, &["--json"]].concat());
        if has_python() {
            let mut tool = Command::new("python3");
            tool.args(["-m", "json.tool"]);
            let judged = fed(&mut tool, ran.out.as_bytes());
            assert_eq!(judged.exit, 0, "{words:?}: {}", judged.err);
        } else {
            let judged = serde_json::from_str::<serde_json::Value>(&ran.out);
            assert!(judged.is_ok(), "{words:?}: {judged:?}");
        }
    }
    let refused = ended(kit.command(&["show", "nobody"]).env("NO_COLOR", "1"));
    assert!(!refused.err.contains('\u{1b}'), "{}", refused.err);
}

#[test]
fn nobody_is_asked_where_nobody_is() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let records = kit.records();
    let words = ["approve", &run, "--as", "sov"];
    for closed in ["<&-", "</dev/null"] {
        let script = format!("'{}' {} {closed}", redress_bin().display(), words.join(" "));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(kit.dir.path())
            .env("REDRESS_STATE_DIR", kit.state())
            .env("REDRESS_DATABASE_URL", kit.database.url());
        let ran = ended(&mut shell);
        assert_eq!(ran.exit, 2, "{}", ran.err);
        assert!(
            ran.err.contains("RD0913") && ran.err.contains("--non-interactive"),
            "{}",
            ran.err
        );
    }
    // Something that writes to us is not a person either.
    let typed = fed(&mut kit.command(&words), run.as_bytes());
    assert_eq!(typed.exit, 2, "{}", typed.err);
    assert_eq!(kit.records(), records, "nothing was signed");
    // What only looks needs nobody.
    let mut look = kit.command(&["status"]);
    look.stdin(Stdio::null());
    assert_eq!(ended(&mut look).exit, 3);
}

#[test]
fn every_error_of_a_refused_command_is_listed() {
    let kit = Kit::shop();
    let check = |words: &[&str], exit: i32, count: usize| {
        let value = kit.json(words, exit);
        let errors = value["errors"].as_array().expect("errors");
        assert_eq!(errors.len(), count, "{value:#}");
        assert_eq!(errors[0]["code"], value["error"]["code"], "{value:#}");
        assert!(
            errors
                .iter()
                .all(|one| one["message"].as_str().is_some_and(|text| !text.is_empty()))
        );
    };
    check(&["show", "nobody"], 4, 1);
    check(&["runs", "--state", "tired"], 2, 1);
    check(&["apply", "0123456789abcdef"], 4, 1);
    let broken = SAGA
        .replace("saga: shop", "saga: broken")
        .replace("compensation: soft_revert", "compensation: sideways");
    let file = kit.write("broken.yaml", broken.as_bytes());
    let found = kit.json(&["saga", "check", &file], 4)["errors"]
        .as_array()
        .unwrap()
        .len();
    check(&["saga", "check", &file], 4, found);
    assert!(found >= 1);
}

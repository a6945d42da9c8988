//! The command as people expect it: help that ends with examples, pages, completions, codes, colours, closed pipes.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redress_tests::redress_bin;

use crate::kit::{Kit, command, ended};
use crate::terminal::at_a_terminal;

/// What bash offers for a line that ends where the cursor is.
fn offered(kit: &Kit, url: Option<&str>, words: &[&str]) -> Vec<String> {
    let bin = kit.path("bin");
    if !bin.exists() {
        fs::create_dir(&bin).unwrap();
        symlink(redress_bin(), bin.join("redress")).unwrap();
    }
    let line: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "source <(redress completions bash --dynamic); COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
         _clap_complete_redress redress '{}' ''; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        line.join(" "),
        words.len() - 1,
        words.last().unwrap(),
    );
    let mut bash = command(kit.dir.path(), url, &[]);
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let surroundings: Vec<_> = bash
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    bash = Command::new("bash");
    for (name, value) in surroundings {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    bash.args(["--norc", "-c", &script]).env("PATH", path);
    let ran = ended(bash.current_dir(kit.dir.path()).stdin(Stdio::null()));
    assert_eq!(ran.err, "", "{words:?}");
    ran.out
        .lines()
        .map(str::to_owned)
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn a_shell_is_offered_runs_sagas_holds_keys_codes_and_runbooks() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let url = Some(kit.database.url());
    let check = |words: &[&str], wanted: &str| {
        let found = offered(&kit, url, words);
        assert!(
            found.iter().any(|word| word == wanted),
            "{words:?}: {found:?}"
        );
    };
    check(&["redress", "show", ""], &run);
    check(&["redress", "show", &run[..9]], &run);
    check(&["redress", "approve", ""], &run);
    check(&["redress", "log", "--follow", ""], &run);
    check(&["redress", "start", "sh"], "shop");
    check(&["redress", "runs", "--state", "f"], "failed");
    check(&["redress", "release", "k"], "kill");
    check(&["redress", "explain", "RD042"], "RD0420");
    check(&["redress", "status", "--as", ""], "sov");
    check(&["redress", "runbook", "show", "stale"], "stale-plan");
    check(&["redress", "drill", "start", ""], "stale-plan");
    check(&["redress", "sta"], "status");
    let hold = kit.json(&["holds"], 0)["holds"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    check(&["redress", "release", ""], &hold);
    let of_flag = ["redress", "show", "--database", kit.database.url(), ""];
    assert!(offered(&kit, None, &of_flag).contains(&run));
}

#[test]
fn a_database_that_hangs_or_is_not_there_does_not_hang_the_shell_and_nothing_is_brought_up() {
    let kit = Kit::bare();
    // It takes the connection and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://x@127.0.0.1:{port}/x");
    let begun = Instant::now();
    let of = |url: Option<&str>, words: &[&str]| {
        let mut found = offered(&kit, url, words);
        found.retain(|word| !word.starts_with('-'));
        found
    };
    assert_eq!(of(Some(&url), &["redress", "release", ""]), ["kill"]);
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let away = Some("postgres://x@127.0.0.1:1/x");
    assert_eq!(of(away, &["redress", "show", ""]), [""; 0]);
    assert_eq!(of(None, &["redress", "show", ""]), [""; 0]);
    assert!(!kit.state().join("postgres").exists());
}

#[test]
fn every_help_ends_with_examples_and_help_is_a_command_too() {
    let kit = Kit::bare();
    for words in [
        &["--help"][..],
        &["runs", "--help"],
        &["audit", "export", "-h"],
        &["help", "runs"],
    ] {
        let ran = ended(&mut command(kit.dir.path(), None, words));
        assert_eq!(ran.exit, 0, "{}", ran.err);
        let (_, examples) = ran
            .out
            .split_once("Examples:")
            .unwrap_or_else(|| panic!("{words:?}"));
        assert!(examples.contains("\n  redress "), "{examples}");
    }
    let near = ended(&mut command(kit.dir.path(), None, &["stauts"]));
    assert_eq!(near.exit, 2);
    assert!(near.err.contains("'status'"), "{}", near.err);
}

#[test]
fn manual_pages_are_made_for_every_command() {
    let kit = Kit::bare();
    let one = ended(&mut command(kit.dir.path(), None, &["man"]));
    assert_eq!(one.exit, 0);
    assert!(
        one.out.starts_with(".ie") && one.out.contains(".TH"),
        "{}",
        one.out
    );
    let all = ended(&mut command(
        kit.dir.path(),
        None,
        &["man", "--dir", "man1"],
    ));
    assert_eq!(all.exit, 0, "{}", all.err);
    for page in ["redress.1", "redress-start.1", "redress-audit-export.1"] {
        let text = fs::read_to_string(kit.path("man1").join(page)).expect(page);
        assert!(text.contains("Examples:"), "{page}");
    }
    let shells = ["bash", "zsh", "fish", "elvish", "powershell"];
    for words in shells
        .iter()
        .flat_map(|shell| [vec![*shell], vec![*shell, "--dynamic"]])
    {
        let words = [&["completions"], &words[..]].concat();
        let ran = ended(&mut command(kit.dir.path(), None, &words));
        assert_eq!(ran.exit, 0, "{words:?} {}", ran.err);
        assert!(ran.out.contains("redress"), "{words:?}");
    }
}

#[test]
fn a_code_is_explained_however_it_is_written_and_a_near_one_is_offered() {
    let kit = Kit::bare();
    let run = |words: &[&str]| ended(&mut command(kit.dir.path(), None, words));
    let whole = run(&["explain", "RD0420"]).out;
    for code in ["rd0420", "RD420", "420", "0420"] {
        assert_eq!(run(&["explain", code]).out, whole, "{code}");
    }
    for (code, meant) in [
        ("RDO420", "RD0420"),
        ("RD0499", "RD04"),
        ("ledger-frok", "ledger-fork"),
    ] {
        let ran = run(&["explain", code]);
        assert_eq!(ran.exit, 4, "{code}");
        assert!(
            ran.err.contains(&format!("did you mean {meant}")),
            "{code}: {}",
            ran.err
        );
    }
    let list = run(&["explain", "--list"]);
    assert_eq!(list.out, run(&["explain"]).out);
    assert!(list.out.lines().count() > 200);
}

#[test]
fn colour_goes_by_what_the_environment_says() {
    let kit = Kit::bare();
    let check = |variables: &[(&str, &str)], flags: &[&str], coloured: bool| {
        let words = [&["explain", "RD9999"], flags].concat();
        let mut command = command(kit.dir.path(), None, &words);
        for name in ["NO_COLOR", "CLICOLOR_FORCE", "TERM"] {
            command.env_remove(name);
        }
        let ran = ended(command.envs(variables.iter().copied()));
        assert_eq!(
            ran.err.contains('\u{1b}'),
            coloured,
            "{variables:?} {flags:?}"
        );
    };
    check(&[], &[], false);
    check(&[("CLICOLOR_FORCE", "1")], &[], true);
    check(&[("CLICOLOR_FORCE", "0")], &[], false);
    check(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], &[], false);
    check(&[("REDRESS_COLOR", "always")], &[], true);
    check(&[("REDRESS_COLOR", "always")], &["--color", "never"], false);
    check(&[("NO_COLOR", "1")], &["--color", "always"], true);
}

#[test]
fn help_and_what_is_not_understood_have_the_colour_that_was_asked_for() {
    let kit = Kit::bare();
    let check = |words: &[&str], coloured: bool| {
        let mut command = command(kit.dir.path(), None, words);
        command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
        if coloured {
            command.env_remove("CLICOLOR_FORCE").env("NO_COLOR", "1");
        }
        let ran = ended(&mut command);
        let text = [ran.out, ran.err].concat();
        assert_eq!(text.contains('\u{1b}'), coloured, "{words:?}: {text}");
    };
    for words in [
        &["nosuch"][..],
        &["--help"],
        &["start", "--nosuch"],
        &["start", "--help"],
    ] {
        check(&[words, &["--color", "never"]].concat(), false);
        check(&[&["--color=always"], words].concat(), true);
    }
}

/// `redress runs | head -1`
#[test]
fn a_reader_that_has_gone_is_no_error_of_any_listing() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    let listings: &[&[&str]] = &[
        &["runs"],
        &["status"],
        &["holds"],
        &["rewinds"],
        &["saga", "list"],
        &["saga", "show", "shop"],
        &["show", &run],
        &["log", &run],
        &["log", "--all"],
        &["plan", &run],
        &["key", "list"],
        &["audit", "log"],
        &["audit", "verify"],
        &["check"],
        &["explain"],
        &["explain", "RD0420"],
        &["config"],
        &["doctor"],
        &["artefacts"],
        &["runbook", "list"],
        &["runbook", "show", "stale-plan"],
        &["runbook", "suggest", &run],
        &["runbook", "executions"],
        &["drill", "list"],
        &["db", "status"],
        &["man"],
        &["completions", "bash"],
        &["db", "sql", "select 1"],
    ];
    for words in listings {
        for json in [&[][..], &["--json"]] {
            let words = [words, json].concat();
            let mut child = kit
                .command(&words)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            drop(child.stdout.take());
            let output = child.wait_with_output().unwrap();
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{words:?}: {err}");
            assert!(
                !err.contains("error") && !err.contains("panicked"),
                "{words:?}: {err}"
            );
        }
    }
}

#[test]
fn long_work_shows_progress_on_a_terminal_and_nowhere_else() {
    let kit = Kit::shop();
    let busy = |seconds: &str| {
        let url = kit.database.url().to_owned();
        let sql = format!(
            "begin; lock table redress.record in access exclusive mode; select pg_sleep({seconds}); rollback"
        );
        let held = std::thread::spawn(move || redress_tests::query_text(&url, &sql));
        let locked = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'redress.record'::regclass";
        let holds = || kit.database.query_text(locked) == "1";
        redress_tests::eventually(Duration::from_secs(20), "the lock is held", holds);
        held
    };
    let held = busy("4");
    let seen = at_a_terminal(&kit, &["check"], &[]);
    assert_eq!(seen.exit, 0, "{}", seen.text);
    assert!(seen.text.contains("replaying the ledger"), "{}", seen.text);
    held.join().unwrap();
    let held = busy("2");
    let ran = kit.ok(&["check"]);
    assert!(!ran.err.contains("replaying the ledger"), "{}", ran.err);
    held.join().unwrap();
}

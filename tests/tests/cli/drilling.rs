//! A prepared failure is brought to a safe end by what the screens say, and the drill says so.

use std::process::Command;

use redress_tests::redress_bin;
use serde_json::Value;
use tempfile::TempDir;

/// One drill, in its own folder.
struct Practice {
    base: TempDir,
}

impl Practice {
    fn run(&self, arguments: &[&str]) -> (i32, Value, String) {
        let drill = self.base.path().join("drill");
        let ran = Command::new(redress_bin())
            .args(arguments)
            .args(["--json", "--non-interactive"])
            .current_dir(self.base.path())
            .env_remove("REDRESS_DATABASE_URL")
            .env_remove("DATABASE_URL")
            .env_remove("REDRESS_TRUST")
            .env("REDRESS_STATE_DIR", drill.join("state"))
            .env("REDRESS_KEY_PASSPHRASE_FILE", drill.join("passphrase"))
            .output()
            .expect("the command runs");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let value = serde_json::from_slice(&ran.stdout).unwrap_or_default();
        (ran.status.code().unwrap_or(-1), value, said)
    }

    fn ok(&self, arguments: &[&str]) -> Value {
        let (exit, value, said) = self.run(arguments);
        assert_eq!(exit, 0, "{arguments:?}: {value:#}\n{said}");
        value
    }

    /// The runbook that is right for a run, carried out to its end, with a colleague's help where it asks for it.
    fn recover(&self, run: &str) {
        let suggested = self.ok(&["runbook", "suggest", run]);
        let name = text(&suggested["fitting"][0]["name"]);
        let short = &run[run.len() - 8..];
        let (mut exit, mut value, mut said) = self.run(&[
            "runbook",
            "run",
            &name,
            "--run",
            run,
            "--as",
            "sofia",
            "--confirm",
            short,
        ]);
        for _ in 0..10 {
            if exit == 0 {
                return;
            }
            assert_eq!(
                value["error"]["code"], "RD0451",
                "{name}: {value:#}\n{said}"
            );
            self.ok(&["drill", "repair"]);
            let executions = self.ok(&["runbook", "executions", "--open"]);
            let execution = text(&executions["executions"][0]["execution"]);
            let step = text(&value["error"]["step"]);
            let mut resume = vec![
                "runbook", "resume", &execution, "--did", &step, "--as", "sofia",
            ];
            let evidence: Vec<String> = value["error"]["evidence"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|name| format!("{}=seen in the drill", text(name)))
                .collect();
            for one in &evidence {
                resume.extend(["--evidence", one]);
            }
            (exit, value, said) = self.run(&resume);
        }
        panic!("{name} does not come to an end");
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Issue E: tried as a new user would, each screen says the next act.
#[test]
fn prepared_failures_are_brought_to_a_safe_end_by_what_the_screens_say() {
    for scene in ["cutover-failed-at-write-verify", "stuck", "killed"] {
        let practice = Practice {
            base: tempfile::tempdir().expect("a folder"),
        };
        let begun = practice.ok(&["drill", "start", scene]);
        assert_eq!(begun["scene"], scene);
        let (exit, before, _) = practice.run(&["drill", "check"]);
        assert_eq!(
            (exit, &before["safe"]),
            (3, &Value::Bool(false)),
            "{before:#}"
        );
        for _ in 0..5 {
            let (_, status, _) = practice.run(&["status"]);
            match text(&status["waiting"][0]["kind"]).as_str() {
                "run" => practice.recover(&text(&status["waiting"][0]["run"])),
                "switch" => drop(practice.ok(&[
                    "release",
                    "kill",
                    "--as",
                    "sofia",
                    "--reason",
                    "the drill",
                ])),
                _ => break,
            }
        }
        let after = practice.ok(&["drill", "check"]);
        assert_eq!(
            (&after["safe"], &after["ledger_ok"]),
            (&Value::Bool(true), &Value::Bool(true)),
            "{after:#}"
        );
        assert_eq!(after["run_state"], "compensated", "{after:#}");
        let done = after["runbooks_done"].as_array().expect("a list");
        assert!(done.contains(&after["right"][0]), "{after:#}");
        practice.ok(&["drill", "end"]);
        assert!(!practice.base.path().join("drill").exists());
    }
}

#[test]
fn a_drill_that_is_not_there_or_not_known_is_refused() {
    let practice = Practice {
        base: tempfile::tempdir().expect("a folder"),
    };
    let (exit, value, _) = practice.run(&["drill", "start", "nosuch"]);
    assert_eq!((exit, &value["error"]["code"]), (2, &Value::from("RD0924")));
    let (exit, value, _) = practice.run(&["drill", "check"]);
    assert_eq!((exit, &value["error"]["code"]), (1, &Value::from("RD0921")));
    let listed = practice.ok(&["drill", "list"]);
    assert!(
        listed["scenes"]
            .as_array()
            .is_some_and(|scenes| scenes.len() > 10),
        "{listed:#}"
    );
}

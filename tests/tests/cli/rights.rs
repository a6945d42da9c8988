//! Logins that lack a right: what is told is what they lack, and nothing of a phase that there was not.

use redress_tests::try_query_text;

use crate::kit::{Kit, Ran, command, ended};

/// A login with these roles of the installation, and its URL.
fn login(kit: &Kit, role: &str, of: &[&str]) -> String {
    let role = format!("{role}_{}", kit.database.name());
    kit.database
        .query_text(&format!("create role {role} login"));
    for part in of {
        let grant = format!("grant redress_{part} to {role}");
        kit.database.query_text(&grant);
    }
    let url = kit.database.url();
    let (head, rest) = url.split_once("//").expect("a URL");
    let (_, rest) = rest.split_once('@').expect("a user");
    let url = format!("{head}//{role}@{rest}");
    try_query_text(&url, "select 1").expect("it may log in");
    url
}

fn at(kit: &Kit, url: &str, words: &[&str]) -> Ran {
    ended(&mut command(kit.dir.path(), Some(url), words))
}

#[test]
fn a_kill_by_a_login_that_may_not_drain_says_that_it_is_published_and_not_drained() {
    let kit = Kit::shop();
    let engine = login(&kit, "killer", &["engine"]);
    let file = kit
        .state()
        .join("hold/00000000-0000-0000-0000-000000000000.json");
    let ran = at(&kit, &engine, &["kill", "--reason", "stop"]);
    assert_eq!(ran.exit, 3, "{}", ran.err);
    for words in ["RD0214", "published", "drain_gate"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    assert!(!ran.err.contains("IS NOT STOPPED"), "{}", ran.err);
    let state = kit.database.query_text("select state from redress.switch");
    assert_eq!(state, "killed");
    assert!(!file.exists());
}

#[test]
fn a_kill_by_a_login_that_may_not_publish_stops_this_machine_and_says_so() {
    let kit = Kit::shop();
    let auditor = login(&kit, "looker", &["auditor"]);
    let ran = at(&kit, &auditor, &["kill", "--reason", "stop"]);
    assert_eq!(ran.exit, 78, "{}", ran.err);
    for words in ["RD0820", "the DATABASE IS NOT STOPPED"] {
        assert!(ran.err.contains(words), "{words}: {}", ran.err);
    }
    let file = kit
        .state()
        .join("hold/00000000-0000-0000-0000-000000000000.json");
    assert!(file.exists());
    let state = kit.database.query_text("select state from redress.switch");
    assert_eq!(state, "run");
}

#[test]
fn a_right_that_a_command_lacks_is_told_without_a_word_of_phases() {
    let kit = Kit::shop();
    let nobody = login(&kit, "nobody", &[]);
    let auditor = login(&kit, "auditing", &["auditor"]);
    let told = |url: &str, words: &[&str]| {
        let ran = at(&kit, url, words);
        assert_eq!(ran.exit, 78, "{words:?} {}", ran.err);
        for said in ["RD0820", "redress db roles"] {
            assert!(ran.err.contains(said), "{words:?} {said}: {}", ran.err);
        }
        for unsaid in ["phase", "RUN", "compensate-failed-run"] {
            assert!(!ran.err.contains(unsaid), "{words:?} {unsaid}: {}", ran.err);
        }
    };
    let start = ["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#];
    let hold = ["hold", "all", "--reason", "stop"];
    for words in [&start[..], &["status"], &["work", "--until-idle"], &hold] {
        told(&nobody, words);
    }
    told(&auditor, &start);
    told(&auditor, &hold);
    told(&nobody, &["db", "migrate", "--schema", "another"]);
    told(kit.database.url(), &["postings", "check"]);
}

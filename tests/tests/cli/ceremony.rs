//! The key ceremony: who opens the ledger, who changes its keys, and what a refusal leaves.

use std::fs;

use serde_json::Value;

use crate::kit::Kit;

/// People who sign without a terminal.
const QUIETLY: [&str; 1] = ["--non-interactive"];

impl Kit {
    /// A shop with three sovereigns and a reviewer; the ledger is not open.
    #[track_caller]
    fn of_three() -> Self {
        let kit = Self::shop();
        for name in ["bob", "carol"] {
            kit.ok(&["key", "new", name, "--role", "sovereign"]);
        }
        kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
        kit
    }

    /// A shop whose ledger `sov` opened alone; `rev` is a reviewer in it.
    #[track_caller]
    fn opened() -> Self {
        let kit = Self::shop();
        kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
        kit.ok(&kit.signed(&["key", "open"]));
        kit
    }

    /// Everything that the ledger holds, as one number.
    fn records(&self) -> String {
        self.database
            .query_text("select count(*) from redress.record")
    }

    /// The ledger's key of this name that counts, as `key list --ledger` has it.
    #[track_caller]
    fn ledger_key(&self, name: &str) -> Value {
        let list = self.json(&["key", "list", "--ledger"], 0);
        let keys = list["ledger"]["keys"].as_array().expect("an open ledger");
        let mut named = keys.iter().filter(|key| key["name"] == name);
        let valid = named.clone().find(|key| key["valid"] == true);
        valid.or_else(|| named.next()).cloned().unwrap_or_default()
    }
}

fn quietly<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &QUIETLY].concat()
}

#[test]
fn one_sovereign_opens_the_ledger_once() {
    let kit = Kit::of_three();
    let opened = kit.json(&kit.signed(&["key", "open", "--reason", "day one"]), 0);
    assert_eq!(opened["root"]["threshold"], 1);
    assert_eq!(opened["root"]["keys"].as_array().unwrap().len(), 3);
    assert_eq!(opened["registered"][0]["name"], "rev");
    assert_eq!(opened["next"], "redress audit seal");
    let origin = opened["origin"].as_str().unwrap();
    assert!(origin.ends_with("/gen/1"), "{origin}");
    // The log has a key of its own, under a file name that is not its name.
    let public = fs::read_to_string(kit.state().join("keys/log-gen-1.pub")).unwrap();
    assert!(public.starts_with(&format!("log {origin}+")), "{public}");
    let trust = fs::read_to_string(kit.state().join("trust")).unwrap();
    let line = format!("log {}\n", opened["log"]["vkey"].as_str().unwrap());
    assert!(trust.ends_with(&line), "{trust}");
    assert_eq!(opened["log"]["trusted"], true);
    assert_eq!(kit.records(), "2");
    kit.refused(&kit.signed(&["key", "open"]), 4, "RD0575");
    assert_eq!(kit.records(), "2");
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
    assert_eq!(kit.json(&["check"], 0)["ok"], true);
    assert_eq!(kit.ledger_key("sov")["root"], true);
    assert_eq!(kit.ledger_key("rev")["root"], false);
    assert_eq!(kit.ledger_key("rev")["since"], 2);
    assert_eq!(kit.ledger_key(origin)["role"], "log");
    let table = kit.ok(&["key", "list", "--ledger"]).out;
    for word in ["the log", "valid", "record 2", "threshold of the root: 1"] {
        assert!(table.contains(word), "{word}: {table}");
    }
}

#[test]
fn two_of_three_open_it_together_and_one_alone_leaves_nothing() {
    let kit = Kit::of_three();
    let alone = ["key", "open", "--threshold", "2"];
    let refusal = kit.refused(&kit.signed(&alone), 5, "RD0577");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("signed: sov"), "{message}");
    assert!(message.contains("could sign: bob, carol"), "{message}");
    // The same person twice is one person.
    let twice = [&alone[..], &["--cosign", "sov"]].concat();
    kit.refused(&kit.signed(&twice), 5, "RD0577");
    // A reviewer is none of the root.
    let reviewer = [&alone[..], &["--cosign", "rev"]].concat();
    kit.refused(&kit.signed(&reviewer), 4, "RD0547");
    assert_eq!(kit.records(), "0");
    assert!(!kit.state().join("keys/log-gen-1.key").exists());
    let trust = fs::read_to_string(kit.state().join("trust")).unwrap();
    assert!(!trust.contains("log "), "{trust}");

    let both = [&alone[..], &["--cosign", "bob"]].concat();
    assert_eq!(kit.json(&kit.signed(&both), 0)["root"]["threshold"], 2);
    assert_eq!(kit.records(), "2");
    kit.refused(&kit.signed(&["key", "revoke", "rev"]), 5, "RD0577");
    kit.ok(&kit.signed(&["key", "revoke", "rev", "--cosign", "carol"]));
    assert_eq!(kit.ledger_key("rev")["valid"], false);
}

#[test]
fn an_opening_that_asks_for_too_many_or_too_few_is_refused() {
    let kit = Kit::of_three();
    kit.refused(
        &kit.signed(&["key", "open", "--threshold", "4"]),
        2,
        "RD0924",
    );
    kit.refused(
        &kit.signed(&["key", "open", "--threshold", "0"]),
        2,
        "RD0924",
    );
    let trust = fs::read_to_string(kit.state().join("trust")).unwrap();
    fs::write(kit.state().join("trust"), format!("{trust}root 2\n")).unwrap();
    kit.refused(
        &kit.signed(&["key", "open", "--threshold", "1"]),
        7,
        "RD0578",
    );
    // What the file asks for is what counts when nothing is said.
    kit.refused(&kit.signed(&["key", "open"]), 5, "RD0577");
    kit.refused(&kit.signed(&["key", "revoke", "rev"]), 4, "RD0575");
    assert_eq!(kit.records(), "0");
    kit.ok(&kit.signed(&["key", "open", "--cosign", "carol"]));
}

#[test]
fn people_who_do_not_sit_together_sign_a_file_one_after_the_other() {
    let kit = Kit::of_three();
    let file = kit.path("open.json").display().to_string();
    let written = kit.json(
        &quietly(&["key", "open", "--threshold", "2", "--out", &file]),
        0,
    );
    assert_eq!(written["signed"], serde_json::json!([]));
    assert_eq!(written["missing"][0]["threshold"], 2);
    kit.refused(&["key", "submit", &file], 5, "RD0577");
    let sign = |file: &str, name: &str| kit.json(&quietly(&["key", "sign", file, "--as", name]), 0);
    let signed = sign(&file, "bob");
    assert_eq!(signed["signed"].as_array().unwrap().len(), 1);
    let missing = kit.refused(&["key", "submit", &file], 5, "RD0577");
    let message = missing["error"]["message"].as_str().unwrap();
    assert!(message.contains("could sign: carol, sov"), "{message}");
    kit.refused(
        &quietly(&["key", "sign", &file, "--as", "bob"]),
        4,
        "RD0546",
    );
    kit.refused(
        &quietly(&["key", "sign", &file, "--as", "rev"]),
        4,
        "RD0571",
    );
    kit.refused(&["key", "sign", &file], 2, "RD0913");
    assert_eq!(kit.records(), "0");
    sign(&file, "carol");
    let recorded = kit.json(&["key", "submit", &file], 0);
    assert_eq!(
        (&recorded["act"], &recorded["record"]),
        (&Value::from("key.registered"), &Value::from(1))
    );
    let trust = fs::read_to_string(kit.state().join("trust")).unwrap();
    assert!(trust.contains("\nlog "), "{trust}");
    kit.refused(&["key", "submit", &file], 4, "RD0575");
    // An existing file is never overwritten: it may hold signatures.
    kit.refused(
        &quietly(&["key", "revoke", "sov", "--out", &file]),
        4,
        "RD0574",
    );
    kit.refused(
        &quietly(&["key", "register", "rev", "--out", &file]),
        1,
        "RD0921",
    );
}

#[test]
fn copies_of_a_file_that_several_signed_are_recorded_together() {
    let kit = Kit::of_three();
    kit.ok(&kit.signed(&["key", "open", "--threshold", "2", "--cosign", "bob"]));
    let one = kit.path("one.json").display().to_string();
    let two = kit.path("two.json").display().to_string();
    kit.ok(&kit.signed(&["key", "revoke", "rev", "--out", &one]));
    fs::copy(&one, &two).unwrap();
    kit.ok(&quietly(&["key", "sign", &two, "--as", "bob"]));
    kit.refused(&["key", "submit", &one], 5, "RD0577");
    let other = kit.path("other.json").display().to_string();
    kit.ok(&kit.signed(&["key", "revoke", "rev", "--out", &other]));
    kit.refused(&["key", "submit", &two, &other], 2, "RD0924");
    kit.json(&["key", "submit", &one, &two], 0);
    assert_eq!(kit.ledger_key("rev")["valid"], false);
}

#[test]
fn an_act_that_was_written_before_somebody_changed_the_keyring_is_refused() {
    let kit = Kit::opened();
    kit.ok(&["key", "new", "op", "--role", "operator"]);
    let file = kit.path("late.json").display().to_string();
    kit.ok(&kit.signed(&["key", "register", "op", "--out", &file]));
    kit.ok(&kit.signed(&["key", "revoke", "rev"]));
    let before = kit.records();
    let refusal = kit.refused(&["key", "submit", &file], 4, "RD0556");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("sign again"), "{message}");
    assert_eq!(kit.records(), before);
    // A changed file is refused whoever signed it.
    let changed = kit.path("changed.json").display().to_string();
    kit.ok(&kit.signed(&["key", "register", "op", "--out", &changed]));
    let text = fs::read_to_string(&changed).unwrap();
    let at = text.find("\"sig\": \"").unwrap() + 8;
    let other = if text.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let forged = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    fs::write(&changed, forged).unwrap();
    kit.refused(&["key", "submit", &changed], 4, "RD0548");
    assert_eq!(kit.records(), before);
}

#[test]
fn once_the_ledger_is_open_a_line_in_the_trust_file_is_not_enough() {
    let kit = Kit::opened();
    let run = kit.failed_run("o-1");
    kit.ok(&["key", "new", "late", "--role", "sovereign"]);
    let approve = |name| ["approve", &run, "--as", name, "--non-interactive"];
    kit.refused(&approve("late"), 4, "RD0547");
    kit.ok(&kit.signed(&["key", "register", "late"]));
    assert_eq!(kit.json(&approve("late"), 0)["missing"], Value::Null);
    // The reviewer was registered by the opening: the signature counts, for what a reviewer may do.
    let other = kit.failed_run("o-2");
    let approval = kit.json(&["approve", &other, "--as", "rev", "--non-interactive"], 0);
    assert_eq!(approval["role"], "reviewer");
    kit.json(&["apply", &run], 0);
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
    assert_eq!(kit.json(&["check"], 0)["ok"], true);
}

#[test]
fn a_revoked_key_signs_nothing_more_and_what_it_released_stays_released() {
    let kit = Kit::of_three();
    kit.ok(&kit.signed(&["key", "open"]));
    kit.ok(&["kill", "--reason", "an exercise", "--deadline", "2s"]);
    kit.ok(&["key", "new", "dan", "--role", "sovereign"]);
    kit.ok(&kit.signed(&["key", "register", "dan"]));
    let by_dan = |words: &[&'static str]| [words, &["--as", "dan", "--non-interactive"]].concat();
    kit.ok(&by_dan(&["release", "kill", "--reason", "over"]));
    let run = kit.failed_run("o-1");
    kit.ok(&["approve", &run, "--as", "dan", "--non-interactive"]);
    let id = kit.ledger_key("dan")["id"].as_str().unwrap().to_owned();
    kit.ok(&kit.signed(&["key", "revoke", &id]));
    kit.refused(&kit.signed(&["key", "revoke", "dan"]), 4, "RD0573");
    // The approval was recorded in time, and what it was for has not begun.
    kit.refused(&["apply", &run], 5, "RD0560");
    kit.refused(
        &["approve", &run, "--as", "dan", "--non-interactive"],
        4,
        "RD0570",
    );
    // A new process must prove the release by a key that counts no more, but did.
    let input = r#"{"order": "o-2", "qty": 1}"#;
    let view = kit.json(&["start", "shop", "--input", input, "--wait"], 0);
    assert_eq!(view["state"], "completed");
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
    // The key is known for ever: it cannot come back.
    kit.refused(&kit.signed(&["key", "register", "dan"]), 4, "RD0572");
}

#[test]
fn another_root_is_signed_by_the_old_and_by_the_new_one() {
    let kit = Kit::of_three();
    kit.ok(&kit.signed(&["key", "open", "--threshold", "2", "--cosign", "bob"]));
    kit.ok(&["key", "new", "frank", "--role", "sovereign"]);
    let rotate = [
        "key",
        "rotate",
        "--root",
        "--without",
        "bob",
        "--without",
        "carol",
    ];
    let with = |more: &[&'static str]| [&rotate[..], more].concat();
    let old_only = with(&["--cosign", "bob"]);
    let refusal = kit.refused(&kit.signed(&old_only), 5, "RD0577");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("the new root needs 2 people, signed: sov, could sign: frank"),
        "{message}"
    );
    let new_only = with(&["--cosign", "frank"]);
    let refusal = kit.refused(&kit.signed(&new_only), 5, "RD0577");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("the root needs 2 people"), "{message}");
    let before = kit.records();
    kit.refused(
        &kit.signed(&["key", "revoke", "bob", "--cosign", "bob"]),
        4,
        "RD0574",
    );
    assert_eq!(kit.records(), before);
    kit.ok(&kit.signed(&with(&["--cosign", "bob", "--cosign", "frank"])));
    assert_eq!(kit.ledger_key("frank")["root"], true);
    assert_eq!(kit.ledger_key("bob")["valid"], false);
    // Bob left with the root: he decides on nothing any more.
    kit.refused(
        &kit.signed(&["key", "revoke", "rev", "--cosign", "bob"]),
        4,
        "RD0570",
    );
    kit.ok(&kit.signed(&["key", "revoke", "rev", "--cosign", "frank"]));
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
    kit.refused(
        &kit.signed(&["key", "rotate", "--root", "--without", "nobody"]),
        4,
        "RD0915",
    );
}

#[test]
fn a_key_is_replaced_by_one_of_the_same_holder_and_a_stolen_one_is_named() {
    let kit = Kit::opened();
    kit.ok(&["key", "new", "rev", "--role", "reviewer", "--file", "rev-2"]);
    let new = kit.state().join("keys/rev-2.pub").display().to_string();
    kit.refused(
        &kit.signed(&["key", "rotate", "rev", "--to", "sov"]),
        4,
        "RD0572",
    );
    kit.ok(&kit.signed(&["key", "rotate", "rev", "--to", &new]));
    let run = kit.failed_run("o-1");
    kit.refused(
        &["approve", &run, "--as", "rev", "--non-interactive"],
        4,
        "RD0570",
    );
    kit.ok(&["approve", &run, "--as", "rev-2", "--non-interactive"]);
    kit.ok(&kit.signed(&["key", "compromised", "rev", "--since", "1"]));
    assert_eq!(kit.ledger_key("rev")["valid"], false);
    kit.refused(
        &kit.signed(&["key", "compromised", "nobody", "--since", "1"]),
        4,
        "RD0573",
    );
    kit.exits(
        &kit.signed(&["key", "compromised", "rev", "--since", "x"]),
        2,
    );
    // The log's key is replaced too, and never taken away by itself.
    kit.refused(&kit.signed(&["key", "revoke", "log"]), 4, "RD0574");
    let list = kit.json(&["key", "list", "--ledger"], 0);
    let name = list["ledger"]["log"]
        .as_str()
        .unwrap()
        .split('+')
        .next()
        .unwrap()
        .to_owned();
    kit.ok(&[
        "key",
        "new",
        &name,
        "--role",
        "log",
        "--file",
        "log-gen-1-b",
    ]);
    let new = kit
        .state()
        .join("keys/log-gen-1-b.pub")
        .display()
        .to_string();
    kit.ok(&kit.signed(&["key", "rotate", "log", "--to", &new]));
    assert_ne!(
        kit.json(&["key", "list", "--ledger"], 0)["ledger"]["log"],
        list["ledger"]["log"]
    );
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
}

#[test]
fn the_keys_of_machines_and_of_people_are_not_mixed() {
    let kit = Kit::of_three();
    // A person's key where the log's belongs.
    kit.ok(&[
        "key",
        "new",
        "eve",
        "--role",
        "sovereign",
        "--file",
        "log-gen-1",
        "--no-trust",
    ]);
    kit.refused(&kit.signed(&["key", "open"]), 4, "RD0571");
    for end in ["key", "pub"] {
        fs::remove_file(kit.state().join(format!("keys/log-gen-1.{end}"))).unwrap();
    }
    kit.ok(&kit.signed(&["key", "open"]));
    let run = kit.failed_run("o-1");
    for words in [
        vec!["approve", &run],
        vec!["key", "revoke", "rev"],
        vec!["resolve", &run, "--reason", "x"],
    ] {
        let by_log = [&words[..], &["--as", "log-gen-1", "--non-interactive"]].concat();
        kit.refused(&by_log, 4, "RD0571");
    }
    // And the log's key is nobody's key: neither to register nor to trust as one.
    let log = kit.state().join("keys/log-gen-1.pub").display().to_string();
    kit.refused(&kit.signed(&["key", "register", &log]), 4, "RD0509");
    kit.refused(
        &kit.signed(&["key", "register", &log, "--role", "operator"]),
        4,
        "RD0579",
    );
    kit.refused(&["key", "trust", &log, "--role", "reviewer"], 4, "RD0579");
}

#[test]
fn a_ledger_whose_decisions_nobody_could_verify_is_not_opened() {
    let kit = Kit::of_three();
    let run = kit.failed_run("o-1");
    kit.ok(&["approve", &run, "--as", "rev", "--non-interactive"]);
    let trust = kit.state().join("trust");
    let whole = fs::read_to_string(&trust).unwrap();
    let without: String = whole
        .lines()
        .filter(|line| !line.contains(" rev+"))
        .map(|line| format!("{line}\n"))
        .collect();
    let before = kit.records();
    fs::write(&trust, without).unwrap();
    let refusal = kit.refused(&kit.signed(&["key", "open"]), 7, "RD0926");
    let message = refusal["error"]["message"].as_str().unwrap();
    assert!(message.contains("RD0547"), "{message}");
    fs::write(&trust, whole).unwrap();
    // A file registers the root and nobody else, so that the reviewer's approval would stand alone.
    let file = kit.path("open.json").display().to_string();
    kit.refused(&kit.signed(&["key", "open", "--out", &file]), 7, "RD0926");
    assert!(!kit.path("open.json").exists());
    assert_eq!(kit.records(), before);
    kit.ok(&kit.signed(&["key", "open"]));
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
}

#[test]
fn the_trust_file_is_extended_and_shown_as_it_is_understood() {
    let kit = Kit::shop();
    kit.ok(&["key", "new", "rev", "--role", "reviewer", "--no-trust"]);
    kit.refused(&["key", "trust", "nobody"], 4, "RD0915");
    let added = kit.json(&["key", "trust", "rev"], 0);
    assert_eq!(added["role"], "reviewer");
    kit.refused(&["key", "trust", "rev"], 78, "RD0920");
    kit.ok(&["key", "new", "aud", "--role", "auditor", "--no-trust"]);
    let list = kit.json(&["key", "list"], 0);
    let public = fs::read_to_string(kit.state().join("keys/aud.pub")).unwrap();
    let vkey = public.trim_end().split_once(' ').unwrap().1;
    kit.refused(&["key", "trust", vkey], 2, "RD0913");
    kit.ok(&["key", "trust", vkey, "--role", "auditor"]);
    assert_eq!(list["keys"].as_array().unwrap().len(), 3);
    let shown = kit.json(&["key", "trust", "--show"], 0);
    let names: Vec<&str> = shown["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["aud", "rev", "sov"]);
    assert_eq!(shown["root"], Value::Null);
    let text = kit.ok(&["key", "trust", "--show"]).out;
    assert!(text.contains("root: any of the sovereigns above"), "{text}");
    kit.exits(&["key", "trust"], 2);
}

#[test]
fn the_keys_of_this_machine_are_listed_without_a_database() {
    let kit = Kit::shop();
    let nowhere = ["--database", "postgres://nobody@127.0.0.1:1/nothing"];
    let list = [&["key", "list"][..], &nowhere].concat();
    assert_eq!(kit.json(&list, 0)["keys"][0]["name"], "sov");
    let ledger = [&["key", "list", "--ledger"][..], &nowhere].concat();
    kit.json(&ledger, 75);
    assert_eq!(
        kit.json(&["key", "list", "--ledger"], 0)["ledger"],
        Value::Null
    );
}

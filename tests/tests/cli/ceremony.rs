//! The key ceremony: who opens the ledger, who signs apart, and what a refusal leaves.

use std::fs;

use serde_json::Value;

use crate::kit::{Kit, quietly};

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

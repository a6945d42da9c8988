//! Keys once the ledger is open: who counts, who replaces whom, and what this machine says of them.

use std::fs;

use base64ct::{Base64, Encoding};
use redress_ledger::keyfile::{key_path, read_key};
use serde_json::{Value, json};

use crate::kit::Kit;

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
fn a_stolen_key_is_not_named_since_a_position_that_the_log_does_not_have() {
    let kit = Kit::opened();
    kit.ok(&["audit", "seal"]);
    let size = kit.json(&["audit", "window"], 0)["sealed"]
        .as_u64()
        .unwrap();
    let before = kit.records();
    for since in [size + 1, 5000] {
        let since = since.to_string();
        let stolen = ["key", "compromised", "rev", "--since", &since];
        kit.refused(&kit.signed(&stolen), 4, "RD0585");
        let file = kit.path("stolen.json").display().to_string();
        let out = kit.signed(&[&stolen[..], &["--out", &file]].concat());
        kit.refused(&out, 4, "RD0585");
        assert!(!kit.path("stolen.json").exists());
    }
    assert_eq!(kit.records(), before);
    let now = size.to_string();
    kit.ok(&kit.signed(&["key", "compromised", "rev", "--since", &now]));
    kit.ok(&["audit", "seal"]);
    let folder = kit.path("export").display().to_string();
    kit.ok(&["audit", "export", &folder]);
    let report = kit.json(&["audit", "verify", &folder], 0);
    assert_eq!(report["verdict"], "VERIFIED");
}

#[test]
fn an_act_from_a_file_that_a_verifier_would_refuse_is_refused_and_leaves_nothing() {
    let kit = Kit::opened();
    kit.ok(&["audit", "seal"]);
    let file = kit.path("act.json").display().to_string();
    let stolen = ["key", "compromised", "rev", "--since", "1", "--out", &file];
    kit.ok(&kit.signed(&stolen));
    let (written, before) = (fs::read(&file).unwrap(), kit.records());
    let rest = json!({"key": kit.ledger_key("rev")["id"]});
    for (since, more) in [
        (json!(5000), None),
        (json!(-1), None),
        (json!("1"), None),
        (json!(null), None),
        (json!(1), Some("more")),
    ] {
        let mut body = rest.clone();
        body["since"] = since;
        if let Some(name) = more {
            body[name] = json!(1);
        }
        let act = signed_again(&kit, &written, |act| act["body"] = body);
        fs::write(&file, act).unwrap();
        kit.refused(&["key", "submit", &file], 4, "RD0585");
    }
    let unknown = json!({"key": "nobody+00000000", "since": 1});
    let act = signed_again(&kit, &written, |act| act["body"] = unknown);
    fs::write(&file, act).unwrap();
    kit.refused(&["key", "submit", &file], 4, "RD0573");
    assert_eq!(kit.records(), before);
    fs::write(&file, written).unwrap();
    kit.ok(&["key", "submit", &file]);
}

/// The act with another payload, signed by the sovereign's key.
fn signed_again(kit: &Kit, written: &[u8], change: impl FnOnce(&mut Value)) -> String {
    let envelope: Value = serde_json::from_slice(written).unwrap();
    let payload = Base64::decode_vec(envelope["payload"].as_str().unwrap()).unwrap();
    let mut act: Value = serde_json::from_slice(&payload).unwrap();
    change(&mut act);
    let act: redress_ledger::keyring::Act = serde_json::from_value(act).unwrap();
    let path = key_path(&kit.state().join("keys"), "sov").unwrap();
    let key = read_key(&path, &"correct horse".to_owned().into()).unwrap();
    act.sign(&[&key.key]).unwrap().to_value().to_string()
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

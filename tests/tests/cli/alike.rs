//! Failures that are equal: one fingerprint, one entry, one act.

use serde_json::Value;

use crate::kit::{Kit, SAGA};

/// The groups of `status --json`.
#[track_caller]
fn groups(kit: &Kit) -> Vec<Value> {
    let status = kit.json(&["status"], 3);
    status["groups"].as_array().expect("groups").clone()
}

#[test]
fn equal_failures_are_one_entry_and_others_stand_beside_it() {
    let kit = Kit::shop();
    let runs: Vec<String> = (1..=5).map(|n| kit.failed_run(&format!("o-{n}"))).collect();
    let other = SAGA.replace("saga: shop", "saga: stall");
    let other = kit.write("stall.yaml", other.as_bytes());
    let input = r#"{"order": "s-1", "qty": 1, "fail": true}"#;
    let single = kit.json(&["start", &other, "--input", input, "--wait"], 3);
    let single = single["run"].as_str().unwrap();

    let status = kit.json(&["status"], 3);
    let waiting = status["waiting"].as_array().unwrap();
    assert_eq!(waiting.len(), 6, "each run stands there for itself too");
    let of = |run: &str| {
        let found = waiting.iter().find(|one| one["run"] == run);
        found.expect("it waits")["fingerprint"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let shared = of(&runs[0]);
    assert!(runs.iter().all(|run| of(run) == shared));
    assert_ne!(of(single), shared);
    assert_eq!(
        kit.json(&["show", &runs[0]], 0)["fingerprint"],
        shared.as_str()
    );

    let groups = groups(&kit);
    assert_eq!(groups.len(), 2);
    assert_eq!(groups[0]["fingerprint"], shared.as_str());
    assert_eq!(groups[0]["count"], 5);
    assert_eq!(groups[0]["saga"], "shop");
    assert_eq!(groups[0]["phase"], "book");
    assert_eq!(groups[0]["code"], "RD0303");
    assert_eq!(groups[0]["oldest"], waiting[0]["since"]);
    assert_eq!(groups[0]["runs"][0], runs[0].as_str(), "oldest first");
    let short = &shared[..12];
    let command = format!("redress apply --match {short} --as KEY");
    assert_eq!(groups[0]["next"]["command"], command.as_str());
    assert_eq!(groups[0]["next"]["who"], serde_json::json!(["sovereign"]));

    let text = kit.exits(&["status"], 3).out;
    assert_eq!(text.matches(" runs of ").count(), 1, "{text}");
    for part in [
        "5 runs of shop at book",
        &command,
        "o-1, o-2, o-3, o-4, and 1 more",
        " s)",
        single,
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(!text.contains(&runs[1]), "{text}");
}

#[test]
fn runs_that_fail_alike_are_listed_by_their_fingerprint() {
    let kit = Kit::shop();
    let run = kit.failed_run("o-1");
    kit.failed_run("o-2");
    kit.ok(&[
        "start",
        "shop",
        "--input",
        r#"{"order": "o-3", "qty": 1}"#,
        "--wait",
    ]);
    let fingerprint = groups(&kit)[0]["fingerprint"].as_str().unwrap().to_owned();
    for digits in [
        &fingerprint[..],
        &fingerprint[..12],
        &fingerprint[..8].to_uppercase(),
    ] {
        let list = kit.json(&["runs", "--match", digits], 0);
        assert_eq!(list["runs"].as_array().unwrap().len(), 2, "{digits}");
    }
    let of_one = kit.json(&["runs", "--match", &fingerprint, "--subject", "o-1"], 0);
    assert_eq!(of_one["runs"][0]["run"], run.as_str());
    for digits in [
        &fingerprint[..7],
        "0123456789ab",
        "",
        "%",
        "'; drop table x",
    ] {
        kit.refused(&["runs", "--match", digits], 4, "RD0428");
    }
}

#[test]
fn a_plan_of_another_kind_takes_a_run_out_of_its_group_and_a_new_reason_does_not() {
    let kit = Kit::shop();
    let runs: Vec<String> = (1..=3).map(|n| kit.failed_run(&format!("o-{n}"))).collect();
    kit.ok(&["plan", &runs[1], "--reason", "said otherwise"]);
    assert_eq!(groups(&kit)[0]["count"], 3);
    kit.json(&["plan", &runs[2], "--action", "reserve=hard_delete"], 0);
    let found = groups(&kit);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert_eq!(
        (&found[0]["count"], &found[1]["count"]),
        (&2.into(), &1.into())
    );
    assert_eq!(found[1]["runs"][0], runs[2].as_str());
}

#[test]
fn failures_without_a_way_back_are_one_entry_that_does_not_offer_to_apply() {
    let kit = Kit::shop();
    let saga = SAGA
        .replace("saga: shop", "saga: oneway")
        .replacen("compensation: soft_revert", "compensation: irreversible", 1)
        .replacen("residue: [shop.reservation]\n    ", "", 1);
    let file = kit.write("oneway.yaml", saga.as_bytes());
    for order in ["o-1", "o-2"] {
        let input = format!(r#"{{"order": "{order}", "qty": 1, "fail": true}}"#);
        kit.json(&["start", &file, "--input", &input, "--wait"], 3);
    }
    let found = groups(&kit);
    assert_eq!(found[0]["count"], 2);
    let next = found[0]["next"]["command"].as_str().unwrap();
    assert!(next.starts_with("redress runs --match "), "{next}");
}

#[test]
fn holds_that_many_ended_runs_left_are_counted() {
    let kit = Kit::shop();
    for number in 0..7 {
        let run = kit.failed_run(&format!("o-{number}"));
        kit.ok(&kit.signed(&["resolve", &run, "--reason", "written off"]));
    }
    assert_eq!(groups(&kit), Vec::<Value>::new());
    let text = kit.exits(&["status"], 3).out;
    assert!(
        text.contains("2 more holds of runs that have ended"),
        "{text}"
    );
}

//! Recovery of many runs that failed alike: one confirmation, a decision for each, never 0 for a part.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use redress::Recovered;
use redress::ledger::State;
use redress_tests::{Running, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kit::{Kit, SAGA};

const LIMIT: Duration = Duration::from_secs(60);

impl Kit {
    /// An engine on the kit's database, without roots.
    async fn engine(&self) -> redress::Engine {
        let pool = redress::db::pool(self.database.url(), 10).expect("a pool");
        redress::Engine::builder(pool)
            .adapters(redress_adapters::standard())
            .state_dir(self.state())
            .actor("os:maker@test")
            .build()
            .await
            .expect("an engine")
    }

    /// Failed runs of the shop, made in one process.
    fn failing(&self, saga: &str, orders: impl IntoIterator<Item = String>) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let orders: Vec<String> = orders.into_iter().collect();
        runtime.block_on(async {
            let engine = Arc::new(self.engine().await);
            let mut flying = tokio::task::JoinSet::new();
            for order in orders {
                if flying.len() == 8 {
                    flying.join_next().await;
                }
                let (engine, saga) = (Arc::clone(&engine), saga.to_owned());
                flying.spawn(async move {
                    let input = json!({"order": order, "qty": 1, "fail": true});
                    let start = engine.start(&saga, input);
                    engine
                        .start_and_drive(start)
                        .await
                        .expect("it fails as it should");
                });
            }
            flying.join_all().await;
        });
    }

    /// The fingerprint of the only group, and how many runs it has.
    #[track_caller]
    fn group(&self) -> (String, u64) {
        let status = self.json(&["status"], 3);
        let groups = status["groups"].as_array().expect("groups");
        assert_eq!(groups.len(), 1, "{groups:#?}");
        let fingerprint = groups[0]["fingerprint"].as_str().expect("one");
        (
            fingerprint.to_owned(),
            groups[0]["count"].as_u64().expect("a count"),
        )
    }

    /// The set as it would be confirmed: its digest and its code.
    #[track_caller]
    fn set(&self, fingerprint: &str) -> (String, String) {
        let set = self.json(&["plan", "--match", fingerprint], 0);
        let text = |name: &str| set["set"][name].as_str().expect("text").to_owned();
        (text("digest"), text("code"))
    }

    fn state_counts(&self) -> String {
        self.database
            .query_text("select state, count(*) from redress.run group by state order by state")
    }
}

fn orders(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("o-{number:03}"))
}

#[test]
fn five_hundred_equal_failures_are_recovered_by_one_confirmation() {
    let kit = Kit::shop();
    kit.failing("shop", orders(500));
    let (fingerprint, count) = kit.group();
    assert_eq!(count, 500);
    let (digest, code) = kit.set(&fingerprint[..12]);
    let began = Instant::now();
    let words = [
        "apply",
        "--match",
        &fingerprint[..12],
        "--as",
        "sov",
        "--confirm",
        &code,
    ];
    let done = kit.json(
        &[&words[..], &["--reason", "the supplier recovered"]].concat(),
        0,
    );
    let took = began.elapsed();
    println!("500 runs in {took:?}");
    assert!(took < LIMIT, "{took:?}");
    assert_eq!(done["summary"], json!({"done": 500}));
    assert_eq!(done["error"], Value::Null);
    assert_eq!(done["set"]["digest"], digest.as_str());
    let results = done["results"].as_array().unwrap();
    let runs: BTreeSet<&str> = results
        .iter()
        .map(|one| one["run"].as_str().unwrap())
        .collect();
    assert_eq!(runs.len(), 500);
    assert_eq!(kit.state_counts(), "compensated|500");
    let withdrawn = "select count(*) from shop.reservation where state = 'withdrawn'";
    assert_eq!(kit.database.query_text(withdrawn), "500");
    // A decision for each, none of them used twice, and each says what it was confirmed with.
    assert_eq!(
        kit.database
            .query_text("select count(distinct id) from redress.decision_used"),
        "500"
    );
    let log = kit.json(&["log", results[7]["run"].as_str().unwrap()], 0);
    let records = log["records"].as_array().unwrap();
    let approved = records
        .iter()
        .find(|one| one["kind"] == "plan.approved")
        .unwrap();
    let envelope = approved["record"]["body"]["envelope"]["payload"]
        .as_str()
        .unwrap();
    let decision = String::from_utf8(Base64::decode_vec(envelope).unwrap()).unwrap();
    for part in ["the supplier recovered", "one of 500 runs", &digest] {
        assert!(decision.contains(part), "{part} in {decision}");
    }
    assert_eq!(kit.json(&["check"], 0)["ok"], true);
    kit.refused(&words, 4, "RD0428");
}

#[test]
fn what_is_not_confirmed_is_not_done() {
    let kit = Kit::shop();
    kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
    kit.ok(&["key", "new", "mallory", "--role", "sovereign", "--no-trust"]);
    kit.failing("shop", orders(3));
    let (fingerprint, _) = kit.group();
    let (digest, code) = kit.set(&fingerprint);
    let before = kit.records();
    let words = |more: &[&'static str]| {
        let mut all = vec![
            "apply".to_owned(),
            "--match".to_owned(),
            fingerprint.clone(),
        ];
        all.extend(more.iter().map(|word| (*word).to_owned()));
        all
    };
    let check = |more: &[&'static str], last: Option<&str>, exit: i32, error: &str| {
        let mut all = words(more);
        all.extend(last.map(str::to_owned));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        kit.refused(&all, exit, error)
    };
    // Nobody is there to be asked, and a passphrase file is no consent.
    let told = check(&["--as", "sov"], None, 2, "RD0913");
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--confirm CODE"),
        "{told}"
    );
    let told = check(&["--as", "sov", "--non-interactive"], None, 2, "RD0913");
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--confirm CODE"),
        "{told}"
    );
    let told = check(&["--confirm"], Some(&code), 2, "RD0913");
    assert!(
        told["error"]["message"]
            .as_str()
            .unwrap()
            .contains("--as KEY"),
        "{told}"
    );
    check(&["--as", "sov", "--confirm", "00000000"], None, 4, "RD0916");
    check(
        &["--as", "sov", "--confirm"],
        Some(&fingerprint),
        4,
        "RD0916",
    );
    check(
        &["--as", "sov", "--set", "0123456789abcdef", "--confirm"],
        Some(&code),
        6,
        "RD0427",
    );
    check(
        &["--as", "sov", "--set", "", "--confirm"],
        Some(&code),
        6,
        "RD0427",
    );
    check(&["--as", "rev", "--confirm"], Some(&code), 5, "RD0560");
    check(&["--as", "mallory", "--confirm"], Some(&code), 4, "RD0547");
    check(&["--as", "nobody", "--confirm"], Some(&code), 4, "RD0915");
    // A part of them is another set.
    check(
        &["--as", "sov", "--limit", "2", "--confirm"],
        Some(&code),
        4,
        "RD0916",
    );
    check(
        &["--as", "sov", "--limit", "2", "--confirm", "x", "--set"],
        Some(&digest),
        6,
        "RD0427",
    );
    kit.refused(
        &["approve", "--match", "0123456789ab", "--as", "sov"],
        4,
        "RD0428",
    );
    kit.refused(&["plan", "--match", "0123456789ab"], 4, "RD0428");
    for wrong in [
        &["apply"][..],
        &["apply", "x", "--match", "y"],
        &["apply", "--confirm", "x"],
        &["apply", "--limit", "2", "x"],
        &["apply", "--reason", "y", "x"],
        &["approve", "--set", "y", "x"],
        &["plan", "--limit", "2", "x"],
        &["apply", "--match", "x", "--limit", "0"],
        &["plan", "--match", "x", "--action", "a=decide"],
        &["approve", "--match", "x", "--phase", "y"],
    ] {
        kit.exits(wrong, 2);
    }
    fs::remove_file(kit.state().join("trust")).unwrap();
    check(&["--as", "sov", "--confirm"], Some(&code), 5, "RD0562");
    assert_eq!(kit.records(), before, "nothing was written");
    assert_eq!(kit.state_counts(), "failed|3");
}

#[test]
fn one_run_that_is_refused_does_not_hold_up_the_others_and_is_no_success() {
    let kit = Kit::shop();
    kit.failing("shop", orders(6));
    let shipped =
        "update shop.reservation set state = 'shipped' where order_no = 'o-004' returning run";
    let shipped = kit.database.query_text(shipped);
    let (fingerprint, _) = kit.group();
    let (_, code) = kit.set(&fingerprint);
    let words = [
        "apply",
        "--match",
        &fingerprint,
        "--as",
        "sov",
        "--confirm",
        &code,
    ];
    let report = kit.json(&words, 1);
    assert_eq!(report["error"]["code"], "RD0431");
    assert_eq!(report["summary"], json!({"done": 5, "refused": 1}));
    let refused: Vec<&Value> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["result"] == "refused")
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(
        (&refused[0]["run"], &refused[0]["code"]),
        (&json!(shipped), &json!("RD0421"))
    );
    assert_eq!(report["errors"][0]["code"], "RD0431");
    assert_eq!(report["errors"][1]["run"], shipped.as_str());
    assert_eq!(kit.state_counts(), "compensated|5\nfailed|1");
    // Again: what is done is not there any more, and the one that is left is refused for what it is.
    let (_, code) = kit.set(&fingerprint);
    let words = [
        "apply",
        "--match",
        &fingerprint,
        "--as",
        "sov",
        "--confirm",
        &code,
    ];
    let again = kit.json(&words, 4);
    assert_eq!(again["error"]["code"], "RD0421");
    assert_eq!(again["results"].as_array().unwrap().len(), 1);
    let approvals = format!(
        "select count(*) from redress.record where run = '{shipped}' and kind = 'plan.approved'"
    );
    assert_eq!(kit.database.query_text(&approvals), "1", "signed once");
    kit.database
        .query_text("update shop.reservation set state = 'live' where order_no = 'o-004'");
    kit.json(&words, 0);
    assert_eq!(kit.state_counts(), "compensated|6");
}

#[test]
fn a_second_person_signs_the_same_set_or_none() {
    let kit = Kit::of_three();
    let saga = SAGA
        .replace("saga: shop", "saga: two")
        .replace("soft_revert: {sovereign: 1}", "soft_revert: {sovereign: 2}");
    let file = kit.write("two.yaml", saga.as_bytes());
    kit.ok(&["saga", "register", &file]);
    kit.failing("two", orders(4));
    let (fingerprint, _) = kit.group();
    let (digest, code) = kit.set(&fingerprint);
    let apply = [
        "apply",
        "--match",
        &fingerprint,
        "--as",
        "sov",
        "--confirm",
        &code,
    ];
    let report = kit.json(&apply, 5);
    assert_eq!(report["error"]["code"], "RD0560");
    assert_eq!(report["summary"], json!({"waiting": 4}));
    // The same person again adds nothing, and is not recorded twice.
    let records = kit.records();
    kit.json(&apply, 5);
    assert_eq!(kit.records(), records);

    // One of them goes another way: the set that was confirmed is gone.
    let gone = report["results"][0]["run"].as_str().unwrap().to_owned();
    kit.ok(&kit.signed(&["resolve", &gone, "--reason", "written off"]));
    let second = |set: &str, code: &str, exit: i32| {
        let words = [
            "approve",
            "--match",
            &fingerprint,
            "--as",
            "bob",
            "--set",
            set,
            "--confirm",
            code,
        ];
        kit.json(&words, exit)
    };
    assert_eq!(second(&digest, &code, 6)["error"]["code"], "RD0427");
    let (digest, code) = kit.set(&fingerprint);
    let signed = second(&digest[..16], &code, 0);
    assert_eq!(signed["summary"], json!({"done": 3}));
    assert_eq!(
        kit.state_counts(),
        "failed|3\nresolved|1",
        "signing does not apply"
    );
    // Every signature is there: whoever carries it out signs nothing, and confirms all the same.
    kit.refused(&["apply", "--match", &fingerprint], 2, "RD0913");
    let done = kit.json(&["apply", "--match", &fingerprint, "--confirm", &code], 0);
    assert_eq!(done["summary"], json!({"done": 3}));
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
}

#[test]
fn plans_that_need_nobody_are_confirmed_and_not_signed() {
    let kit = Kit::shop();
    let saga = SAGA
        .replace("saga: shop", "saga: auto")
        .replace("soft_revert: {sovereign: 1}", "soft_revert: auto")
        .replace("on_failure: compensate", "on_failure: hold");
    let file = kit.write("auto.yaml", saga.as_bytes());
    kit.ok(&["saga", "register", &file]);
    kit.failing("auto", orders(3));
    let (fingerprint, _) = kit.group();
    let next = kit.json(&["status"], 3)["groups"][0]["next"]["command"].clone();
    assert_eq!(
        next,
        format!("redress apply --match {}", &fingerprint[..12])
    );
    kit.refused(&["apply", "--match", &fingerprint], 2, "RD0913");
    let (_, code) = kit.set(&fingerprint);
    let limited = kit.json(&["plan", "--match", &fingerprint, "--limit", "2"], 0);
    assert_eq!(
        (&limited["set"]["count"], &limited["set"]["left"]),
        (&json!(2), &json!(1))
    );
    let part = limited["set"]["code"].as_str().unwrap();
    let words = [
        "apply",
        "--match",
        &fingerprint,
        "--limit",
        "2",
        "--confirm",
        part,
    ];
    assert_eq!(kit.json(&words, 0)["summary"], json!({"done": 2}));
    kit.refused(
        &["apply", "--match", &fingerprint, "--confirm", &code],
        4,
        "RD0916",
    );
    let (_, code) = kit.set(&fingerprint);
    kit.json(&["apply", "--match", &fingerprint, "--confirm", &code], 0);
    assert_eq!(kit.state_counts(), "compensated|3");
    let approvals = "select count(*) from redress.record where kind = 'plan.approved'";
    assert_eq!(kit.database.query_text(approvals), "0");
}

#[test]
fn a_recovery_that_is_killed_or_interrupted_goes_on_where_it_was() {
    let kit = Kit::shop();
    kit.failing("shop", orders(80));
    let (fingerprint, _) = kit.group();
    let done = || {
        let text = "select count(*) from redress.run where state = 'compensated'";
        kit.database.query_text(text).parse::<u32>().unwrap()
    };
    let begin = || {
        let (_, code) = kit.set(&fingerprint);
        let words = [
            "apply",
            "--match",
            &fingerprint,
            "--as",
            "sov",
            "--confirm",
            &code,
        ];
        Running::start(&mut kit.command(&words))
    };
    let mut killed = begin();
    eventually(LIMIT, "some are done", || done() > 3);
    killed.kill();
    let after_kill = done();
    assert!(after_kill < 80, "it was killed half-way");

    let mut interrupted = begin();
    eventually(LIMIT, "some more are done", || done() > after_kill + 3);
    interrupted.signal(Signal::INT);
    assert_eq!(interrupted.wait(LIMIT).code(), Some(1));
    let out = interrupted.stdout();
    assert!(out.contains("not begun"), "{out}");
    assert_eq!(
        out.matches("  done").count() as u32,
        done() - after_kill,
        "{out}"
    );

    let (_, code) = kit.set(&fingerprint);
    let words = [
        "apply",
        "--match",
        &fingerprint,
        "--as",
        "sov",
        "--confirm",
        &code,
    ];
    kit.json(&words, 0);
    assert_eq!(kit.state_counts(), "compensated|80");
    let twice = "select count(*) from (select run, kind from redress.record
        where kind in ('plan.finished', 'plan.approved') group by run, kind having count(*) <> 1) x";
    assert_eq!(
        kit.database.query_text(twice),
        "0",
        "each was signed and done once"
    );
    assert_eq!(kit.json(&["check"], 0)["ok"], true);
}

#[test]
fn a_run_that_goes_another_way_meanwhile_is_told_and_not_touched() {
    let kit = Kit::shop();
    let saga = SAGA
        .replace("saga: shop", "saga: auto")
        .replace("soft_revert: {sovereign: 1}", "soft_revert: auto")
        .replace("on_failure: compensate", "on_failure: hold");
    let file = kit.write("auto.yaml", saga.as_bytes());
    kit.ok(&["saga", "register", &file]);
    kit.failing("auto", orders(3));
    let (fingerprint, _) = kit.group();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let engine = kit.engine().await;
        let set = engine.equal_set(&fingerprint, None).await.unwrap();
        let [moved, replanned, left] = set.members.as_slice() else {
            panic!("three members: {set:?}");
        };
        engine.resume(moved.run).await.unwrap();
        let other = engine
            .plan(
                replanned.run,
                std::collections::BTreeMap::new(),
                "another reason",
            )
            .await
            .unwrap();
        assert_ne!(other.digest, replanned.stored.digest);
        let records = kit.records();
        assert!(matches!(
            engine.recover(moved, None).await.unwrap(),
            Recovered::MovedOn(State::Running)
        ));
        let stale = engine.recover(replanned, None).await.unwrap_err();
        assert_eq!(stale.code(), "RD0420");
        assert_eq!(kit.records(), records, "neither of them is touched");
        assert!(matches!(
            engine.recover(left, None).await.unwrap(),
            Recovered::Done(State::Compensated)
        ));
        // The set of those that are left is another one.
        let later = engine.equal_set(&fingerprint, None).await.unwrap();
        assert_eq!(later.members.len(), 1);
        assert_ne!(later.digest, set.digest);
        assert_eq!(later.members[0].stored.digest, other.digest);
    });
}

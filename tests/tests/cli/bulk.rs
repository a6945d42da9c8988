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
        &[
            &words[..],
            &["--release", "--reason", "the supplier recovered"],
        ]
        .concat(),
        0,
    );
    let took = began.elapsed();
    println!("500 runs in {took:?}");
    assert!(took < LIMIT, "{took:?}");
    assert_eq!(done["summary"], json!({"done": 500}));
    assert_eq!(done["error"], Value::Null);
    // The holds that the failures set go with them, each by a decision of its own.
    let none_stays = json!({"released": 500, "stay": 0, "release": null});
    assert_eq!(done["holds"], none_stays);
    assert_eq!(kit.json(&["holds"], 0)["holds"], json!([]));
    assert_eq!(kit.json(&["status"], 0)["waiting"], json!([]));
    let released = "select count(*) from redress.record where kind = 'hold.released'";
    assert_eq!(kit.database.query_text(released), "500");
    let files: Vec<_> = fs::read_dir(kit.state().join("hold"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .collect();
    assert!(files.is_empty(), "no hold stays on this machine: {files:?}");
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
        "1000",
        "one for each plan, and one for each release"
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
    // Nobody is there to be asked, and a passphrase file is no consent. The code is not told either: it stands on the page.
    let page = format!("redress plan --match {}", &fingerprint[..12]);
    for more in [&["--as", "sov"][..], &["--as", "sov", "--non-interactive"]] {
        let told = check(more, None, 2, "RD0913");
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.contains("--confirm CODE"), "{told}");
        assert!(message.contains(&page), "{told}");
        assert!(!told.to_string().contains(&code), "{told}");
    }
    let told = kit.exits(&["apply", "--match", &fingerprint, "--as", "sov"], 2);
    assert!(!told.err.contains(&code), "{}", told.err);
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
    check(&["--as", "sov", "--confirm"], Some(&code), 78, "RD0562");
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

#[test]
fn holds_stay_unless_their_release_is_asked_for_and_wider_ones_stay_all_the_same() {
    let kit = Kit::shop();
    let saga = SAGA
        .replace("saga: shop", "saga: wide")
        .replace("hold: subject", "hold: saga");
    let file = kit.write("wide.yaml", saga.as_bytes());
    kit.ok(&["saga", "register", &file]);
    let recover = |more: &[&str]| {
        let (fingerprint, _) = kit.group();
        let (_, code) = kit.set(&fingerprint);
        let words = ["apply", "--match", &fingerprint, "--confirm", &code];
        kit.run(&[&words[..], &["--as", "sov"], more].concat())
    };
    let holds = || {
        kit.database.query_text(
            "select scope, count(*) from redress.hold where released_at is null
             group by scope order by scope",
        )
    };
    // Not asked for: they are counted, and the command that releases one is told.
    kit.failing("shop", orders(3));
    let ran = recover(&[]);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.err.contains("3 of their holds stay"), "{}", ran.err);
    assert!(
        ran.err
            .contains("redress release HOLD --as KEY --reason TEXT"),
        "{}",
        ran.err
    );
    assert_eq!(holds(), "subject|3");
    kit.failing("shop", ["o-7".to_owned()]);
    let report: Value = serde_json::from_str(&recover(&["--json"]).out).unwrap();
    assert_eq!(
        (&report["holds"]["released"], &report["holds"]["stay"]),
        (&json!(0), &json!(1))
    );
    let left = &report["results"][0]["holds"][0];
    let command = format!(
        "redress release {} --as KEY --reason TEXT",
        left["id"].as_str().unwrap()
    );
    assert_eq!(report["holds"]["release"], command.as_str());
    assert_eq!(left["released"], false);

    // Asked for: what a person set on the run goes with it; what a person set on a subject does not, and what another
    // run's failure left does not either.
    kit.failing("shop", ["o-8".to_owned()]);
    let run = kit.json(&["status"], 3)["groups"][0]["runs"][0]
        .as_str()
        .unwrap()
        .to_owned();
    kit.ok(&["hold", &format!("run:{run}"), "--reason", "I look"]);
    kit.ok(&["hold", "subject:o-8", "--reason", "a recount"]);
    let report: Value = serde_json::from_str(&recover(&["--release", "--json"]).out).unwrap();
    assert_eq!(report["summary"], json!({"done": 1}), "{report:#}");
    assert_eq!(
        report["holds"],
        json!({"released": 2, "stay": 0, "release": null})
    );
    assert_eq!(holds(), "subject|5");
    // One on a saga never.
    kit.failing("wide", ["o-9".to_owned()]);
    let ran = recover(&["--release"]);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert_eq!(holds(), "saga|1\nsubject|5");
    assert_eq!(kit.json(&["audit", "verify"], 0)["verdict"], "verified");
}

#[test]
fn a_release_that_lacks_a_signature_says_which_and_is_no_success() {
    let kit = Kit::of_three();
    let saga = SAGA.replace("saga: shop", "saga: two").replace(
        "soft_revert: {sovereign: 1}",
        "soft_revert: auto\n  release: {sovereign: 2}",
    );
    let saga = saga.replace("on_failure: compensate", "on_failure: hold");
    let file = kit.write("two.yaml", saga.as_bytes());
    kit.ok(&["saga", "register", &file]);
    kit.failing("two", orders(2));
    let (fingerprint, _) = kit.group();
    let (_, code) = kit.set(&fingerprint);
    let words = ["apply", "--match", &fingerprint, "--confirm", &code];
    // Nobody need sign the plans, but a release is signed.
    let release = [&words[..], &["--release"]].concat();
    let records = kit.records();
    kit.refused(&release, 2, "RD0913");
    kit.exits(&["apply", "x", "--release"], 2);
    kit.ok(&["key", "new", "mallory", "--role", "sovereign", "--no-trust"]);
    assert_eq!(kit.records(), records);
    let report = kit.json(&[&release[..], &["--as", "sov"]].concat(), 5);
    assert_eq!(report["error"]["code"], "RD0432");
    assert_eq!(report["summary"], json!({"held": 2}));
    assert_eq!(kit.state_counts(), "compensated|2");
    assert_eq!(report["holds"]["stay"], 2);
    for one in report["results"].as_array().unwrap() {
        let hold = &one["holds"][0];
        assert!(
            hold["missing"]
                .as_str()
                .unwrap()
                .contains("1 more of role sovereign"),
            "{hold}"
        );
        // The other one signs, and it is released.
        let words = ["release", hold["id"].as_str().unwrap(), "--as", "bob"];
        let more = ["--reason", "agreed", "--non-interactive"];
        let released = kit.json(&[&words[..], &more].concat(), 0);
        assert_eq!(released["released"], true);
    }
    assert_eq!(kit.json(&["status"], 0)["waiting"], json!([]));

    // A key that does not count is refused before anything is done.
    kit.failing("two", ["o-9".to_owned()]);
    let (fingerprint, _) = kit.group();
    let (_, code) = kit.set(&fingerprint);
    let words = ["apply", "--match", &fingerprint, "--confirm", &code];
    let records = kit.records();
    let by_mallory = [&words[..], &["--release", "--as", "mallory"]].concat();
    kit.refused(&by_mallory, 4, "RD0547");
    assert_eq!(kit.records(), records);
    assert_eq!(kit.state_counts(), "compensated|2\nfailed|1");
}

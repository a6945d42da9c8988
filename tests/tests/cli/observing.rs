//! Figures and spans as an operator gets them: scraped from a real worker, and held against the database.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use redress::metric::{self, Kind as Of};
use redress_tests::{Running, eventually};
use rustix::process::Signal;

use crate::kit::Kit;

const LIMIT: Duration = Duration::from_secs(30);
/// An order's name that no figure may show.
const CANARY: &str = "canary-4711";

/// The first attempt fails in passing, the second does not.
const FLAKY: &str = "
saga: flaky
version: 1
description: Fails once, in passing.
input: {type: object}
phases:
  - name: once
    adapter: sql
    writes: []
    compensation: none
    retry: {attempts: 3, backoff: 10ms, max: 20ms}
    with:
      apply:
        - {sql: 'select shop.flaky($1)', params: [/run/id]}
";
const FLAKY_SQL: &str = "
create function shop.flaky(p_run uuid) returns text language plpgsql stable as $$
begin
  if not exists (select from redress.record r where r.run = p_run and r.kind = 'phase.failed') then
    raise exception 'not yet' using errcode = '40001';
  end if;
  return 'done';
end $$";

/// Slow enough to be cancelled between two phases.
const SLOW: &str = "
saga: slow
version: 1
description: Takes its time.
input: {type: object}
phases:
  - {name: one, adapter: sql, writes: [], compensation: none, with: {apply: [{sql: 'select pg_sleep(0.7)::text'}]}}
  - {name: two, adapter: sql, writes: [], compensation: none, with: {apply: [{sql: 'select pg_sleep(0.7)::text'}]}}
  - {name: three, adapter: sql, writes: [], compensation: none, with: {apply: [{sql: 'select pg_sleep(0.7)::text'}]}}
";

/// A worker that serves its figures.
struct Worker {
    process: Running,
    address: String,
}

impl Worker {
    #[track_caller]
    fn start(kit: &Kit) -> Self {
        let arguments = ["work", "--metrics", "0", "--lease", "3s"];
        let process = Running::start(&mut kit.command(&arguments));
        let mut address = None;
        eventually(LIMIT, "the worker says where its figures are", || {
            let said = process.stderr();
            let rest = said.split_once("figures on http://").map(|(_, rest)| rest);
            address = rest.and_then(|rest| Some(rest.split_once("/metrics")?.0.to_owned()));
            address.is_some()
        });
        let address = address.expect("an address");
        Self { process, address }
    }

    /// Status and body of a request.
    #[track_caller]
    fn get(&self, path: &str) -> (u16, String) {
        request(&self.address, &format!("GET {path} HTTP/1.1"))
    }

    #[track_caller]
    fn figures(&self) -> Figures {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200, "{text}");
        Figures::read(&text)
    }

    fn end(mut self) {
        self.process.signal(Signal::TERM);
        let status = self.process.wait(LIMIT);
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr());
    }
}

#[track_caller]
fn request(address: &str, line: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    let head = format!("{line}\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// What was scraped: series with their values, `name{label="value",...}` with labels sorted.
struct Figures {
    text: String,
    series: BTreeMap<String, f64>,
}

impl Figures {
    #[track_caller]
    fn read(text: &str) -> Self {
        let mut series = BTreeMap::new();
        for line in text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line.rsplit_once(' ').expect(line);
            let (name, labels) = match name.split_once('{') {
                Some((name, labels)) => (name, labels.trim_end_matches('}')),
                None => (name, ""),
            };
            let mut labels: Vec<&str> = labels.split(',').filter(|one| !one.is_empty()).collect();
            labels.sort_unstable();
            check_named(name, &labels);
            let key = format!("{name}{{{}}}", labels.join(","));
            series.insert(key, value.parse().expect(line));
        }
        let text = text.to_owned();
        Self { text, series }
    }

    fn value(&self, key: &str) -> f64 {
        self.series.get(key).copied().unwrap_or(0.0)
    }

    /// The sum of all series of a name whose labels have all of these.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |key: &str| {
            let rest = key
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('{'));
            rest.is_some_and(|rest| labels.iter().all(|label| rest.contains(label)))
        };
        let fitting = self.series.iter().filter(|(key, _)| fits(key));
        fitting.map(|(_, value)| value).sum()
    }
}

/// Every series is of the list, with the labels that it says.
#[track_caller]
fn check_named(series: &str, labels: &[&str]) {
    let parts = ["_bucket", "_sum", "_count"];
    let of = metric::ALL.iter().find(|metric| match metric.kind {
        Of::Histogram => parts
            .iter()
            .any(|part| series.strip_suffix(part) == Some(metric.name)),
        Of::Counter | Of::Gauge => series == metric.name,
    });
    let metric = of.unwrap_or_else(|| panic!("{series} is not in the list"));
    let mut has: Vec<&str> = labels
        .iter()
        .filter_map(|one| Some(one.split_once('=')?.0))
        .collect();
    has.retain(|label| *label != "le");
    let mut says: Vec<&str> = metric.labels.iter().map(|(label, _)| *label).collect();
    has.sort_unstable();
    says.sort_unstable();
    assert_eq!(has, says, "{series}");
}

#[track_caller]
fn started(kit: &Kit, saga: &str, input: &str) -> String {
    let view = kit.json(&["start", saga, "--input", input], 0);
    view["run"].as_str().expect("a run").to_owned()
}

fn number(kit: &Kit, sql: &str) -> f64 {
    kit.database
        .query_text(sql)
        .trim()
        .parse()
        .expect("a number")
}

/// Runs that completed, failed, were retried, fenced and held, and nobody else's.
fn busy_shop() -> Kit {
    let kit = Kit::shop();
    kit.database.query_text(FLAKY_SQL);
    for (name, text) in [("flaky.yaml", FLAKY), ("slow.yaml", SLOW)] {
        let file = kit.write(name, text.as_bytes());
        kit.ok(&["saga", "register", &file]);
    }
    for n in 0..3 {
        started(
            &kit,
            "shop",
            &format!(r#"{{"order": "{CANARY}-{n}", "qty": 1}}"#),
        );
    }
    let bad = format!(r#"{{"order": "{CANARY}-bad", "qty": 1, "fail": true}}"#);
    started(&kit, "shop", &bad);
    started(&kit, "flaky", "{}");
    let held = started(
        &kit,
        "shop",
        &format!(r#"{{"order": "{CANARY}-held", "qty": 1}}"#),
    );
    kit.ok(&["hold", &format!("run:{held}"), "--reason", CANARY]);
    kit
}

#[test]
fn figures_that_are_scraped_are_those_of_the_database_both_ways() {
    let kit = busy_shop();
    let worker = Worker::start(&kit);
    let settled = "select count(*) from redress.run where state in ('completed', 'failed')";
    eventually(LIMIT, "all but the held run come to rest", || {
        number(&kit, settled) >= 5.0
    });
    let slow = started(&kit, "slow", "{}");
    let owned =
        format!("select count(*) from redress.run where id = '{slow}' and owner is not null");
    eventually(LIMIT, "the slow run is driven", || {
        number(&kit, &owned) > 0.0
    });
    // The run's row lock is the phase's until it commits: the next phase finds another epoch.
    kit.exits(&["cancel", &slow, "--reason", "a test"], 0);
    let fenced = "redress_runs_let_go_total{why=\"fenced\"}";
    eventually(LIMIT, "the driver is fenced", || {
        worker.figures().value(fenced) > 0.0
    });
    // Younger than what was done: what the database said is shown again for a second.
    std::thread::sleep(Duration::from_millis(1_100));
    let figures = worker.figures();

    for state in [
        "running",
        "failed",
        "compensating",
        "stuck",
        "completed",
        "compensated",
        "resolved",
    ] {
        let sql = format!("select count(*) from redress.run where state = '{state}'");
        let key = format!("redress_runs{{state=\"{state}\"}}");
        assert_eq!(figures.series.get(&key), Some(&number(&kit, &sql)), "{key}");
    }
    for scope in ["all", "saga", "subject", "run"] {
        let sql = format!(
            "select count(*) from redress.hold where released_at is null and scope = '{scope}'"
        );
        let key = format!("redress_holds{{scope=\"{scope}\"}}");
        assert_eq!(figures.series.get(&key), Some(&number(&kit, &sql)), "{key}");
    }
    let records = "select count(*) from redress.record where kind =";
    let committed = figures.sum(
        "redress_phase_duration_seconds_count",
        &["outcome=\"committed\""],
    );
    assert_eq!(
        committed,
        number(&kit, &format!("{records} 'phase.committed'"))
    );
    let of = |last: bool| {
        let body = "convert_from(bytes, 'UTF8')::jsonb -> 'body'";
        format!("{records} 'phase.failed' and ({body} ->> 'final')::boolean = {last}")
    };
    let failures = "redress_phase_failures_total";
    assert_eq!(
        figures.sum(failures, &["next=\"again\""]),
        number(&kit, &of(false))
    );
    assert_eq!(
        figures.sum(failures, &["next=\"held\""]),
        number(&kit, &of(true))
    );
    assert_eq!(
        figures.sum("redress_retries_total", &["what=\"phase\""]),
        1.0
    );
    assert_eq!(
        figures.sum("redress_retries_total", &["code=\"RD0805\""]),
        figures.sum("redress_retries_total", &["what=\"phase\""])
    );
    let completed = figures.sum("redress_runs_settled_total", &["state=\"completed\""]);
    assert_eq!(
        completed,
        number(
            &kit,
            "select count(*) from redress.run where state = 'completed'"
        )
    );
    assert_eq!(
        figures.sum(
            "redress_runs_settled_total",
            &["state=\"failed\"", "saga=\"shop\""]
        ),
        1.0
    );
    assert_eq!(figures.value(fenced), 1.0);
    for (key, value) in [
        ("redress_up{}", 1.0),
        ("redress_kill_switch{}", 0.0),
        ("redress_worker_slots{}", 4.0),
        ("redress_worker_busy_slots{}", 0.0),
        ("redress_workers{lease=\"good\"}", 1.0),
        ("redress_poison_total{}", 0.0),
        ("redress_plans_stale_total{}", 0.0),
    ] {
        assert_eq!(
            figures.series.get(key),
            Some(&value),
            "{key}\n{}",
            figures.text
        );
    }
    let unsealed = number(&kit, "select count(*) from redress.record");
    assert_eq!(figures.value("redress_unsealed_records{}"), unsealed);
    assert!(figures.value("redress_heartbeats_total{outcome=\"ok\"}") > 0.0);
    assert!(!figures.text.contains(CANARY), "{}", figures.text);
    assert!(!figures.text.contains(slow.as_str()), "{}", figures.text);
    worker.end();
}

#[test]
fn a_worker_says_whether_it_lives_and_is_ready_and_what_was_known_when_the_database_is_gone() {
    let kit = busy_shop();
    let worker = Worker::start(&kit);
    assert_eq!(worker.get("/healthz"), (200, "alive\n".to_owned()));
    assert_eq!(worker.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(worker.get("/secret").0, 404);
    assert_eq!(request(&worker.address, "POST /metrics HTTP/1.1").0, 405);
    kit.ok(&["kill", "--reason", "a test"]);
    eventually(LIMIT, "a killed worker is not ready", || {
        worker.get("/readyz") == (503, "killed\n".to_owned())
    });
    let before = worker.figures();
    assert_eq!(before.value("redress_kill_switch{}"), 1.0);
    let all = before.sum("redress_runs", &[]);
    assert!(all > 0.0, "{}", before.text);

    // From another database: nobody gets in any more, and whoever is in is thrown out.
    let name = kit.database.name().to_owned();
    let elsewhere = kit.database.url().replace(&name, "postgres");
    let shut = format!("alter database \"{name}\" with allow_connections false");
    redress_tests::query_text(&elsewhere, &shut);
    let end = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '{name}'"
    );
    redress_tests::query_text(&elsewhere, &end);
    eventually(LIMIT, "the figures say that the database is gone", || {
        worker.figures().series.get("redress_up{}") == Some(&0.0)
    });
    let after = worker.figures();
    assert_eq!(after.sum("redress_runs", &[]), all, "what was known");
    let age = after.value("redress_sample_age_seconds{}");
    assert!(age > 0.0, "{}", after.text);
    assert_eq!(worker.get("/readyz"), (503, "no database\n".to_owned()));
    assert_eq!(worker.get("/healthz").0, 200);
}

#[test]
fn a_worker_whose_figures_cannot_be_served_is_not_started() {
    let kit = Kit::shop();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    kit.refused(
        &["work", "--until-idle", "--metrics", &address],
        78,
        "RD0938",
    );
    kit.exits(&["work", "--until-idle", "--metrics", "localhost:1"], 2);
}

#[test]
fn a_log_at_its_loudest_shows_nothing_of_a_runs_content() {
    let kit = busy_shop();
    let mut command = kit.command(&["work", "--until-idle", "-vvv"]);
    command.env("RUST_LOG", "trace");
    let ran = crate::kit::ended(&mut command);
    assert_eq!(ran.exit, 0, "{}", ran.err);
    assert!(ran.err.contains("phase failed"), "{}", ran.err);
    let code = kit
        .database
        .query_text("select error_code from redress.run where state = 'failed'");
    assert!(
        ran.err.contains(&format!("code=\"{}\"", code.trim())),
        "{}",
        ran.err
    );
    let shown: Vec<&str> = ran
        .err
        .lines()
        .filter(|line| line.contains(CANARY))
        .collect();
    assert!(shown.is_empty(), "{shown:#?}");
}

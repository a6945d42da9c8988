//! Spans by OTLP: a collector gets them, and one that is away, silent or wrong changes nothing.
//!
//! Only with the feature `otel`: `cargo test -p redress-tests --features otel --test cli spans`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use redress_tests::{Running, eventually};
use rustix::process::Signal;

use crate::kit::{Kit, ended};

const LIMIT: Duration = Duration::from_secs(30);
/// An order's name that no span may show.
const CANARY: &str = "canary-4711";

/// Keeps what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Collector {
    /// Listens on a port of its own.
    fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let collector = Self::default();
        let kept = collector.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                thread::spawn(move || while let Some(()) = kept.take(&stream) {});
            }
        });
        (collector, url)
    }

    /// One request; none when the other side has hung up.
    fn take(&self, mut stream: &TcpStream) -> Option<()> {
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("a head").to_lowercase();
        assert!(head.starts_with("post /v1/traces "), "{head}");
        let length = head.split_once("content-length: ").expect("a length").1;
        let length = length.split_once('\r').expect("a line").0;
        let mut body = vec![0; length.parse().expect("a number")];
        stream.read_exact(&mut body).ok()?;
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("a request");
        self.0.lock().expect("kept").push(request);
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).ok()
    }

    fn spans(&self) -> Vec<Span> {
        let requests = self.0.lock().expect("kept").clone();
        let resources = requests.into_iter().flat_map(|one| one.resource_spans);
        let scopes = resources.flat_map(|one| one.scope_spans);
        scopes.flat_map(|one| one.spans).collect()
    }
}

fn attributes(span: &Span) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pairs = span.attributes.iter().filter_map(|pair| {
        let value = pair.value.as_ref()?.value.as_ref()?;
        Some((pair.key.clone(), text(value)))
    });
    pairs.collect()
}

/// Two runs that wait for a worker: one completes, one fails.
fn two_runs() -> (Kit, [String; 2]) {
    let kit = Kit::shop();
    let runs = [("good", false), ("bad", true)].map(|(name, fail)| {
        let input = format!(r#"{{"order": "{CANARY}-{name}", "qty": 1, "fail": {fail}}}"#);
        let view = kit.json(&["start", "shop", "--input", &input], 0);
        view["run"].as_str().expect("a run").to_owned()
    });
    (kit, runs)
}

fn sending(kit: &Kit, arguments: &[&str], url: &str) -> Command {
    let mut command = kit.command(arguments);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url);
    command
}

#[test]
fn a_collector_gets_a_span_for_each_run_and_each_attempt_with_nothing_of_their_content() {
    let (kit, [good, bad]) = two_runs();
    let (collector, url) = Collector::start();
    let mut worker = Running::start(&mut sending(&kit, &["work"], &url));
    eventually(LIMIT, "both runs come to rest", || {
        kit.json(&["show", &good], 0)["state"] == "completed"
            && kit
                .run(&["show", &bad, "--json"])
                .out
                .contains("\"failed\"")
    });
    // What is not sent yet is sent at the end.
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(LIMIT).code(), Some(0), "{}", worker.stderr());
    let spans = collector.spans();
    let of = |name: &str| {
        spans
            .iter()
            .filter(|span| span.name == name)
            .collect::<Vec<_>>()
    };
    let run_of = |id: &str| {
        let runs = of("run").into_iter();
        let mut runs = runs.filter(|span| attributes(span).get("run").is_some_and(|run| run == id));
        runs.next()
            .unwrap_or_else(|| panic!("no span of run {id}: {spans:#?}"))
    };
    assert_eq!(attributes(run_of(&good))["saga"], "shop");
    let failed: Vec<_> = of("phase")
        .into_iter()
        .filter(|span| span.parent_span_id == run_of(&bad).span_id)
        .map(attributes)
        .collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    let book = failed
        .iter()
        .find(|one| one["phase"] == "book")
        .expect("the phase");
    assert_eq!(book["outcome"], "failed");
    let code = kit
        .database
        .query_text("select error_code from redress.run where state = 'failed'");
    assert_eq!(book["code"], code.trim());
    let known: Vec<&str> = redress::telemetry::SPANS
        .iter()
        .map(|(name, _, _)| *name)
        .collect();
    for span in &spans {
        assert!(known.contains(&span.name.as_str()), "{}", span.name);
        assert!(!format!("{span:?}").contains(CANARY), "{span:?}");
    }
}

#[test]
fn a_collector_that_is_away_or_silent_delays_no_run_and_fails_none() {
    // Connections stay in the backlog; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent = format!("http://{}", listener.local_addr().expect("an address"));
    for url in ["http://127.0.0.1:1", silent.as_str(), "not a url"] {
        let (kit, [good, _]) = two_runs();
        let begun = Instant::now();
        let ran = ended(&mut sending(&kit, &["work", "--until-idle"], url));
        assert_eq!(ran.exit, 0, "{url}: {}", ran.err);
        assert!(begun.elapsed() < LIMIT, "{url}: {:?}", begun.elapsed());
        assert_eq!(kit.json(&["show", &good], 0)["state"], "completed");
    }
}

//! The `http` adapter against a server that behaves as badly as servers do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redress::definition::Definition;
use redress::ledger::state::State;
use redress::{Engine, Outcome, RunRow};
use redress_adapters::{Config, HttpConfig};
use redress_tests::Lab;
use redress_tests::server::{Heard, Reply, Server};
use serde_json::{Value, json};

use crate::common::{MARKS, body, code, mark, merge, saga, sound};

/// An engine that may reach this host.
struct Desk {
    lab: Lab,
    engine: Engine,
}

impl Desk {
    async fn new(hosts: &[&str]) -> Self {
        Self::trusting(hosts, None).await
    }

    /// With a certificate that is trusted beside those of the system.
    async fn trusting(hosts: &[&str], pem: Option<&str>) -> Self {
        let lab = Lab::new().await;
        let ca = pem.map(|pem| {
            let path = lab.path("ca.pem");
            std::fs::write(&path, pem).expect("a file");
            path
        });
        lab.sql(MARKS);
        let file = lab.path("token");
        std::fs::write(&file, "canary-of-the-file\n").expect("a file");
        let http = HttpConfig {
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            // Set for every process by cargo; its value is nothing to hide, and long enough to be found.
            secret_env: vec!["CARGO_MANIFEST_DIR".to_owned()],
            secret_files: vec![file],
            ca,
        };
        let config = Config {
            http,
            ..Config::default()
        };
        let builder = lab
            .builder(lab.url())
            .externals(redress_adapters::external(&config));
        let engine = builder.build().await.expect("an engine");
        Self { lab, engine }
    }

    async fn run(&self, definition: &Definition, input: Value) -> Outcome {
        self.engine
            .register(definition)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        let start = self.engine.start(definition.saga.as_str(), input);
        self.engine.start_and_drive(start).await.expect("driven").1
    }
}

fn phase(name: &str, with: Value, fields: Value) -> Value {
    let mut phase = json!({
        "name": name, "adapter": "http", "compensation": "irreversible",
        "retry": {"attempts": 2, "backoff": "10ms", "max": "20ms"}, "timeout": "800ms", "with": with,
    });
    merge(&mut phase, fields);
    phase
}

fn of(name: &str, phases: Vec<Value>) -> Definition {
    saga(
        name,
        phases,
        json!({"authority": {"soft_revert": "auto", "restore": "auto"}}),
    )
}

/// Orders by their key: what a service that heeds the idempotency key does.
#[derive(Default)]
struct Orders {
    placed: BTreeSet<String>,
    effects: usize,
}

/// A service with orders at `/orders`; `posting` may spoil its answer after it has done its work.
fn service(
    orders: Arc<Mutex<Orders>>,
    posting: impl Fn(usize) -> Option<Reply> + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Reply + Send + Sync {
    let posts = Mutex::new(0);
    move |heard: &Heard| {
        let mut orders = orders.lock().unwrap();
        let key = heard
            .headers
            .get("idempotency-key")
            .cloned()
            .unwrap_or_default();
        match heard.method.as_str() {
            "POST" => {
                if orders.placed.insert(key.clone()) {
                    orders.effects += 1;
                }
                let mut posts = posts.lock().unwrap();
                *posts += 1;
                posting(*posts).unwrap_or_else(|| {
                    Reply::Say(201, format!(r#"{{"id": "{key}", "price": 1.25}}"#))
                })
            }
            "DELETE" => {
                let act = key.strip_suffix(".undo").unwrap_or_default();
                match orders.placed.remove(act) {
                    true => Reply::Say(204, String::new()),
                    false => Reply::Say(404, "no such order".to_owned()),
                }
            }
            _ => match orders.placed.contains(&key) {
                true => Reply::Say(200, format!(r#"{{"id": "{key}", "state": "placed"}}"#)),
                false => Reply::Say(404, String::new()),
            },
        }
    }
}

fn order(host: &str) -> Value {
    json!({
        "method": "POST", "url": format!("http://{host}/orders"),
        "body": {"sku": {"pointer": "/input/sku"}, "qty": {"pointer": "/input/qty"}, "fixed": [1, {"pointer": "/input/sku"}]},
        "probe": {"url": format!("http://{host}/orders"), "path": [{"pointer": "/key"}]},
        "undo": {"method": "DELETE", "url": format!("http://{host}/orders"), "path": [{"pointer": "/done/json/id"}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_acts_and_is_taken_back() {
    let orders = Arc::new(Mutex::new(Orders::default()));
    let server = Server::start(service(Arc::clone(&orders), |_| None)).await;
    let desk = Desk::new(&[&server.host]).await;
    let mut with = order(&server.host);
    merge(
        &mut with,
        json!({
            "path": ["a/b", {"pointer": "/input/sku"}],
            "query": {"q": {"pointer": "/input/nasty"}},
            "headers": {"X-Sku": {"pointer": "/input/sku"}},
        }),
    );
    let stop = mark(
        "stop",
        json!({"compensation": "none", "with": {
        "apply": [{"sql": "insert into shop.mark (run, phase, state) values ($1, $2, 'lost')", "params": ["/run/id", "/phases/order/json/id"]}]}}),
    );
    let nasty = "x&admin=1#/../?%00";
    let input = json!({"sku": "../tea cup", "qty": 3, "nasty": nasty});
    let outcome = desk
        .run(
            &of(
                "orders",
                vec![
                    phase("order", with, json!({"compensation": "restore"})),
                    stop,
                ],
            ),
            input,
        )
        .await;
    let Outcome::Compensated(row) = outcome else {
        panic!("{outcome:?}")
    };
    let heard = server.heard();
    let key = format!("{}.order.1", row.id);
    assert_eq!(
        heard[0].target,
        "/orders/a%2Fb/..%2Ftea%20cup?q=x%26admin%3D1%23%2F..%2F%3F%2500"
    );
    assert_eq!(heard[0].headers["idempotency-key"], key);
    assert_eq!(heard[0].headers["x-sku"], "../tea cup");
    assert_eq!(
        serde_json::from_str::<Value>(&heard[0].body).unwrap(),
        json!({"sku": "../tea cup", "qty": 3, "fixed": [1, "../tea cup"]})
    );
    assert_eq!(
        (heard[1].method.as_str(), heard[1].target.as_str()),
        ("DELETE", format!("/orders/{key}").as_str())
    );
    assert_eq!(heard[1].headers["idempotency-key"], format!("{key}.undo"));
    let output = body(&desk.lab, row.id, "phase.committed")["output"].clone();
    assert_eq!(
        (&output["status"], &output["json"]["price"]),
        (&json!(201), &json!("1.25"))
    );
    assert!(orders.lock().unwrap().placed.is_empty());
    sound(&desk.engine).await;
}

/// Bad input: a server that hangs, answers 500 after doing it, closes early: asked about, done once.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_it_and_does_not_say_so_is_asked() {
    type Spoil = fn(usize) -> Option<Reply>;
    let ways: [(&str, Spoil); 6] = [
        ("hangs", |_| Some(Reply::Hang)),
        ("fails", |_| Some(Reply::Say(500, "oh no".to_owned()))),
        ("closes", |_| Some(Reply::Close)),
        ("cuts", |_| Some(Reply::Cut(201, r#"{"id": "#.to_owned()))),
        ("redirects", |_| {
            Some(Reply::Redirect("/elsewhere".to_owned()))
        }),
        ("timeouts", |_| Some(Reply::Say(408, String::new()))),
    ];
    for (name, spoil) in ways {
        let orders = Arc::new(Mutex::new(Orders::default()));
        let server = Server::start(service(Arc::clone(&orders), spoil)).await;
        let desk = Desk::new(&[&server.host]).await;
        let list = vec![phase(
            "order",
            order(&server.host),
            json!({"compensation": "restore"}),
        )];
        let outcome = desk
            .run(&of("orders", list), json!({"sku": "tea", "qty": 1}))
            .await;
        let Outcome::Completed(row) = outcome else {
            panic!("{name}: {outcome:?}")
        };
        assert_eq!(orders.lock().unwrap().effects, 1, "{name}: once");
        let lines = server.lines();
        assert_eq!(
            lines,
            [
                "POST /orders".to_owned(),
                format!("GET /orders/{}.order.1", row.id)
            ],
            "{name}"
        );
        let output = body(&desk.lab, row.id, "phase.committed")["output"].clone();
        assert_eq!(
            output["json"]["state"], "placed",
            "{name}: what the probe found"
        );
        sound(&desk.engine).await;
    }
}

/// The same server that cannot be asked either: the run is held, and nothing is sent a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_asked_holds_the_run() {
    let server = Server::start(|heard: &Heard| match heard.method.as_str() {
        "POST" => Reply::Say(500, String::new()),
        _ => Reply::Hang,
    })
    .await;
    let desk = Desk::new(&[&server.host]).await;
    let list = vec![phase(
        "order",
        order(&server.host),
        json!({"compensation": "restore"}),
    )];
    let outcome = desk
        .run(&of("orders", list), json!({"sku": "tea", "qty": 1}))
        .await;
    let row = outcome.run();
    assert_eq!((row.state, code(row)), (State::Failed, "RD0317"));
    assert_eq!(
        server
            .lines()
            .iter()
            .filter(|line| line.starts_with("POST"))
            .count(),
        1
    );
    assert!(desk.engine.show(row.id).await.unwrap().phases[0].in_doubt);
}

/// What is known not to be done: again, or no.
#[tokio::test(flavor = "multi_thread")]
async fn statuses_say_what_was_done() {
    let check = async |name: &str,
                       reply: fn(usize) -> Reply,
                       more: Value,
                       expected: State,
                       error: &str,
                       posts: usize| {
        let count = Mutex::new(0);
        let server = Server::start(move |heard: &Heard| match heard.method.as_str() {
            "POST" => {
                let mut count = count.lock().unwrap();
                *count += 1;
                reply(*count)
            }
            _ => Reply::Say(404, String::new()),
        })
        .await;
        let desk = Desk::new(&[&server.host]).await;
        let mut with = order(&server.host);
        merge(&mut with, more);
        let outcome = desk
            .run(
                &of(
                    "orders",
                    vec![phase("order", with, json!({"compensation": "restore"}))],
                ),
                json!({"sku": "tea", "qty": 1}),
            )
            .await;
        let row = outcome.run().clone();
        assert_eq!(
            (row.state, code(&row)),
            (expected, error),
            "{name}: {row:?}"
        );
        let sent = server
            .lines()
            .iter()
            .filter(|line| line.starts_with("POST"))
            .count();
        assert_eq!(sent, posts, "{name}");
        row
    };
    let none = || json!({});
    check(
        "ok",
        |_| Reply::Say(200, String::new()),
        none(),
        State::Completed,
        "",
        1,
    )
    .await;
    let row = check(
        "no",
        |_| Reply::Say(422, "too many".to_owned()),
        none(),
        State::Compensated,
        "RD0303",
        1,
    )
    .await;
    assert!(row.error.unwrap().1.contains("422: too many"));
    check(
        "expected",
        |_| Reply::Say(409, String::new()),
        json!({"expect": [201, 409]}),
        State::Completed,
        "",
        1,
    )
    .await;
    check(
        "not-expected",
        |_| Reply::Say(200, String::new()),
        json!({"expect": [201]}),
        State::Compensated,
        "RD0314",
        2,
    )
    .await;
    let later = |n| Reply::Say(if n == 1 { 429 } else { 201 }, String::new());
    check("later", later, none(), State::Completed, "RD0314", 2).await;
    let busy = |n| Reply::Say(if n == 1 { 503 } else { 201 }, String::new());
    check(
        "busy",
        busy,
        json!({"retry": [503]}),
        State::Completed,
        "RD0314",
        2,
    )
    .await;
    // In doubt, found not done by the probe, and tried again.
    check("doubtful", busy, none(), State::Completed, "RD0314", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_at_the_port_means_that_nothing_was_done() {
    let server = Server::start(|_: &Heard| Reply::Close).await;
    let host = server.host.clone();
    drop(server);
    let desk = Desk::new(&[&host]).await;
    let list = vec![phase(
        "order",
        order(&host),
        json!({"compensation": "restore"}),
    )];
    let outcome = desk
        .run(&of("orders", list), json!({"sku": "tea", "qty": 1}))
        .await;
    let row = outcome.run();
    assert_eq!(
        (row.state, code(row)),
        (State::Compensated, "RD0314"),
        "{row:?}"
    );
}

/// A probe may judge by what the answer says.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_reads_the_state_from_the_answer() {
    let check = async |answer: &'static str, expected: State, error: &str| {
        let server = Server::start(move |heard: &Heard| match heard.method.as_str() {
            "POST" => Reply::Say(502, String::new()),
            _ => Reply::Say(200, answer.to_owned()),
        })
        .await;
        let desk = Desk::new(&[&server.host]).await;
        let mut with = order(&server.host);
        with["probe"]["when"] = json!({"pointer": "/state", "equals": "placed"});
        let outcome = desk
            .run(
                &of(
                    "orders",
                    vec![phase("order", with, json!({"compensation": "restore"}))],
                ),
                json!({"sku": "tea", "qty": 1}),
            )
            .await;
        let row = outcome.run();
        assert_eq!(
            (row.state, code(row)),
            (expected, error),
            "{answer}: {row:?}"
        );
    };
    check(r#"{"state": "placed"}"#, State::Completed, "").await;
    check(r#"{"state": "open"}"#, State::Compensated, "RD0314").await;
    check(r#"{"other": 1}"#, State::Failed, "RD0317").await;
    check("no json", State::Failed, "RD0317").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_cut_off() {
    let server = Server::start(|_: &Heard| Reply::Flood(200, 1_000_000_000)).await;
    let desk = Desk::new(&[&server.host]).await;
    let begun = Instant::now();
    let list = vec![phase(
        "order",
        order(&server.host),
        json!({"compensation": "restore", "timeout": "20s"}),
    )];
    let outcome = desk
        .run(&of("orders", list), json!({"sku": "tea", "qty": 1}))
        .await;
    assert_eq!(outcome.run().state, State::Completed);
    assert!(begun.elapsed() < Duration::from_secs(15));
    let blob = desk.lab.sql("select convert_from(content, 'UTF8')::jsonb ->> 'cut', length(content) < 300000 from redress.blob where convert_from(content, 'UTF8')::jsonb ? 'status'");
    assert!(blob.starts_with("true"), "{blob}");
}

/// F98: a secret is sent and is nowhere else, although the server says it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sent_and_stands_nowhere() {
    let variable = env!("CARGO_MANIFEST_DIR");
    let echo = |heard: &Heard| {
        let all = serde_json::to_string(&heard.headers).unwrap();
        Reply::Say(if heard.method == "POST" { 200 } else { 404 }, all)
    };
    let refusal = |heard: &Heard| Reply::Say(403, format!("{:?}", heard.headers));
    for (name, accepted) in [("kept", true), ("refused", false)] {
        let server = match accepted {
            true => Server::start(echo).await,
            false => Server::start(refusal).await,
        };
        let desk = Desk::new(&[&server.host]).await;
        let mut with = order(&server.host);
        with["headers"] = json!({
            "Authorization": {"secret": {"file": desk.lab.path("token")}, "prefix": "Bearer "},
            "X-Place": {"secret": {"env": "CARGO_MANIFEST_DIR"}},
        });
        let outcome = desk
            .run(
                &of(
                    name,
                    vec![phase("order", with, json!({"compensation": "restore"}))],
                ),
                json!({"sku": "tea", "qty": 1}),
            )
            .await;
        let row: RunRow = outcome.run().clone();
        let heard = server.heard();
        assert_eq!(
            heard[0].headers["authorization"],
            "Bearer canary-of-the-file"
        );
        assert_eq!(heard[0].headers["x-place"], variable);
        let all = desk.lab.sql("select string_agg(convert_from(bytes, 'UTF8'), '') from redress.record")
            + &desk.lab.sql("select coalesce(string_agg(convert_from(content, 'UTF8'), ''), '') from redress.blob")
            + &desk.lab.sql("select coalesce(string_agg(error, ''), '') from redress.run");
        assert!(!all.contains("canary") && !all.contains(variable), "{all}");
        assert!(all.contains("[secret]"), "{name}: {row:?}");
    }
}

/// What a definition must not choose, and what it got wrong, each with its place.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_listed_or_not_understood_is_refused_with_its_place() {
    let desk = Desk::new(&["api.example", "127.0.0.1:1"]).await;
    let check = async |more: Value, path: &str, code: &str| {
        let mut with = order("127.0.0.1:1");
        with["undo"] = json!({"method": "DELETE", "url": "https://api.example/orders"});
        merge(&mut with, more.clone());
        let with = phase("p", with, json!({"compensation": "restore"}));
        let found = desk
            .engine
            .check_definition(&of("bad", vec![with]))
            .await
            .unwrap();
        let found: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.code)).collect();
        assert_eq!(found, [(path, code)], "{more}");
    };
    check(
        json!({"url": "https://evil.example/"}),
        "/phases/0/with/url",
        "RD0146",
    )
    .await;
    check(
        json!({"url": "http://api.example/"}),
        "/phases/0/with/url",
        "RD0146",
    )
    .await;
    check(
        json!({"url": "http://127.0.0.1:2/"}),
        "/phases/0/with/url",
        "RD0146",
    )
    .await;
    check(
        json!({"url": "https://user:pw@api.example/"}),
        "/phases/0/with/url",
        "RD0110",
    )
    .await;
    check(
        json!({"url": "file:///etc/passwd"}),
        "/phases/0/with/url",
        "RD0110",
    )
    .await;
    check(
        json!({"url": {"pointer": "/input/url"}}),
        "/phases/0/with/url",
        "RD0110",
    )
    .await;
    check(json!({"method": null}), "/phases/0/with/method", "RD0110").await;
    check(json!({"method": "post"}), "/phases/0/with/method", "RD0110").await;
    check(
        json!({"headers": {"Host": "evil.example"}}),
        "/phases/0/with/headers/Host",
        "RD0110",
    )
    .await;
    check(
        json!({"headers": {"Idempotency-Key": "1"}}),
        "/phases/0/with/headers/Idempotency-Key",
        "RD0110",
    )
    .await;
    check(
        json!({"headers": {"A": {"secret": {"env": "HOME"}}}}),
        "/phases/0/with/headers/A/secret",
        "RD0146",
    )
    .await;
    check(
        json!({"headers": {"A": {"secret": {"file": "/etc/shadow"}}}}),
        "/phases/0/with/headers/A/secret",
        "RD0146",
    )
    .await;
    check(
        json!({"headers": {"A": {"secret": "x"}}}),
        "/phases/0/with/headers/A/secret",
        "RD0110",
    )
    .await;
    check(
        json!({"body": {"a": [{"pointer": "/nowhere"}]}}),
        "/phases/0/with/body/a/0",
        "RD0123",
    )
    .await;
    check(
        json!({"query": {"a": {"pointer": "/done/json"}}}),
        "/phases/0/with/query/a",
        "RD0123",
    )
    .await;
    check(json!({"expect": [99]}), "/phases/0/with/expect/0", "RD0110").await;
    check(json!({"follow": true}), "/phases/0/with/follow", "RD0110").await;
    check(
        json!({"probe": {"url": "https://evil.example/"}}),
        "/phases/0/with/probe/url",
        "RD0146",
    )
    .await;
    check(
        json!({"probe": ["https://api.example/"]}),
        "/phases/0/with/probe",
        "RD0110",
    )
    .await;
    check(
        json!({"undo": {"method": "DELETE", "url": "https://evil.example/"}}),
        "/phases/0/with/undo/url",
        "RD0146",
    )
    .await;
}

/// TLS by certificates: one that nobody knows is not spoken to, and nothing is sent in the clear instead.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_by_its_certificate_only() {
    let orders = Arc::new(Mutex::new(Orders::default()));
    let (server, pem) = Server::start_tls(service(Arc::clone(&orders), |_| None)).await;
    let with: Value = serde_json::from_str(
        &order(&server.host)
            .to_string()
            .replace("http://", "https://"),
    )
    .unwrap();
    let list = vec![phase("order", with, json!({"compensation": "restore"}))];
    for (pem, expected, error) in [
        (None, State::Compensated, "RD0314"),
        (Some(pem.as_str()), State::Completed, ""),
    ] {
        let desk = Desk::trusting(&[&server.host], pem).await;
        let outcome = desk
            .run(&of("orders", list.clone()), json!({"sku": "tea", "qty": 1}))
            .await;
        let row = outcome.run();
        assert_eq!((row.state, code(row)), (expected, error), "{row:?}");
        assert_eq!(server.heard().is_empty(), pem.is_none());
    }
    assert_eq!(orders.lock().unwrap().effects, 1);
}

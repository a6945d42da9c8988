//! What the engine tells: fields of one list, a code for each failure, and nothing of a run's content.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use redress::telemetry::{FIELDS, SPANS};
use redress_tests::Lab;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// A value that no log may show.
const CANARY: &str = "canary-4711";

/// What was heard of our own crates.
#[derive(Default)]
struct Heard {
    spans: BTreeSet<String>,
    fields: BTreeSet<String>,
    /// Name and value, as it was told.
    values: Vec<(String, String)>,
}

impl Heard {
    fn says(&self, name: &str, value: &str) -> bool {
        let is = |(field, said): &(String, String)| field == name && said == value;
        self.values.iter().any(is)
    }
}

#[derive(Clone, Default)]
struct Ears(Arc<Mutex<Heard>>);

impl Ears {
    fn hear(&self, metadata: &Metadata<'_>, values: impl FnOnce(&mut dyn Visit)) {
        if !metadata.target().starts_with("redress") {
            return;
        }
        let mut heard = self.0.lock().expect("ears");
        let names = metadata
            .fields()
            .iter()
            .map(|field| field.name().to_owned());
        heard.fields.extend(names);
        if metadata.is_span() {
            heard.spans.insert(metadata.name().to_owned());
        }
        values(&mut *heard);
    }
}

impl Visit for Heard {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.values
            .push((field.name().to_owned(), format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.values
            .push((field.name().to_owned(), value.to_owned()));
    }
}

impl<S: Subscriber + for<'l> tracing_subscriber::registry::LookupSpan<'l>> Layer<S> for Ears {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.hear(attributes.metadata(), |visit| attributes.record(visit));
    }

    fn on_record(&self, span: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(span) {
            self.hear(span.metadata(), |visit| values.record(visit));
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.hear(event.metadata(), |visit| event.record(visit));
    }
}

/// On one thread, so that one subscriber hears everything.
#[tokio::test]
async fn a_run_is_told_by_words_of_the_list_and_never_by_its_content() {
    let ears = Ears::default();
    let heard = Arc::clone(&ears.0);
    let _listening = tracing::subscriber::set_default(tracing_subscriber::registry().with(ears));
    let lab = Lab::new().await;
    let engine = lab.engine().await;
    let order = Lab::read(redress_tests::lab::SHOP_SAGA);
    // The invoice refuses, and its refusal quotes the order.
    lab.sql(
        "create function shop.refuse() returns trigger language plpgsql as $$ \
         begin raise exception 'no invoice for %', (select sku from shop.reservation where run = new.run); end $$; \
         create trigger refuse before insert on shop.invoice for each row execute function shop.refuse()",
    );
    lab.sql(&format!("insert into shop.stock values ('{CANARY}', 10)"));
    engine.register(&order).await.expect("registered");
    let input =
        json!({"order": format!("{CANARY}-order"), "sku": CANARY, "qty": 1, "note": CANARY});
    let start = engine.start("order", input).key(format!("{CANARY}-key"));
    let (started, _) = engine.start_and_drive(start).await.expect("driven");

    let heard = heard.lock().expect("ears");
    let known: BTreeSet<String> = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let strange: Vec<&String> = heard.fields.difference(&known).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let spans: BTreeSet<String> = SPANS
        .iter()
        .map(|(name, _, _)| (*name).to_owned())
        .collect();
    assert!(heard.spans.is_subset(&spans), "{:?}", heard.spans);
    for span in ["start", "run", "phase", "compensation"] {
        assert!(heard.spans.contains(span), "{span}: {:?}", heard.spans);
    }
    assert!(heard.says("run", &started.run.to_string()));
    assert!(heard.says("phase", "book"));
    let code = lab.sql("select error_code from redress.run");
    assert!(heard.says("code", &code), "{code}: {:?}", heard.values);
    assert!(heard.says("sqlstate", "P0001"), "{:?}", heard.values);
    for (name, value) in &heard.values {
        assert!(!value.contains(CANARY), "{name}={value}");
    }
    // Which is no wonder only if the text had been there to be told.
    assert!(lab.sql("select error from redress.run").contains(CANARY));
}

/// What no test happens to pass is held too.
#[test]
fn every_call_in_the_sources_names_fields_of_the_list_alone() {
    let known: BTreeSet<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let (mut calls, mut named) = (0, BTreeSet::new());
    for folder in [
        "ledger", "engine", "adapters", "runbooks", "examples", "cli",
    ] {
        let mut files = Vec::new();
        rust_files(&root().join(folder).join("src"), &mut files);
        for file in files {
            let text = fs::read_to_string(&file).expect("a readable file");
            for call in macro_calls(&text) {
                calls += 1;
                for name in fields_of(call) {
                    let place = file.display();
                    assert!(known.contains(name.as_str()), "{place}: {name} in {call}");
                    named.insert(name);
                }
            }
        }
    }
    assert!(calls > 50, "{calls}");
    let unused: Vec<&&str> = known
        .iter()
        .filter(|name| !named.contains(**name))
        .collect();
    assert!(
        unused == [&"message"],
        "in the list and in no call: {unused:?}"
    );
}

#[test]
fn the_names_of_a_calls_fields_are_read_rightly() {
    let text =
        r#"x; tracing::warn!(%run, error = %Told(&a, b), phase = p.as_str(), "a, b = {c}"); y"#;
    let calls: Vec<&str> = macro_calls(text).collect();
    assert_eq!(calls.len(), 1);
    assert_eq!(fields_of(calls[0]), ["run", "error", "phase"]);
    let text = r#"tracing::info_span!("run", saga = s, outcome = field::Empty,)"#;
    let call = macro_calls(text).next().expect("a call");
    assert_eq!(fields_of(call), ["saga", "outcome"]);
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the workspace").to_owned()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
}

/// What stands between the brackets of each call of a macro of `tracing`.
fn macro_calls(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("tracing::").filter_map(|(at, word)| {
        let rest = &text[at + word.len()..];
        let name = rest.split_once("!(")?.0;
        let plain = !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let inside = &rest[name.len() + 2..];
        let end = *split(inside).last()?;
        plain.then(|| &inside[..end])
    })
}

/// Ends of the arguments up to the closing bracket, whose place is the last.
fn split(text: &str) -> Vec<usize> {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    let mut ends = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' if depth == 0 => {
                ends.push(at);
                break;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => ends.push(at),
            _ => {}
        }
    }
    ends
}

fn fields_of(call: &str) -> Vec<String> {
    let whole = format!("{call})");
    let mut from = 0;
    let mut names = Vec::new();
    for end in split(&whole) {
        let part = whole[from..end].trim();
        from = end + 1;
        if part.is_empty() || part.starts_with('"') || part.starts_with("parent:") {
            continue;
        }
        let name = part.split('=').next().unwrap_or(part);
        names.push(name.trim().trim_start_matches(['%', '?']).to_owned());
    }
    names
}

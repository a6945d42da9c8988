//! What the commands print with `--json`, as JSON Schemas: made from the types where there are types, written here where
//! a command puts its answer together itself. `schemas/` has them as files, and real answers are held against them.

use redress::check::CheckReport;
use redress::rehearse::Rehearsal;
use redress::view::{Attention, LogLine, RunLine, RunView, SagaLine};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Every schema: the file's stem, and what it describes.
pub fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("saga", redress::definition::json_schema()),
        ("runbook", redress_runbooks::schema::generate()),
        ("config", redress_adapters::file::File::json_schema()),
        ("error", error()),
        ("run", run()),
        ("status", status()),
        (
            "runs",
            listed::<RunLine>("runs", "The answer of `redress runs`"),
        ),
        (
            "log",
            listed::<LogLine>("records", "The answer of `redress log`"),
        ),
        (
            "sagas",
            listed::<SagaLine>("sagas", "The answer of `redress saga list`"),
        ),
        ("plan", plan()),
        ("holds", holds()),
        ("check", check()),
        ("audit-verify", audit_verify()),
        ("audit-window", audit_window()),
        ("explain", explain()),
        ("rehearse", rehearse()),
        ("doctor", doctor()),
    ]
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator()
}

/// An answer: its own members, `schema` and `errors`; everything is there always.
fn answer(name: &str, title: &str, members: &[(&str, Value)], defs: Map<String, Value>) -> Value {
    let mut shape = object(members);
    shape["properties"]["schema"] = json!({"const": 1, "description": "The version of this form."});
    shape["properties"]["errors"] = list(object(&[("code", text()), ("message", text())]));
    let required = shape["required"].as_array_mut().expect("a list");
    required.extend(["schema".into(), "errors".into()]);
    shape["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    shape["$id"] = json!(format!(
        "https://redress-rs.github.io/schema/{name}.schema.json"
    ));
    shape["title"] = json!(title);
    if !defs.is_empty() {
        shape["$defs"] = Value::Object(defs);
    }
    shape
}

fn object(members: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
    let members: Map<String, Value> = members
        .iter()
        .map(|(name, shape)| ((*name).to_owned(), shape.clone()))
        .collect();
    json!({"type": "object", "properties": members, "required": names})
}

fn text() -> Value {
    json!({"type": "string"})
}

fn whole() -> Value {
    json!({"type": "integer"})
}

fn truth() -> Value {
    json!({"type": "boolean"})
}

fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

fn or_null(shape: Value) -> Value {
    json!({"anyOf": [shape, {"type": "null"}]})
}

/// Role to number.
fn quorum() -> Value {
    json!({"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}})
}

fn next() -> Value {
    object(&[("what", text()), ("command", text()), ("who", list(text()))])
}

fn record() -> Value {
    object(&[("seq", whole()), ("hash", text())])
}

/// What every command answers that did not do what was asked.
fn error() -> Value {
    let members = [
        ("code", json!({"type": "string", "pattern": "^RD[0-9]{4}$"})),
        ("message", text()),
        ("stands", text()),
        ("next", text()),
        ("runbook", or_null(text())),
    ];
    let mut shape = answer(
        "error",
        "What a command answers that did not do what was asked",
        &[("error", object(&members))],
        Map::new(),
    );
    shape["properties"]["errors"]["items"]["additionalProperties"] = json!(true);
    shape
}

fn run() -> Value {
    let mut shape = generator().into_root_schema_for::<RunView>().to_value();
    shape["$id"] = json!("https://redress-rs.github.io/schema/run.schema.json");
    shape["title"] = json!("The answer of `redress show` and `redress start --wait`");
    shape["properties"]["runbook"] =
        json!({"type": ["string", "null"], "description": "The runbook that fits best."});
    let required = shape["required"].as_array_mut().expect("a list");
    required.push("runbook".into());
    shape
}

fn status() -> Value {
    let mut generator = generator();
    let waiting = generator.subschema_for::<Attention>().to_value();
    let mut defs = generator.take_definitions(true);
    let attention = &mut defs["Attention"];
    attention["properties"]["runbook"] = or_null(text());
    let required = attention["required"].as_array_mut().expect("a list");
    required.push("runbook".into());
    let group = object(&[
        ("fingerprint", text()),
        ("count", whole()),
        ("saga", text()),
        ("state", text()),
        ("phase", or_null(text())),
        ("code", text()),
        ("reason", text()),
        ("oldest", text()),
        ("runs", list(text())),
        ("subjects", list(or_null(text()))),
        ("next", next()),
        ("runbook", or_null(text())),
    ]);
    let members = [
        ("waiting", list(waiting)),
        ("groups", list(group)),
        ("files", list(json!({}))),
    ];
    answer("status", "The answer of `redress status`", &members, defs)
}

fn listed<T: JsonSchema>(name: &str, title: &str) -> Value {
    let mut generator = generator();
    let line = generator.subschema_for::<T>().to_value();
    let defs = generator.take_definitions(true);
    let file = if name == "records" { "log" } else { name };
    answer(file, title, &[(name, list(line))], defs)
}

fn plan() -> Value {
    let action = object(&[
        ("phase", text()),
        ("action", text()),
        ("why", text()),
        ("authority", json!({})),
        ("code", or_null(text())),
        ("guard", truth()),
        ("record", or_null(record())),
        ("touches", json!({"type": "object"})),
    ]);
    let plan = object(&[
        ("v", whole()),
        ("run", text()),
        ("saga", text()),
        ("version", whole()),
        ("definition", text()),
        ("basis", record()),
        ("cause", json!({"type": "object"})),
        ("actions", list(action)),
        ("quorum", quorum()),
        ("automatic", truth()),
        ("refused", truth()),
        ("baseline", list(json!({}))),
        ("stops_at", or_null(text())),
    ]);
    let detail = object(&[
        ("phase", text()),
        ("rows", json!({"type": "object"})),
        ("writes", list(text())),
        ("guards", list(text())),
        ("verifications", list(text())),
    ]);
    let members = [
        ("digest", text()),
        ("code", text()),
        ("state", text()),
        ("plan", plan),
        ("atomic", truth()),
        ("details", list(detail)),
        ("approvals", list(json!({"type": "object"}))),
        ("valid", list(json!({}))),
        ("missing", or_null(quorum())),
        ("next", or_null(next())),
    ];
    answer("plan", "The answer of `redress plan`", &members, Map::new())
}

fn holds() -> Value {
    let hold = object(&[
        ("id", text()),
        ("scope", json!({"enum": ["all", "saga", "subject", "run"]})),
        ("target", or_null(text())),
        ("run", or_null(text())),
        ("reason", text()),
        ("code", text()),
        ("by", text()),
        ("at", text()),
    ]);
    let switch = object(&[
        ("state", json!({"enum": ["run", "killed", "frozen"]})),
        ("switch_no", whole()),
        ("reason", text()),
        ("by", text()),
        ("at", text()),
    ]);
    let members = [
        ("switch", or_null(switch)),
        ("holds", list(hold)),
        ("files", list(json!({}))),
    ];
    answer(
        "holds",
        "The answer of `redress holds`",
        &members,
        Map::new(),
    )
}

fn check() -> Value {
    let mut shape = generator().into_root_schema_for::<CheckReport>().to_value();
    shape["$id"] = json!("https://redress-rs.github.io/schema/check.schema.json");
    shape["title"] = json!("The answer of `redress check`");
    shape["properties"]["errors"] = list(json!({"type": "object"}));
    let required = shape["required"].as_array_mut().expect("a list");
    required.push("errors".into());
    shape
}

fn audit_verify() -> Value {
    let members = [
        (
            "verdict",
            json!({"enum": ["verified", "failed", "incomplete"]}),
        ),
        ("records", whole()),
        ("runs", whole()),
        ("decisions", whole()),
        ("sealed", whole()),
    ];
    answer(
        "audit-verify",
        "The answer of `redress audit verify` about the live ledger",
        &members,
        Map::new(),
    )
}

fn audit_window() -> Value {
    let members = [
        ("unsealed", whole()),
        ("sealed", whole()),
        (
            "unanchored_age_seconds",
            json!({"type": "number", "minimum": 0}),
        ),
    ];
    answer(
        "audit-window",
        "The answer of `redress audit window`",
        &members,
        Map::new(),
    )
}

fn explain() -> Value {
    let members = [
        ("code", text()),
        ("title", text()),
        ("happened", text()),
        ("stands", text()),
        ("next", text()),
        ("runbooks", list(text())),
        ("exit", whole()),
    ];
    answer(
        "explain",
        "The answer of `redress explain CODE`",
        &members,
        Map::new(),
    )
}

fn rehearse() -> Value {
    let mut shape = generator().into_root_schema_for::<Rehearsal>().to_value();
    let whole = answer(
        "rehearse",
        "The answer of `redress rehearse`",
        &[],
        Map::new(),
    );
    for member in ["$id", "title"] {
        shape[member] = whole[member].clone();
    }
    for member in ["schema", "errors"] {
        shape["properties"][member] = whole["properties"][member].clone();
        let required = shape["required"].as_array_mut().expect("a list");
        required.push(member.into());
    }
    shape
}

fn doctor() -> Value {
    let states = ["ok", "unknown", "warn", "fail"];
    let check = object(&[
        ("check", text()),
        ("state", json!({"enum": states})),
        ("found", text()),
        ("means", or_null(text())),
        ("next", or_null(text())),
        ("code", or_null(text())),
        ("runbook", or_null(text())),
    ]);
    let members = [
        ("ok", truth()),
        ("counts", object(&states.map(|state| (state, whole())))),
        ("checks", list(check)),
    ];
    answer(
        "doctor",
        "The answer of `redress doctor`",
        &members,
        Map::new(),
    )
}

/// The same schema, which accepts no member that it does not name: a test's, so that a new one is noticed.
pub fn strict(mut schema: Value) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(members) => {
                if members.contains_key("properties") {
                    members
                        .entry("additionalProperties")
                        .or_insert(Value::Bool(false));
                }
                members.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }
    close(&mut schema);
    schema
}

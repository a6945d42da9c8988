//! The JSON Schema of a runbook's file, made from the types.
//!
//! **Invariant:** the published file is what the types give; a test makes it anew and compares.
//!
//! **Not here:** what a schema cannot say (names that must exist, statements, risks): that is `lint`.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use crate::model::Runbook;

/// The published schema.
pub const PUBLISHED: &str = include_str!("../schema/runbook.schema.json");

/// Makes the schema from the types.
pub fn generate() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<Runbook>().to_value();
    schema["$id"] = json!("https://redress-rs.github.io/schema/runbook.schema.json");
    schema["title"] = json!("Runbook of Redress");
    // A step does exactly one thing.
    let kinds = crate::model::Step::KINDS;
    let one: Vec<Value> = kinds
        .iter()
        .map(|kind| json!({"required": [kind]}))
        .collect();
    schema["$defs"]["Step"]["oneOf"] = json!(one);
    schema
}

/// A name.
pub(crate) struct NameText;

impl JsonSchema for NameText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"})
    }
}

/// A pointer.
pub(crate) struct PointerText;

impl JsonSchema for PointerText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Pointer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A JSON pointer (RFC 6901) whose value is bound.",
            "type": "string",
            "pattern": "^/(run|input|phases|params|steps|approvals|plan|execution)(/|$)",
            "maxLength": 1024,
        })
    }
}

/// A length of time.
pub(crate) struct LengthText;

impl JsonSchema for LengthText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Length".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A length of time: 200ms, 5s, 2m or 1h.",
            "type": "string",
            "pattern": "^(0|[1-9][0-9]*)(ms|s|m|h)$",
        })
    }
}

/// How many of each role.
pub(crate) struct QuorumShape;

impl JsonSchema for QuorumShape {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Quorum".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let count = json!({"type": "integer", "minimum": 0, "maximum": 16});
        json_schema!({
            "type": "object",
            "properties": {"operator": count, "reviewer": count, "sovereign": count},
        })
    }
}

/// A state of a run.
pub(crate) struct StateText;

impl JsonSchema for StateText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "State".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = redress_ledger::state::State::ALL.map(|state| state.as_str());
        json_schema!({"type": "string", "enum": words})
    }
}

/// How far a hold reaches.
pub(crate) struct ScopeText;

impl JsonSchema for ScopeText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HoldScope".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": ["run", "subject", "saga", "all"]})
    }
}

/// What is done about a phase.
pub(crate) struct ActionText;

impl JsonSchema for ActionText {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let asked = redress::plan::Action::ALL
            .into_iter()
            .filter(|action| *action != redress::plan::Action::Refuse);
        let words: Vec<&str> = asked.map(|action| action.as_str()).collect();
        json_schema!({"type": "string", "enum": words})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::library::SHIPPED;
    use redress::definition::yaml::read_tree;

    /// `REDRESS_WRITE_SCHEMA=1 cargo test -p redress-runbooks schema` writes it.
    #[test]
    fn the_published_schema_is_what_the_types_give() {
        let text = format!("{:#}\n", generate());
        if std::env::var_os("REDRESS_WRITE_SCHEMA").is_some() {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/runbook.schema.json");
            std::fs::write(path, &text).unwrap();
        }
        assert!(
            text == PUBLISHED,
            "write it anew, as this test's comment says"
        );
    }

    fn accepts(text: &str) -> bool {
        let schema: Value = serde_json::from_str(PUBLISHED).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let (tree, _) = read_tree(text.as_bytes(), "x").unwrap();
        validator.is_valid(&tree)
    }

    #[test]
    fn every_shipped_runbook_is_valid_by_the_schema() {
        for one in SHIPPED {
            assert!(accepts(one.yaml), "{}", one.name);
        }
    }

    #[test]
    fn what_the_reader_refuses_the_schema_refuses() {
        let find = |name: &str| SHIPPED.iter().find(|one| one.name == name).unwrap().yaml;
        let good = find("resolve-run");
        let check = |from: &str, to: &str| {
            assert!(good.contains(from), "{from}");
            let bad = good.replacen(from, to, 1);
            assert!(!accepts(&bad), "{to}");
        };
        check("owner:", "ownr:");
        check("version: 1", "version: one");
        check("version: 1", "version: -1");
        check("risk: irreversible", "risk: some");
        check("distinct: true", "distinct: true, admiral: 1");
        check("distinct: true", "distinct: true, sovereign: many");
        check("distinct: true", "distinct: sometimes");
        check("[failed, stuck]", "[broken]");
        check("resolve: {}", "resolve: {}\n    resume: {}");
        check("resolve: {}", "shell: rm");
        check("outcome: done", "outcome: maybe");
        check("/run/id", "run/id");
        check("runbook: resolve-run", "runbook: Resolve Run");
    }
}

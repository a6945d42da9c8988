//! The JSON Schema of a saga file, made from the types that read it.
//!
//! **Invariant:** what the schema refuses the reader refuses too; editors and other tools may go by it.
//!
//! **Not here:** what a schema cannot say (names that must exist, ways back, the pivot): that is [`super::validate`]; and
//! the shape of `with`, which is the adapter's.

use std::borrow::Cow;

use redress_ledger::Role;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::raw::RawDefinition;
use super::validate::actions;

/// Makes the schema.
pub fn json_schema() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = generator.into_root_schema_for::<RawDefinition>().to_value();
    schema["$id"] = json!("https://redress-rs.github.io/schema/saga.schema.json");
    schema["title"] = json!("Saga of Redress");
    schema
}

/// A shape that is written by hand, because what reads it is.
macro_rules! shape {
    ($(#[$about:meta])* $type:ident, $name:literal, $schema:expr) => {
        $(#[$about])*
        pub(crate) struct $type;

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

shape!(
    /// A name.
    NameText,
    "Name",
    json_schema!({"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"})
);

shape!(
    /// A pointer.
    PointerText,
    "Pointer",
    json_schema!({
        "description": "A JSON pointer (RFC 6901) whose value is bound.",
        "type": "string",
        "pattern": "^(/|$)",
        "maxLength": 1024,
    })
);

shape!(
    /// A length of time.
    LengthText,
    "Length",
    json_schema!({
        "description": "A length of time: 200ms, 5s, 2m or 1h.",
        "type": "string",
        "pattern": "^(0|[1-9][0-9]*)(ms|s|m|h)$",
    })
);

shape!(
    /// A relation.
    RelationText,
    "Relation",
    json_schema!({
        "description": "`schema.table`, as the catalogue spells it, without quotes.",
        "type": "string",
        "pattern": "^[^.\"]+\\.[^.\"]+$",
    })
);

shape!(
    /// How many of each role.
    QuorumShape,
    "Quorum",
    quorum(0)
);

shape!(
    /// Who must sign for one action.
    AuthorityNeeded,
    "AuthorityNeeded",
    json_schema!({"anyOf": [{"const": "auto"}, quorum(1).to_value()]})
);

shape!(
    /// Action to who must sign.
    AuthorityShape,
    "Authority",
    {
        let quorum = quorum(1).to_value();
        let one = json!({"anyOf": [{"const": "auto"}, quorum]});
        let actions: serde_json::Map<String, Value> = actions()
            .map(|(action, auto)| {
                let shape = if auto { one.clone() } else { quorum.clone() };
                (action.to_owned(), shape)
            })
            .collect();
        json_schema!({"type": "object", "additionalProperties": false, "properties": actions})
    }
);

shape!(
    /// What happens when a phase has failed for good.
    OnFailureShape,
    "OnFailure",
    json_schema!({
        "anyOf": [
            {"enum": ["compensate", "hold", "continue"]},
            {
                "type": "object",
                "additionalProperties": false,
                "required": ["rewind_to"],
                "properties": {
                    "rewind_to": {"type": "string"},
                    "then": {"enum": ["stop", "resume"]},
                },
            },
        ],
    })
);

shape!(
    /// A JSON Schema.
    SchemaShape,
    "InputSchema",
    json_schema!({"$ref": "https://json-schema.org/draft/2020-12/schema"})
);

fn quorum(least: usize) -> Schema {
    let count = json!({"type": "integer", "minimum": 1, "maximum": 100});
    let signing = [Role::Sovereign, Role::Operator, Role::Reviewer];
    let roles: serde_json::Map<String, Value> = signing
        .map(|role| (role.to_string(), count.clone()))
        .into_iter()
        .collect();
    json_schema!({
        "type": "object",
        "additionalProperties": false,
        "minProperties": least,
        "properties": roles,
    })
}

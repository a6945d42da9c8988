//! The governed document cut: a document is cut into units, recorded, verified and enacted, or brought back as it was.
//!
//! [`saga`] is built with the typed builder and has the same digest as [`SAGA_YAML`]; a test holds this. The schema
//! stands in [`UP`] and is taken away by [`DOWN`].
//!
//! ```
//! let saga = redress_examples::cutover::saga();
//! assert_eq!(saga.phases.len(), 5);
//! ```
//!
//! **Invariant:** governance rows and enacted units are never changed; the way back of each phase is a new fact.

mod governance;
mod snapshot;
mod units;

use std::time::Duration;

use redress::definition::builder::Saga;
use redress::definition::{Authority, Definition, HoldScope};
use redress_ledger::quorum::one_sovereign;
use redress_ledger::{Quorum, Role};
use serde_json::{Value, json};

/// The saga file, as in `examples/cutover/saga.yaml`.
pub const SAGA_YAML: &str = include_str!("../cutover/saga.yaml");

/// The schema bundles in the order in which they are applied: name and statements, each one transaction.
pub const UP: &[(&str, &str)] = &[
    (
        "0001_roles",
        include_str!("../cutover/sql/lifecycle/0001_roles.up.sql"),
    ),
    (
        "0002_units",
        include_str!("../cutover/sql/lifecycle/0002_units.up.sql"),
    ),
    (
        "0003_immutability",
        include_str!("../cutover/sql/lifecycle/0003_immutability.up.sql"),
    ),
    (
        "0004_governance",
        include_str!("../cutover/sql/lifecycle/0004_governance.up.sql"),
    ),
    (
        "0005_functions",
        include_str!("../cutover/sql/lifecycle/0005_functions.up.sql"),
    ),
];

/// What takes the bundles away, in the order in which it is run: the last one first. Their rows go with them.
pub const DOWN: &[(&str, &str)] = &[
    (
        "0005_functions",
        include_str!("../cutover/sql/lifecycle/0005_functions.down.sql"),
    ),
    (
        "0004_governance",
        include_str!("../cutover/sql/lifecycle/0004_governance.down.sql"),
    ),
    (
        "0003_immutability",
        include_str!("../cutover/sql/lifecycle/0003_immutability.down.sql"),
    ),
    (
        "0002_units",
        include_str!("../cutover/sql/lifecycle/0002_units.down.sql"),
    ),
    (
        "0001_roles",
        include_str!("../cutover/sql/lifecycle/0001_roles.down.sql"),
    ),
];

/// Two documents to cut: file name and text.
pub const DOCUMENTS: &[(&str, &str)] = &[
    (
        "tool-library.md",
        include_str!("../cutover/documents/tool-library.md"),
    ),
    (
        "night-ferry.md",
        include_str!("../cutover/documents/night-ferry.md"),
    ),
];

/// Inputs for them as JSON: name and text. The miscounted one fails at `write_verify`.
pub const INPUTS: &[(&str, &str)] = &[
    (
        "tool-library",
        include_str!("../cutover/input/tool-library.json"),
    ),
    (
        "tool-library-miscounted",
        include_str!("../cutover/input/tool-library-miscounted.json"),
    ),
    (
        "night-ferry",
        include_str!("../cutover/input/night-ferry.json"),
    ),
];

/// Builds the saga; it equals the saga file.
pub fn saga() -> Definition {
    let saga = Saga::new("cutover", 1)
        .description(
            "Cut a document into information units, record the cut, verify it, then enact it.",
        )
        .input(input())
        .subject("/input/document")
        .exclusive()
        .authority("soft_revert", Authority::Quorum(one_sovereign()))
        .authority("decide", Authority::Quorum(one_sovereign()))
        .authority("discard", Authority::Quorum(one_sovereign()))
        .authority(
            "hard_delete",
            Authority::Quorum(Quorum::from([(Role::Sovereign, 1), (Role::Reviewer, 1)])),
        )
        .authority("release", Authority::Quorum(one_sovereign()))
        .on_unrecovered(HoldScope::Subject, true);
    snapshot::add_to(saga)
        .phase(units::pre_write_backup())
        .phase(units::cut_leg_a())
        .phase(governance::leg_b_record())
        .phase(governance::write_verify())
        .phase(units::lifecycle_enact())
        .build()
        .expect("the definition is fixed, and a test builds it")
}

/// The JSON Schema of the input.
fn input() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["document", "title", "text", "signers"],
        "properties": {
            "document": {
                "description": "The name by which the document is known, over all its cuts.",
                "type": "string",
                "pattern": r"^\S(.*\S)?$",
                "maxLength": 200,
            },
            "title": {"type": "string", "minLength": 1, "maxLength": 500},
            "text": {
                "description": "The whole document, Markdown or plain text.",
                "type": "string",
                "minLength": 1,
                "maxLength": 16_777_216,
            },
            "signers": {
                "description": "The two parties that sign for the cut. They must be two different principals.",
                "type": "array",
                "minItems": 2,
                "maxItems": 2,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["principal"],
                    "properties": {
                        "principal": {"type": "string", "minLength": 1, "maxLength": 200},
                        "signature": {"type": "string", "minLength": 1, "maxLength": 4000},
                    },
                },
            },
            "expected_units": {
                "description":
                    "How many units the person who asks counted. Left out, only the manifest counts.",
                "type": "integer",
                "minimum": 1,
                "maximum": 1_000_000,
            },
        },
    })
}

/// The role that may write; every statement of the saga runs under it.
const EXECUTOR: &str = "cutover_executor";
/// Where the change set stands that the run has cut.
const CHANGE_SET: &str = "/phases/cut_leg_a/cut/0/change_set_id";
/// A document of several megabytes takes seconds.
const TIMEOUT: Duration = Duration::from_secs(120);
const PUBLIC_TABLES: [&str; 3] = [
    "public.information_unit",
    "public.unit_version",
    "public.iu_lifecycle_log",
];

#[cfg(test)]
mod tests {
    use redress::definition::input::InputSchema;
    use redress::definition::load_yaml;
    use redress_ledger::Hash;

    use super::*;

    #[test]
    fn the_builder_and_the_file_give_one_digest() {
        let (file, _) =
            load_yaml(SAGA_YAML.as_bytes(), "saga.yaml", None).expect("the saga file is accepted");
        let built = saga();
        assert_eq!(built, file);
        let digest = |definition: &Definition| -> Hash {
            definition.digest().expect("a definition is canonical")
        };
        assert_eq!(digest(&built), digest(&file));
    }

    #[test]
    fn every_input_fits_the_schema_and_holds_a_document() {
        let schema = InputSchema::compile(&saga().input).expect("the schema compiles");
        for (name, text) in INPUTS {
            let input: Value = serde_json::from_str(text).expect("an input is JSON");
            schema
                .check(&input)
                .unwrap_or_else(|error| panic!("{name}: {error:?}"));
            assert!(
                DOCUMENTS
                    .iter()
                    .any(|(_, document)| input["text"] == *document),
                "{name} holds another text"
            );
        }
    }

    #[test]
    fn bundles_are_reverted_in_the_opposite_order() {
        let up: Vec<_> = UP.iter().map(|(name, _)| name).collect();
        let down: Vec<_> = DOWN.iter().rev().map(|(name, _)| name).collect();
        assert_eq!(up, down);
        assert!(up.is_sorted());
    }
}

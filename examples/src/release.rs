//! A chain of phases with artefacts, dispatches and agents: gates count live artefacts, a rewind takes back as one.
//!
//! [`saga`] is built with the typed builder and has the same digest as [`SAGA_YAML`]; a test holds this. The schema
//! stands in [`UP`] and is taken away by [`DOWN`].
//!
//! ```
//! let saga = redress_examples::release::saga();
//! assert_eq!(saga.phases.len(), redress_examples::release::STAGES.len());
//! ```

use redress::definition::builder::{Phase, Query, Saga};
use redress::definition::{Authority, Compensation, Definition, HoldScope, OnFailure, Retry, Then};
use redress_ledger::quorum::one_sovereign;
use serde_json::{Value, json};

/// The saga file, as in `examples/release/saga.yaml`.
pub const SAGA_YAML: &str = include_str!("../release/saga.yaml");

/// The schema's steps, each with the versions that it needs and leaves: name and statements.
pub const UP: &[(&str, &str)] = &[
    (
        "0001_tables",
        include_str!("../release/sql/lifecycle/0001_tables.up.sql"),
    ),
    (
        "0002_changes",
        include_str!("../release/sql/lifecycle/0002_changes.up.sql"),
    ),
];

/// What takes them away, the last one first.
pub const DOWN: &[(&str, &str)] = &[
    (
        "0002_changes",
        include_str!("../release/sql/lifecycle/0002_changes.down.sql"),
    ),
    (
        "0001_tables",
        include_str!("../release/sql/lifecycle/0001_tables.down.sql"),
    ),
];

/// An input that completes.
pub const INPUT: &str = include_str!("../release/input/one.json");

/// The phases, in their order.
pub const STAGES: [&str; 6] = [
    "brainstorm",
    "strategy",
    "plan",
    "execute",
    "review",
    "ship",
];

/// What every phase writes; nothing of it is deleted by a rewind.
const TABLES: [&str; 6] = [
    "release.run",
    "release.transition",
    "release.artefact",
    "release.agent",
    "release.dispatch",
    "release.dispatch_change",
];

/// Builds the saga; it equals the saga file.
///
/// # Panics
/// When the builder refuses it, which a test would have found.
pub fn saga() -> Definition {
    let saga = Saga::new("release", 1)
        .description("Walk a release through its chain, and go back to a phase as one.")
        .input(input())
        .subject("/input/project")
        .exclusive()
        .snapshot(
            Query::new(
                "live_artefacts",
                "select count(*) from release.artefact as a join release.run as r on r.run = a.run \
                 where r.project = $1 and a.status = 'live'",
            )
            .params(["/input/project"])
            .baseline(),
        )
        .snapshot(
            Query::new(
                "schema_version",
                "select version from release.schema_version",
            )
            .expect(2),
        )
        .authority("soft_revert", Authority::Auto)
        .authority("release", Authority::Quorum(one_sovereign()))
        .on_unrecovered(HoldScope::Subject, false)
        .max_rewinds(3);
    let saga = STAGES
        .into_iter()
        .fold(saga, |saga, name| saga.phase(stage(name)));
    saga.build()
        .expect("the definition is fixed, and a test builds it")
}

fn input() -> Value {
    let names: serde_json::Map<String, Value> = STAGES
        .iter()
        .map(|&name| {
            let text = json!({"type": "string", "minLength": 1, "maxLength": 500});
            (name.to_owned(), text)
        })
        .collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["project", "work"],
        "properties": {
            "project": {"type": "string", "minLength": 1, "maxLength": 200},
            "work": {
                "description": "The artefact that each phase leaves.",
                "type": "object",
                "additionalProperties": false,
                "required": STAGES,
                "properties": names,
            },
        },
    })
}

fn stage(name: &str) -> Phase {
    let phase = Phase::new(name, "sql")
        .writes(TABLES)
        .compensation(Compensation::SoftRevert)
        .residue(TABLES)
        .retry(Retry {
            attempts: 1,
            ..Retry::default()
        })
        .with(json!({
            "apply": apply(name),
            "guard": [{
                "sql": format!("select true from release.run where run = $1 and phase = '{name}' for update"),
                "params": ["/run/id"], "rows": 1,
            }],
            "revert": revert(name),
            "verify": [{
                "sql": format!(
                    "select (r.phase is not distinct from '{name}') = exists ( \
                     select from release.artefact as a where a.run = r.run and a.phase = '{name}' and a.status = 'live') \
                     from release.run as r where r.run = $1"
                ),
                "params": ["/run/id"], "rows": 1,
            }],
        }));
    if name == "review" {
        return phase.on_failure(OnFailure::RewindTo {
            phase: "execute".parse().expect("a name"),
            then: Then::Stop,
        });
    }
    phase
}

/// Through the gate; an agent, its dispatch, the artefact, and the dispatch is done.
fn apply(name: &str) -> Value {
    let at = |path: &str| format!("/phases/{name}/{path}/0/id");
    let mut statements = Vec::new();
    if name == STAGES[0] {
        statements.push(json!({
            "sql": "insert into release.run (run, project) values ($1, $2) on conflict (run) do nothing",
            "params": ["/run/id", "/input/project"],
        }));
    }
    statements.push(json!({
        "sql": format!("select run, project, phase, state, completed_at::text from release.advance($1, '{name}')"),
        "params": ["/run/id"], "rows": 1, "as": "run",
    }));
    statements.push(json!({
        "sql": format!("insert into release.agent (run, phase) values ($1, '{name}') returning id, run, phase, status"),
        "params": ["/run/id"], "rows": 1, "as": "agent",
    }));
    statements.push(json!({
        "sql": format!(
            "insert into release.dispatch (run, phase, agent) values ($1, '{name}', $2) \
             returning id, run, phase, agent, status, result"
        ),
        "params": ["/run/id", at("agent")], "rows": 1, "as": "dispatch",
    }));
    statements.push(json!({
        "sql": format!(
            "insert into release.artefact (run, phase, name) values ($1, '{name}', $2) \
             returning id, run, phase, name, status, created_at::text"
        ),
        "params": ["/run/id", format!("/input/work/{name}")], "rows": 1, "as": "artefact",
    }));
    statements.push(json!({
        "sql": "update release.dispatch set status = 'done', result = jsonb_build_object('artefact', $2::uuid) \
                where id = $1 and status = 'running'",
        "params": [at("dispatch"), at("artefact")], "rows": 1,
    }));
    Value::Array(statements)
}

/// Four tables, and the run's own row beside them: all in the one transaction of the whole way back.
fn revert(name: &str) -> Value {
    let own = |sql: String| json!({"sql": sql, "params": ["/run/id"], "rows": {"min": 1}});
    json!([
        own(format!(
            "update release.dispatch set status = 'cancelled' where run = $1 and phase = '{name}' and status in ('running', 'done')"
        )),
        own(format!(
            "update release.agent set status = 'released' where run = $1 and phase = '{name}' and status = 'working'"
        )),
        own(format!(
            "update release.artefact set status = 'rewound' where run = $1 and phase = '{name}' and status = 'live'"
        )),
        {"sql": format!("select run from release.step_back($1, '{name}')"), "params": ["/run/id"], "rows": 1},
    ])
}

#[cfg(test)]
mod tests {
    use redress::definition::input::InputSchema;
    use redress::definition::load_yaml;

    use super::*;

    #[test]
    fn the_builder_and_the_file_give_one_digest() {
        let (file, _) =
            load_yaml(SAGA_YAML.as_bytes(), "saga.yaml", None).expect("the saga file is accepted");
        let built = saga();
        assert_eq!(built, file);
        assert_eq!(
            built.digest().expect("canonical"),
            file.digest().expect("canonical")
        );
    }

    #[test]
    fn the_input_fits_and_an_empty_name_does_not() {
        let schema = InputSchema::compile(&saga().input).expect("the schema compiles");
        let mut input: Value = serde_json::from_str(INPUT).expect("an input is JSON");
        schema.check(&input).expect("it fits");
        input["project"] = json!("");
        assert!(schema.check(&input).is_err());
    }
}

//! `db roles`: the script that an administrator runs where the installer may make no roles, and what each role is for.
//!
//! **Not here:** what a phase's own role needs (`saga grants`).

use redress::{Part, SchemaName};
use serde_json::json;

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Prints it.
///
/// # Errors
/// [`Fail`] when nobody can be told.
pub fn roles(place: &Place) -> Result<Exit, Fail> {
    let schema = &place.globals.schema;
    let script = script(schema);
    if place.say.is_json() {
        let roles: Vec<_> = Part::ALL
            .into_iter()
            .map(|part| json!({"part": part.as_str(), "role": schema.role(part), "for": what_for(part)}))
            .collect();
        place
            .say
            .value(&json!({"schema": 1, "roles": roles, "script": script, "errors": []}))?;
    } else {
        place.say.data(script.trim_end())?;
    }
    Ok(Exit::Done)
}

fn script(schema: &SchemaName) -> String {
    let mut text = format!(
        "-- The roles of the installation in schema {}. An administrator runs this once, in the database; nobody logs in as\n\
         -- one of them. What each may do is granted by `redress db migrate` itself, and `redress check` compares it.\n",
        schema.as_str()
    );
    for part in Part::ALL {
        let role = schema.role(part);
        text.push_str(&format!(
            "create role {role} nologin;  -- {}\n",
            what_for(part)
        ));
    }
    text.push_str(&format!(
        "\n-- Whoever runs `redress db migrate` (here: installer). No superuser, and it may make no roles; without a superuser\n\
         -- no event trigger refuses ALTER and DROP of the ledger's tables, and `redress check` says so.\n\
         grant {} to installer;\n\
         do $$ begin execute format('grant create on database %I to installer', current_database()); end $$;\n\n\
         -- Each login gets the roles of what it does, and a worker, and whoever applies plans, those of the phases too (`redress saga grants`).\n",
        schema.role(Part::Owner)
    ));
    for (login, parts) in LOGINS {
        let roles: Vec<_> = parts.iter().map(|part| schema.role(*part)).collect();
        text.push_str(&format!("grant {} to {login};\n", roles.join(", ")));
    }
    text
}

/// Examples of logins, with the parts that each needs.
const LOGINS: &[(&str, &[Part])] = &[
    ("worker", &[Part::Engine]),
    ("recovery", &[Part::Engine, Part::Operator, Part::Auditor]),
    ("sealing", &[Part::Sealer]),
    ("review", &[Part::Auditor]),
];

fn what_for(part: Part) -> &'static str {
    match part {
        Part::Owner => "owns the schema; `redress db migrate` takes it",
        Part::Engine => "workers and embedding programs: start, work",
        Part::Operator => "people who recover runs: plan, apply, rewind, release, runbook, archive",
        Part::Sealer => "the process that seals: audit seal",
        Part::Auditor => {
            "who only reads: show, log, check, audit verify, doctor, and the checks of runbooks"
        }
    }
}

//! `saga grants`: the script that gives each phase's role what its statements need, and nothing else.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use redress::adapter::Right;
use redress::grants::{Grants, RoleGrants};

use crate::commands::look::to_value;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Prints the script of a registered saga.
///
/// # Errors
/// [`Fail`] when there is no such saga, or its statements are not sound here.
pub async fn grants(place: &Place, name: &str) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let grants = engine.grants(name).await?;
    if place.say.is_json() {
        let mut value = to_value(&grants)?;
        value["schema"] = 1.into();
        value["script"] = script(&grants).into();
        value["errors"] = serde_json::json!([]);
        place.say.value(&value)?;
    } else {
        place.say.data(script(&grants).trim_end())?;
    }
    Ok(Exit::Done)
}

/// The script, for `psql` as the owner of the tables.
fn script(grants: &Grants) -> String {
    let mut text = format!(
        "-- What the roles of saga {} version {} need, and nothing else.\n-- Run it as the owner of the tables.\n",
        grants.saga, grants.version
    );
    for role in &grants.roles {
        add_role(&mut text, role);
    }
    for phase in &grants.without_role {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "\n-- phase {phase} names no role: nothing to grant");
    }
    text
}

fn add_role(text: &mut String, grants: &RoleGrants) {
    let role = quoted(&grants.role);
    let _ = writeln!(text, "\n-- {role}: {}", grants.phases.join(", "));
    let mut objects: BTreeMap<(u8, &str, &str), Vec<&Right>> = BTreeMap::new();
    for right in &grants.rights {
        let rank = u8::from(right.kind != "schema");
        objects
            .entry((rank, &right.kind, &right.name))
            .or_default()
            .push(right);
    }
    for ((_, kind, name), rights) in objects {
        let needed: Vec<&str> = rights.iter().map(|right| right.needed.as_str()).collect();
        let _ = writeln!(
            text,
            "grant {} on {kind} {name} to {role};",
            needed.join(", ")
        );
    }
    for routine in &grants.unseen {
        let _ = writeln!(
            text,
            "-- {routine} runs with the caller's rights: what it does inside is not seen here"
        );
    }
}

/// A role's name, quoted: it may be any word.
fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    // Some plain words are reserved; a role is seldom named so, and quoting does no harm.
    if plain
        && ![
            "all",
            "public",
            "user",
            "current_user",
            "session_user",
            "none",
        ]
        .contains(&name)
    {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

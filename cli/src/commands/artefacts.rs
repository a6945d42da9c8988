//! `artefacts`: the files that backups have written, and which of them nobody needs any more.

use redress::ledger::Hash;
use redress_adapters::backup::collect::{Collected, Named, collect};
use serde_json::{Value, json};

use crate::commands::look::to_value;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to do with them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove what nobody needs: discarded, or left by an attempt that rolled back a day ago
    #[arg(long)]
    pub collect: bool,
}

/// Lists artefacts, and removes what nobody needs.
///
/// # Errors
/// [`Fail`] when the ledger or the folder cannot be read.
pub async fn artefacts(place: &Place, args: &Args) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let mut named = Named::default();
    named.complete = engine
        .committed_by(redress_adapters::backup::NAME, |phase| {
            let hashes = phase.undo.get("artefact").and_then(Value::as_array);
            let hashes = hashes.into_iter().flatten().filter_map(Value::as_str);
            let list = match phase.taken_back {
                Some(_) => &mut named.discarded,
                None => &mut named.needed,
            };
            list.extend(hashes.filter_map(|hash| hash.parse::<Hash>().ok()));
        })
        .await?;
    let folder = place.state()?.join("artefacts");
    let collected = collect(&folder, &named, args.collect)
        .map_err(|error| Fail::own(error.code(), error.to_string()))?;
    print(place, args.collect, &collected)?;
    Ok(Exit::Done)
}

fn print(place: &Place, removed: bool, collected: &Collected) -> Result<(), Fail> {
    if place.say.is_json() {
        let mut value = to_value(collected)?;
        value["schema"] = json!(1);
        value["removed"] = json!(removed);
        value["errors"] = json!([]);
        return place.say.value(&value);
    }
    let unneeded = if removed { "removed" } else { "unneeded" };
    let lists = [
        ("needed", &collected.kept),
        (unneeded, &collected.unneeded),
        ("unnamed", &collected.unnamed),
    ];
    for (word, list) in lists {
        for name in list {
            place.say.line(&format!("{word:<9} {name}"))?;
        }
    }
    place.say.notice(&format!(
        "{} needed, {} {unneeded} ({} bytes), {} named by no record at hand",
        collected.kept.len(),
        collected.unneeded.len(),
        collected.bytes,
        collected.unnamed.len()
    ));
    Ok(())
}

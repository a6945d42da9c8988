//! The last scenes: the ledger is sealed and given away, and what a stranger finds in it.

use std::fs;
use std::path::PathBuf;

use super::stage::{Stage, broken};
use crate::fail::Fail;

/// Opens, seals and exports the ledger, and verifies the folder with nothing but the trust file.
///
/// # Errors
/// RD0922 when something is not as promised.
pub async fn give_away(stage: &mut Stage) -> Result<(), Fail> {
    stage.scene(
        "The ledger is opened by its sovereign, sealed under a signed head, and given away",
    )?;
    let open = ["key", "open", "--as", "sovereign", "--non-interactive"];
    stage.run(&open, 0).await?;
    stage.run(&["audit", "seal"], 0).await?;
    stage.run(&["audit", "export", "ledger"], 0).await?;
    stage.tell("A stranger needs the folder and a trust file, no database and no network:")?;
    stage.run(&["audit", "verify", "ledger"], 0).await?;
    Ok(())
}

/// Changes one byte of a record in a copy of the folder.
///
/// # Errors
/// RD0922 when the verifier does not find it.
pub async fn tamper(stage: &mut Stage) -> Result<(), Fail> {
    stage.scene("One byte of a record is changed in a copy of that folder")?;
    let (from, to) = (stage.folder.join("ledger"), stage.folder.join("changed"));
    let mut changed = 0;
    for file in files_of(&from).map_err(|error| broken(&error.to_string()))? {
        let copy = || -> std::io::Result<bool> {
            let mut bytes = fs::read(from.join(&file))?;
            let is_entries = file.starts_with("tile/entries");
            if is_entries {
                // Somewhere in the first record, behind its length.
                bytes[40] ^= 1;
            }
            let path = to.join(&file);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            fs::write(path, bytes)?;
            Ok(is_entries)
        };
        changed += usize::from(copy().map_err(|error| broken(&error.to_string()))?);
    }
    stage.insist(changed > 0, "there are entries to change")?;
    let ran = stage.run(&["audit", "verify", "changed"], 7).await?;
    let said = format!("{}{}", ran.out, ran.err);
    stage.insist(
        said.contains("FAILED") && said.contains("position 0"),
        "the verifier names the position",
    )
}

/// Every file below a folder, relative to it.
fn files_of(folder: &std::path::Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(&below))? {
            let entry = entry?;
            let path = below.join(entry.file_name());
            match entry.file_type()?.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    Ok(files)
}

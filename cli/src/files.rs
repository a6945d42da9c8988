//! Holds that files put on this machine and that the database does not explain.

use std::fs;
use std::io;
use std::path::PathBuf;

use redress::Hold;
use redress::files::HoldFile;
use serde_json::{Value, json};

use crate::fail::Fail;
use crate::place::Place;
use crate::read::read_bounded;

/// A hold file without a hold in force.
#[derive(Clone, Debug)]
pub struct Stray {
    /// The file.
    pub path: PathBuf,
    /// What it says; nothing when it cannot be read, which holds everything.
    pub file: Option<HoldFile>,
}

impl Stray {
    /// Why it stands.
    pub fn reason(&self) -> String {
        match &self.file {
            Some(file) => file.reason.clone(),
            None => "the file cannot be read, so it holds everything".to_owned(),
        }
    }

    /// What to do about it.
    pub fn next(&self) -> String {
        match &self.file {
            Some(file) if file.id.is_nil() => {
                "redress kill, so that the database is stopped too, or redress release kill --as KEY --reason TEXT"
                    .to_owned()
            }
            Some(_) => "find out which database it belongs to; remove it only if that one has released it".to_owned(),
            None => "read it; remove it only if `redress holds` shows no hold that it could stand for".to_owned(),
        }
    }

    /// This file as JSON.
    pub fn json(&self) -> Value {
        json!({"path": self.path, "reason": self.reason(), "next": self.next()})
    }
}

impl Place {
    /// Hold files of this machine that no hold in force explains.
    ///
    /// # Errors
    /// RD0910 when the folder cannot be listed.
    pub fn strays(&self, in_force: &[Hold]) -> Result<Vec<Stray>, Fail> {
        let folder = self.state()?.join("hold");
        let cannot = |error: io::Error| {
            Fail::own(
                "RD0910",
                format!("cannot list the folder: {error}, {}", folder.display()),
            )
        };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(cannot(error)),
        };
        let mut strays = Vec::new();
        for entry in entries {
            let path = entry.map_err(cannot)?.path();
            let hidden = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            let bytes = read_bounded(&path, HOLD_FILE_BYTES_MAX).unwrap_or_default();
            let file: Option<HoldFile> = serde_json::from_slice(&bytes).ok();
            let known = |file: &HoldFile| in_force.iter().any(|hold| hold.id == file.id);
            if !file.as_ref().is_some_and(known) {
                strays.push(Stray { path, file });
            }
        }
        strays.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(strays)
    }
}

const HOLD_FILE_BYTES_MAX: usize = 64 * 1024;

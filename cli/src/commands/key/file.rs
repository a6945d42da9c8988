//! The file of an act: written once, replaced as a whole, read strictly, and shown in a few words.
//!
//! **Invariant:** a file that is there is never overwritten by a new act, and a signature in it is never lost.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redress_ledger::Envelope;
use redress_ledger::keyring::Act;
use serde_json::Value;

use crate::fail::Fail;
use crate::read::read_file;
use crate::text::short;

/// Writes a new file; one that is there stays as it is.
///
/// # Errors
/// RD0921.
pub fn create(file: &Path, envelope: &Envelope) -> Result<(), Fail> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o644).open(file);
    opened
        .and_then(|mut opened| {
            opened.write_all(text_of(envelope).as_bytes())?;
            opened.sync_all()
        })
        .map_err(|error| cannot_write(file, &error))
}

/// Puts the envelope in the place of the file, as a whole.
///
/// # Errors
/// RD0921; the file is as it was.
pub fn replace(file: &Path, envelope: &Envelope) -> Result<(), Fail> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    fs::write(&beside, text_of(envelope))
        .and_then(|()| fs::File::open(&beside)?.sync_all())
        .and_then(|()| fs::rename(&beside, file))
        .map_err(|error| cannot_write(file, &error))
}

/// Reads the file of an act; its signatures are not judged.
///
/// # Errors
/// RD0910, RD0911; [`Fail::Engine`] when it is none.
pub fn read(file: &Path) -> Result<Envelope, Fail> {
    let bytes = read_file(file, ACT_BYTES_MAX)?;
    let envelope = Envelope::from_json(&bytes).map_err(redress::Error::from)?;
    envelope.peek_act().map_err(redress::Error::from)?;
    Ok(envelope)
}

/// Reads copies of one act, with the signatures of all of them.
///
/// # Errors
/// RD0924 when they are not copies; as [`read`].
pub fn merged(files: &[PathBuf]) -> Result<Envelope, Fail> {
    let mut all: Option<Envelope> = None;
    for file in files {
        let one = read(file)?;
        let Some(envelope) = &mut all else {
            all = Some(one);
            continue;
        };
        if envelope.payload != one.payload {
            let text = format!(
                "not a copy of the same act, nothing was recorded: {}",
                file.display()
            );
            return Err(Fail::own("RD0924", text));
        }
        for signature in one.signatures {
            if envelope
                .signatures
                .iter()
                .all(|known| known.keyid != signature.keyid)
            {
                envelope.signatures.push(signature);
            }
        }
    }
    all.ok_or_else(|| Fail::own("RD0924", "no file of an act was given"))
}

fn text_of(envelope: &Envelope) -> String {
    format!("{:#}\n", envelope.to_value())
}

fn cannot_write(file: &Path, error: &io::Error) -> Fail {
    Fail::own(
        "RD0921",
        format!(
            "the act could not be written, nothing was recorded: {error}, {}",
            file.display()
        ),
    )
}

/// An act in a few words.
pub fn shown(act: &Act) -> String {
    let text = |name: &str| act.body.get(name).and_then(Value::as_str).unwrap_or("?");
    let root = act.body.get("root").map(root_text);
    let said = match (act.act.as_str(), root) {
        ("key.registered", Some(root)) => format!(
            "open the ledger with {root} and the log's key {}",
            text("log")
        ),
        ("key.registered", None) => format!("register {} as {}", text("vkey"), text("role")),
        ("key.rotated", Some(root)) => format!("replace the root by {root}"),
        ("key.rotated", None) => format!("replace {} by {}", text("old"), text("new")),
        ("key.revoked", _) => format!("revoke {}", text("key")),
        ("key.compromised", _) => {
            let since = act.body.get("since").and_then(Value::as_u64);
            let since = since.map_or("?".to_owned(), |since| since.to_string());
            format!("{} is compromised since position {since}", text("key"))
        }
        (kind, _) => format!("{kind} {}", Value::Object(act.body.clone())),
    };
    short(&said, SHOWN_CHARS_MAX)
}

fn root_text(root: &Value) -> String {
    let keys = root.get("keys").and_then(Value::as_array);
    let names: Vec<&str> = keys
        .into_iter()
        .flatten()
        .filter_map(|key| key.get("principal").and_then(Value::as_str))
        .collect();
    let threshold = root.get("threshold").and_then(Value::as_u64).unwrap_or(0);
    format!("{threshold} of {}", names.join(", "))
}

const ACT_BYTES_MAX: usize = 64 * 1024;
const SHOWN_CHARS_MAX: usize = 600;

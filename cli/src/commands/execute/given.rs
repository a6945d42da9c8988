//! What was typed for a runbook: parameters and evidence, the longer ones from files.

use std::collections::BTreeMap;
use std::path::Path;

use redress_runbooks::execute::Evidence;

use crate::fail::Fail;
use crate::read::read_file;
use crate::text::plain;

/// `NAME=VALUE`, where a value that begins with `@` is read from a file.
pub(super) fn pairs(texts: &[String], flag: &str) -> Result<BTreeMap<String, String>, Fail> {
    pairs_of(texts, flag)?
        .into_iter()
        .map(|(name, value)| {
            let value = match value.strip_prefix('@') {
                None => value,
                Some(file) => String::from_utf8(read_file(Path::new(file), PARAM_BYTES_MAX)?)
                    .map_err(|_| Fail::own("RD0917", format!("no UTF-8 text, {file}")))?,
            };
            Ok((name, value))
        })
        .collect()
}

pub(super) fn pairs_of(texts: &[String], flag: &str) -> Result<BTreeMap<String, String>, Fail> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        let usage = |why: &str| Fail::own("RD0924", format!("{flag} {}: {why}", plain(text)));
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| usage("write NAME=VALUE"))?;
        if pairs.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(usage("it is given twice"));
        }
    }
    Ok(pairs)
}

pub(super) fn evidence(value: &str) -> Result<Evidence, Fail> {
    Ok(match value.strip_prefix('@') {
        None => Evidence {
            bytes: value.as_bytes().to_vec(),
            file: None,
        },
        Some(file) => Evidence {
            bytes: read_file(Path::new(file), EVIDENCE_BYTES_MAX)?,
            file: Path::new(file)
                .file_name()
                .map(|name| name.to_string_lossy().into_owned()),
        },
    })
}

const PARAM_BYTES_MAX: usize = 64 << 10;
const EVIDENCE_BYTES_MAX: usize = 16 << 20;

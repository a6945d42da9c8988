//! Decides whether the data beside the records is what the records speak of.
//!
//! **Invariant:** each reference has its data or its erasure, and each file has its reference. The
//! content of one blob is in memory at a time.

use std::collections::{HashMap, HashSet};

use base64ct::{Base64, Encoding};
use serde_json::Value;
use uuid::Uuid;

use crate::blob::{BlobError, BlobRef};
use crate::canonical::utf16_order;
use crate::record::{Kind, Record};

use super::fault::{Stop, fault};
use super::folder::Folder;
use super::list::{blob_name, blob_of};

/// The largest file of a blob.
pub const BLOB_FILE_BYTES_MAX: usize = 128 << 20;

/// The blobs that records named so far.
#[derive(Default)]
pub(super) struct Blobs {
    /// Where a blob without a file was named first; `None` if its file is there.
    named: HashMap<Uuid, Option<u64>>,
    erased: HashSet<Uuid>,
}

impl Blobs {
    /// Looks at each direct member of a body that refers to a blob, and at what was erased.
    pub(super) fn push(
        &mut self,
        folder: &Folder,
        record: &Record,
        position: u64,
    ) -> Result<(), Stop> {
        let Some(members) = record.body.as_object() else {
            return Ok(());
        };
        let refers = |value: &Value| value.get("$blob").is_some();
        let mut found: Vec<_> = members.iter().filter(|(_, value)| refers(value)).collect();
        found.sort_unstable_by(|a, b| utf16_order(a.0, b.0));
        for (_, value) in found {
            if let Some(blob) = BlobRef::from_value(value)? {
                self.name(folder, &blob, position)?;
            }
        }
        if record.kind == Kind::BlobErased {
            self.erase(folder, members.get("blob"))?;
        }
        Ok(())
    }

    fn name(&mut self, folder: &Folder, blob: &BlobRef, position: u64) -> Result<(), Stop> {
        let path = blob_name(blob.id);
        if folder.find(&path).is_none() {
            self.named.entry(blob.id).or_insert(Some(position));
            return Ok(());
        }
        let bytes = folder.read_same(&path, BLOB_FILE_BYTES_MAX);
        let bytes = bytes.map_err(|stop| stop.file(&path))?;
        let (salt, content) = read(&bytes).ok_or(BlobError::Mismatch(blob.id))?;
        blob.check(&salt, &content)?;
        self.named.insert(blob.id, None);
        Ok(())
    }

    fn erase(&mut self, folder: &Folder, blob: Option<&Value>) -> Result<(), Stop> {
        let text = blob.and_then(Value::as_str).unwrap_or_default();
        let Some(blob) = blob_of(&format!("blobs/{text}")) else {
            return Ok(());
        };
        self.erased.insert(blob);
        if folder.find(&blob_name(blob)).is_some() {
            let words = format!("the blob was erased and is still there: {blob}");
            return Err(fault("RD0720", words));
        }
        Ok(())
    }

    /// Checks that nothing is missing and nothing too much.
    pub(super) fn finish(&self, folder: &Folder) -> Result<(), Stop> {
        let named = self.named.iter();
        let missing = named.filter_map(|(blob, at)| Some(((*at)?, *blob)));
        let missing = missing.filter(|(_, blob)| !self.erased.contains(blob));
        if let Some((position, blob)) = missing.min() {
            let words = format!("the blob is missing and was not erased: {blob}");
            return Err(fault("RD0720", words).at(position));
        }
        for one in folder.listed() {
            let Some(blob) = blob_of(&one.path) else {
                continue;
            };
            if !self.named.contains_key(&blob) {
                return Err(fault("RD0720", "no record names this blob").file(&one.path));
            }
        }
        Ok(())
    }
}

/// Salt and content of a blob's file.
///
/// Base64 needs no escape, so the canonical file has one frame around the two texts, and the content
/// needs no tree of values beside it.
fn read(bytes: &[u8]) -> Option<([u8; 32], Vec<u8>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let inner = text.strip_prefix("{\"content\":\"")?.strip_suffix("\"}")?;
    let (content, salt) = inner.split_once("\",\"salt\":\"")?;
    let salt = Base64::decode_vec(salt).ok()?.try_into().ok()?;
    Some((salt, Base64::decode_vec(content).ok()?))
}

//! What can stand under a path: a file or a link, as it is written down in manifests and journals.

use redress_ledger::Hash;
use serde::{Deserialize, Serialize};

use super::path::{escaped, unescaped};

/// A file, without its content.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FileNode {
    /// Permission bits.
    pub mode: u32,
    /// Length in bytes.
    pub size: u64,
    /// Hash of the content.
    pub sha256: Hash,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What stands under a path.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// A regular file.
    File(FileNode),
    /// A symbolic link, kept as text (escaped as paths are) and never followed.
    Link(String),
    /// A folder, with its permission bits.
    Folder(u32),
}

impl Node {
    /// A link with this target.
    pub fn link(target: &[u8]) -> Self {
        Self::Link(escaped(target))
    }

    /// Whether both are the same to whoever reads them: content and permission bits, or target.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(two)) => one.sha256 == two.sha256 && one.mode == two.mode,
            (Self::Link(one), Self::Link(two)) => one == two,
            (Self::Folder(_), Self::Folder(_)) => true,
            (Self::File(_) | Self::Link(_) | Self::Folder(_), _) => false,
        }
    }

    /// The target of a link.
    pub(super) fn target(&self) -> Option<Vec<u8>> {
        match self {
            Self::Link(target) => unescaped(target),
            Self::File(_) | Self::Folder(_) => None,
        }
    }

    /// The file, when it is one.
    pub fn file(&self) -> Option<&FileNode> {
        match self {
            Self::File(file) => Some(file),
            Self::Link(_) | Self::Folder(_) => None,
        }
    }
}

/// Whether the same stands, or nothing in both.
pub(super) fn same(one: Option<&Node>, two: Option<&Node>) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(one), Some(two)) => one.is_same(two),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// For a message.
pub(super) fn said(node: Option<&Node>) -> String {
    match node {
        None => "absent".to_owned(),
        Some(Node::File(file)) => format!("sha256:{} mode {:04o}", file.sha256, file.mode),
        Some(Node::Link(target)) => format!("a link to {target}"),
        Some(Node::Folder(_)) => "a folder".to_owned(),
    }
}

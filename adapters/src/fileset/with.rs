//! What a phase with `adapter: fileset` gives under `with`, and what is wrong with it.
//!
//! ```yaml
//! with:
//!   root: projects                  # a folder that the worker's configuration lists
//!   directory_from: /input/project  # below it; or `directory: web/app`, or `directory: .` for the folder itself
//!   expect:                         # must stand before anything is done
//!     - {path: app.lock, sha256_from: /input/lock_before}     # null: nothing may stand there
//!   write:                          # one source each: content, content_from, artefact, artefact_from
//!     - {path: app.toml, content_from: /input/manifest}
//!     - {path: vendor/a.tgz, artefact_from: /input/tarball, sha256_from: /input/tarball_sha256, mode: "0644"}
//!   write_from: /input/files        # more of them: [{path, content | artefact, sha256, mode}]
//!   delete: [vendor/old.tgz]
//!   delete_if_there: [notes.txt]
//!   exclude: [node_modules]         # left out of the snapshot, and not to be written
//! ```
//!
//! **Invariant:** a name that ends in `_from` holds a pointer into the context, every other one holds the value itself.

use std::collections::BTreeSet;

use redress::adapter::Finding;
use redress::name::Name;
use redress::pointer::Pointer;
use redress_ledger::Hash;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::path::{PathError, RelPath};
use crate::finding::{DUPLICATE, POINTER_ROOT, SHAPE, finding, read_with};

/// What a phase gives under `with`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct With {
    /// A root that the worker's configuration lists.
    pub root: Name,
    /// The directory below it; `.` for the root itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// Where the directory's path stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory_from: Option<Pointer>,
    /// What must stand before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Expect>,
    /// The files to write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<Write>,
    /// Where more of them stand, as a list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_from: Option<Pointer>,
    /// The files to delete; each must be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<String>,
    /// The files to delete that may be absent already.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete_if_there: Vec<String>,
    /// What snapshots leave out, with all below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
}

/// What a file must be before anything is done.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Where.
    pub path: String,
    /// The hash of its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hash>,
    /// Where the hash stands; null there means that nothing may stand under the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_from: Option<Pointer>,
    /// Whether nothing may stand there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent: bool,
}

/// One file to write.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// Where.
    pub path: String,
    /// Its content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Where its content stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_from: Option<Pointer>,
    /// The file of the configured artefacts that it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artefact: Option<String>,
    /// Where the artefact's path stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artefact_from: Option<Pointer>,
    /// The hash that the content must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Hash>,
    /// Where that hash stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_from: Option<Pointer>,
    /// Permission bits in octal; else those of the file that is replaced, else 0644.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

impl With {
    /// Reads what a phase gives.
    pub(super) fn read(with: &Value) -> Result<Self, Finding> {
        read_with(with)
    }

    /// What is wrong, as far as it can be seen without a run.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut wrong = |path: String, message: String| found.push(finding(path, SHAPE, message));
        match (&self.directory, &self.directory_from) {
            (Some(path), None) => {
                if let Err(error) = directory(path) {
                    wrong("/directory".to_owned(), error.to_string());
                }
            }
            (None, Some(_)) => {}
            _ => wrong(
                "/directory".to_owned(),
                "give one of `directory` and `directory_from`".to_owned(),
            ),
        }
        for (at, expect) in self.expect.iter().enumerate() {
            let ways = [
                expect.sha256.is_some(),
                expect.sha256_from.is_some(),
                expect.absent,
            ];
            if ways.iter().filter(|way| **way).count() != 1 {
                let message = "give one of `sha256`, `sha256_from` and `absent: true`";
                wrong(format!("/expect/{at}"), message.to_owned());
            }
        }
        for (at, write) in self.write.iter().enumerate() {
            if write.sources() != 1 {
                let message =
                    "give one of `content`, `content_from`, `artefact` and `artefact_from`";
                wrong(format!("/write/{at}"), message.to_owned());
            }
            if write.sha256.is_some() && write.sha256_from.is_some() {
                let message = "give one of `sha256` and `sha256_from`";
                wrong(format!("/write/{at}/sha256"), message.to_owned());
            }
            if let Some(mode) = &write.mode
                && let Err(why) = read_mode(mode)
            {
                wrong(format!("/write/{at}/mode"), why);
            }
            if let Some(artefact) = &write.artefact
                && let Err(error) = RelPath::named(artefact)
            {
                wrong(format!("/write/{at}/artefact"), error.to_string());
            }
        }
        for (path, text) in self.paths() {
            if let Err(error) = RelPath::named(text) {
                wrong(path, error.to_string());
            }
        }
        let lists = [&self.delete, &self.delete_if_there];
        let nothing = self.write.is_empty() && self.write_from.is_none();
        if nothing && lists.iter().all(|list| list.is_empty()) {
            wrong(
                "/write".to_owned(),
                "nothing is written and nothing is deleted".to_owned(),
            );
        }
        found.extend(self.doubled());
        found.extend(self.pointers_out());
        found
    }

    /// Every path that stands in it, with where it stands.
    fn paths(&self) -> Vec<(String, &str)> {
        let mut all = Vec::new();
        let expect = self.expect.iter().map(|one| one.path.as_str());
        let write = self.write.iter().map(|one| one.path.as_str());
        all.extend(
            expect
                .enumerate()
                .map(|(at, path)| (format!("/expect/{at}/path"), path)),
        );
        all.extend(
            write
                .enumerate()
                .map(|(at, path)| (format!("/write/{at}/path"), path)),
        );
        for (name, list) in [
            ("delete", &self.delete),
            ("delete_if_there", &self.delete_if_there),
            ("exclude", &self.exclude),
        ] {
            let paths = list.iter().enumerate();
            all.extend(paths.map(|(at, path)| (format!("/{name}/{at}"), path.as_str())));
        }
        all
    }

    fn doubled(&self) -> Vec<Finding> {
        let mut seen = BTreeSet::new();
        let changed = self.paths().into_iter();
        let changed =
            changed.filter(|(at, _)| at.starts_with("/write") || at.starts_with("/delete"));
        let twice = changed.filter(|(_, path)| !seen.insert(*path));
        let twice: Vec<_> = twice.collect();
        let told = |(at, path): (String, &str)| {
            finding(at, DUPLICATE, format!("the path stands twice: {path}"))
        };
        twice.into_iter().map(told).collect()
    }

    fn pointers_out(&self) -> Vec<Finding> {
        let mut all: Vec<(String, &Pointer)> = Vec::new();
        all.extend(
            self.directory_from
                .iter()
                .map(|p| ("/directory_from".to_owned(), p)),
        );
        all.extend(
            self.write_from
                .iter()
                .map(|p| ("/write_from".to_owned(), p)),
        );
        for (at, expect) in self.expect.iter().enumerate() {
            let pointers = expect.sha256_from.iter();
            all.extend(pointers.map(|p| (format!("/expect/{at}/sha256_from"), p)));
        }
        for (at, write) in self.write.iter().enumerate() {
            let pointers = [
                ("content_from", &write.content_from),
                ("artefact_from", &write.artefact_from),
                ("sha256_from", &write.sha256_from),
            ];
            for (name, pointer) in pointers {
                all.extend(pointer.iter().map(|p| (format!("/write/{at}/{name}"), p)));
            }
        }
        let roots = ["run", "input", "phases", "approvals"];
        let out = all.into_iter().filter(|(_, pointer)| {
            let text = pointer.to_string();
            let first = text.split('/').nth(1).unwrap_or_default().to_owned();
            !roots.contains(&first.as_str())
        });
        let told = |(at, pointer): (String, &Pointer)| {
            let message =
                format!("a pointer begins with /run, /input, /phases or /approvals: {pointer}");
            finding(at, POINTER_ROOT, message)
        };
        out.map(told).collect()
    }
}

impl Write {
    fn sources(&self) -> usize {
        let given = [
            self.content.is_some(),
            self.content_from.is_some(),
            self.artefact.is_some(),
            self.artefact_from.is_some(),
        ];
        given.iter().filter(|given| **given).count()
    }
}

/// Reads a directory's path; `.` is the root itself.
pub(super) fn directory(text: &str) -> Result<RelPath, PathError> {
    if text == "." {
        return Ok(RelPath::top());
    }
    RelPath::named(text)
}

/// Reads permission bits in octal.
pub(super) fn read_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| format!("not permission bits in octal, as \"0644\": {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_wrong_is_found_with_its_place_and_code() {
        let check = |with: Value, at: &str, code: &str| {
            let found = match With::read(&with) {
                Ok(with) => with.findings(),
                Err(finding) => vec![finding],
            };
            let found: Vec<_> = found
                .iter()
                .map(|one| (one.path.as_str(), one.code))
                .collect();
            assert_eq!(found, [(at, code)], "{with}");
        };
        let with = |field: &str, value: Value| {
            let mut with =
                json!({"root": "r", "directory": "d", "write": [{"path": "a", "content": ""}]});
            with[field] = value;
            with
        };
        assert_eq!(
            With::read(&with("delete", json!(["b"])))
                .expect("read")
                .findings(),
            []
        );
        check(with("root", json!("../r")), "/root", "RD0110");
        check(with("directory", json!("../d")), "/directory", "RD0110");
        check(
            with("directory_from", json!("/input/d")),
            "/directory",
            "RD0110",
        );
        check(with("unknown", json!(1)), "/unknown", "RD0110");
        check(with("write", json!([])), "/write", "RD0110");
        check(with("write", json!([{"path": "a"}])), "/write/0", "RD0110");
        check(
            with("write", json!([{"path": "/a", "content": ""}])),
            "/write/0/path",
            "RD0110",
        );
        check(
            with("write", json!([{"path": "a\nb", "content": ""}])),
            "/write/0/path",
            "RD0110",
        );
        check(
            with("write", json!([{"path": "a", "artefact": "../x"}])),
            "/write/0/artefact",
            "RD0110",
        );
        check(
            with(
                "write",
                json!([{"path": "a", "content": "", "mode": "4755"}]),
            ),
            "/write/0/mode",
            "RD0110",
        );
        check(
            with("write", json!([{"path": "a", "content_from": "/plan/x"}])),
            "/write/0/content_from",
            "RD0123",
        );
        check(with("delete", json!(["a"])), "/delete/0", "RD0112");
        check(
            with("expect", json!([{"path": "a"}])),
            "/expect/0",
            "RD0110",
        );
        check(with("exclude", json!(["a/../b"])), "/exclude/0", "RD0110");
    }
}

//! What the store does, on real folders.

mod inside;
mod keeping;
mod switching;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use redress_ledger::Hash;
use rustix::io::Errno;
use tempfile::TempDir;
use uuid::Uuid;

use super::fault::armed;
use super::journal::{begin, unfinished};
use super::switch::recover;
use super::*;

/// A root with the directory `app` in it, and a store beside it.
struct Ground {
    temp: TempDir,
    store: Store,
}

impl Ground {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(temp.path().join("root/app")).expect("made");
        let store = Store::open(temp.path().join("store")).expect("a store");
        let store = store.waiting(Duration::from_millis(50));
        Self { temp, store }
    }

    fn app(&self) -> PathBuf {
        self.temp.path().join("root/app")
    }

    fn place(&self) -> Place {
        Place {
            root: self.temp.path().join("root"),
            directory: path("app"),
        }
    }

    fn put(&self, name: &str, content: &str) {
        let path = self.app().join(name);
        fs::create_dir_all(path.parent().expect("below")).expect("made");
        fs::write(path, content).expect("written");
    }

    fn order(&self, key: &str, edits: Vec<Edit>) -> Order {
        Order {
            key: key.to_owned(),
            run: Some(Uuid::nil()),
            place: self.place(),
            exclude: Vec::new(),
            expect: Vec::new(),
            edits,
            deadline: None,
        }
    }

    /// Manifest, lock and an artefact as they are before.
    fn usual(&self) {
        self.put("manifest", "a = 1\n");
        self.put("lock", "a 1 x\n");
        self.put("vendor/a-1.tgz", "old artefact");
    }

    /// An update of all of them.
    fn update(&self, key: &str) -> Order {
        let edits = vec![
            write("manifest", "a = 2\n"),
            write("lock", "a 2 y\n"),
            write("vendor/a-2.tgz", "new artefact"),
            write("deep/er/note", "new folder"),
            delete("vendor/a-1.tgz"),
        ];
        self.order(key, edits)
    }

    fn is_updated(&self) -> bool {
        let tree = tree(&self.app());
        tree.len() == 4
            && tree.get("manifest").is_some_and(|text| text == "a = 2\n")
            && tree.get("lock").is_some_and(|text| text == "a 2 y\n")
    }
}

fn path(text: &str) -> RelPath {
    RelPath::named(text).expect("a path")
}

fn write(at: &str, content: &str) -> Edit {
    Edit {
        path: path(at),
        content: Content::Bytes(content.as_bytes().to_owned()),
        mode: None,
        sha256: None,
        may_lack: false,
    }
}

fn delete(at: &str) -> Edit {
    Edit {
        content: Content::Nothing,
        ..write(at, "")
    }
}

fn owner(key: &str) -> Owner {
    Owner {
        run: None,
        key: key.to_owned(),
    }
}

/// Every file and link below, temporary ones too.
fn tree(folder: &Path) -> BTreeMap<String, String> {
    fn walk(at: &Path, below: &Path, tree: &mut BTreeMap<String, String>) {
        let Ok(entries) = fs::read_dir(at) else {
            return;
        };
        for entry in entries {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(below).expect("below").to_string_lossy();
            let meta = fs::symlink_metadata(&path).expect("there");
            if meta.is_dir() {
                walk(&path, below, tree);
            } else if meta.is_symlink() {
                let target = fs::read_link(&path).expect("a link");
                tree.insert(name.into_owned(), format!("-> {}", target.display()));
            } else {
                let text = fs::read(&path).expect("read");
                tree.insert(name.into_owned(), String::from_utf8_lossy(&text).into());
            }
        }
    }
    let mut all = BTreeMap::new();
    walk(folder, folder, &mut all);
    all
}

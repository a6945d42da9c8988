//! Projects on disk for tests of `fileset`: a root with directories in it, each with a manifest, a lock and an artefact.
//!
//! ```text
//! GROUND/projects/NAME/{app.toml, app.lock, vendor/app.tgz}      GROUND/artefacts/      GROUND/store/
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use redress::external::ExternalAdapter;
use redress_adapters::fileset::{
    Config, Content, Edit, FilesetAdapter, Order, Place, RelPath, Store,
};

/// The name of the root.
pub const ROOT: &str = "projects";

/// What a worker on this ground allows.
pub fn config(ground: &Path) -> Config {
    let mut config = Config::new(ground.join("store"))
        .root(ROOT, ground.join(ROOT))
        .artefacts(ground.join("artefacts"));
    config.lock_wait_seconds = 5;
    config
}

/// The adapter on this ground; its folders are made.
pub fn adapter(ground: &Path) -> Arc<dyn ExternalAdapter> {
    for name in [ROOT, "artefacts"] {
        fs::create_dir_all(ground.join(name)).expect("a folder");
    }
    Arc::new(FilesetAdapter::new(config(ground)))
}

/// Lays a project down: manifest and lock say the same version, the artefact is of it.
pub fn lay(ground: &Path, project: &str, version: &str) {
    let folder = ground.join(ROOT).join(project);
    fs::create_dir_all(folder.join("vendor")).expect("a folder");
    for (name, text) in files(version) {
        fs::write(folder.join(name), text).expect("a file");
    }
}

/// A project of one version, by path.
pub fn files(version: &str) -> BTreeMap<String, String> {
    [
        ("app.toml", format!("app = \"{version}\"\n")),
        ("app.lock", format!("app {version} locked\n")),
        ("vendor/app.tgz", format!("artefact {version}")),
    ]
    .map(|(name, text)| (name.to_owned(), text))
    .into()
}

/// Every file below a project's folder, temporary ones too.
pub fn tree(ground: &Path, project: &str) -> BTreeMap<String, String> {
    fn walk(at: &Path, below: &Path, tree: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(below).expect("below").to_string_lossy();
            if path.is_dir() {
                walk(&path, below, tree);
            } else {
                let text = fs::read(&path).expect("read");
                tree.insert(name.into_owned(), String::from_utf8_lossy(&text).into());
            }
        }
    }
    let folder = ground.join(ROOT).join(project);
    let mut all = BTreeMap::new();
    walk(&folder, &folder, &mut all);
    all
}

/// Where a project is.
pub fn place(ground: &Path, project: &str) -> Place {
    Place {
        root: ground.join(ROOT),
        directory: RelPath::named(project).expect("a path"),
    }
}

/// Brings a project to a version without any database; says `done`, or the error's code and text.
pub fn update(ground: &Path, project: &str, key: &str, version: &str) -> String {
    let edits = files(version).into_iter().map(|(path, text)| Edit {
        path: RelPath::named(&path).expect("a path"),
        content: Content::Bytes(text.into_bytes()),
        mode: None,
        sha256: None,
        may_lack: false,
    });
    let order = Order {
        key: key.to_owned(),
        run: None,
        place: place(ground, project),
        exclude: Vec::new(),
        expect: Vec::new(),
        edits: edits.collect(),
        deadline: None,
    };
    let updated = Store::open(ground.join("store")).and_then(|store| store.update(order));
    match updated {
        Ok(_) => "done".to_owned(),
        Err(error) => format!("{} {error}", error.code()),
    }
}

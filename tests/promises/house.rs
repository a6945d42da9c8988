//! The house keeps its order: one-way imports, every statement prepares, no file grows without end.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use redress_tests::Lab;

/// The crates in the order in which they may import: each only what stands above it.
const ORDER: [(&str, &str); 8] = [
    ("sql", "redress_sql"),
    ("ledger", "redress_ledger"),
    ("engine", "redress"),
    ("adapters", "redress_adapters"),
    ("runbooks", "redress_runbooks"),
    ("examples", "redress_examples"),
    ("cli", "redress_cli"),
    ("tests", "redress_tests"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
        .to_owned()
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Words of a source line that name one of our crates.
fn named_crates(text: &str) -> BTreeSet<String> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')))
        .filter_map(|word| word.split_once("::").map(|(krate, _)| krate.to_owned()))
        .collect()
}

#[test]
fn a_crate_imports_only_what_stands_above_it() {
    for (index, (folder, name)) in ORDER.iter().enumerate() {
        let below: Vec<&str> = ORDER[index + 1..].iter().map(|(_, krate)| *krate).collect();
        let mut files = Vec::new();
        rust_files(&root().join(folder).join("src"), &mut files);
        assert!(!files.is_empty(), "{folder} has no sources");
        for file in files {
            let named = named_crates(&fs::read_to_string(&file).expect("a readable file"));
            let wrong: Vec<&&str> = below
                .iter()
                .filter(|krate| named.contains(**krate))
                .collect();
            assert!(
                wrong.is_empty(),
                "{} of {name} imports {wrong:?}",
                file.display()
            );
        }
    }
}

#[test]
fn the_auditors_code_knows_neither_engine_nor_database() {
    let manifest = fs::read_to_string(root().join("ledger/Cargo.toml")).expect("a manifest");
    let dependencies = manifest
        .split("[dev-dependencies]")
        .next()
        .unwrap_or_default();
    for unwanted in ["redress.", "redress ", "redress-sql", "postgres", "tokio"] {
        assert!(
            !dependencies.contains(&format!("\n{unwanted}")),
            "ledger depends on {unwanted}"
        );
    }
}

/// The pure modules of the engine: what they may not name.
#[test]
fn definition_and_plan_are_pure() {
    let engine = root().join("engine/src");
    let mut files = vec![engine.join("name.rs"), engine.join("pointer.rs")];
    rust_files(&engine.join("definition"), &mut files);
    rust_files(&engine.join("plan"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable file");
        for unwanted in [
            "tokio",
            "crate::db",
            "crate::engine",
            "crate::tx",
            "std::fs",
            "SystemTime",
        ] {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            assert!(
                code.clone().all(|line| !line.contains(unwanted)),
                "{} names {unwanted}",
                file.display()
            );
        }
    }
}

/// Every statement prepares against the real schema, with as many parameters as its text names.
#[tokio::test(flavor = "multi_thread")]
async fn every_statement_prepares() {
    let lab = Lab::new().await;
    let session = redress::db::connect(&lab.url().parse().expect("a URL"))
        .await
        .expect("connected");
    // What a rehearsal asks is asked of tools that it makes itself.
    session
        .batch_execute(
            redress_sql::REHEARSAL_TOOLS
                .replace("on commit drop", "")
                .as_str(),
        )
        .await
        .expect("made");
    for statement in redress_sql::STATEMENTS {
        let prepared = session.prepare(statement.text).await;
        let prepared = prepared.unwrap_or_else(|error| panic!("{}: {error:?}", statement.name));
        let named = (1..=32)
            .filter(|n| names_parameter(statement.text, *n))
            .count();
        assert_eq!(prepared.params().len(), named, "{}", statement.name);
    }
}

fn names_parameter(text: &str, number: usize) -> bool {
    let name = format!("${number}");
    text.match_indices(&name)
        .any(|(at, _)| !text[at + name.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn no_stub_and_no_placeholder_is_shipped() {
    for (folder, _) in ORDER {
        let mut files = Vec::new();
        rust_files(&root().join(folder), &mut files);
        for file in files
            .iter()
            .filter(|file| !file.ends_with("promises/house.rs"))
        {
            let text = fs::read_to_string(file).expect("a readable file");
            for word in ["todo!(", "unimplemented!(", "FIXME", "#[allow("] {
                assert!(!text.contains(word), "{} contains {word}", file.display());
            }
        }
    }
}

//! Prints the table of mutations: every bundle of the corpus, what was done to it, what must be said of it, and what
//! the two verifiers say.
//!
//! `cargo run -p redress-ledger --example mutations [WORD ...]`: all cases, or those whose name has one of the words.
//! Exit status 0: all agree; 1: something does not, or there is no such case; 2: there is no Python to make the corpus.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../tests/common/cases.rs"]
mod cases;
#[path = "../tests/common/mod.rs"]
mod common;

use cases::Expected;
use serde_json::Value;

/// One line of the table.
struct Row {
    columns: [String; 5],
    agree: bool,
    /// What both said in full, where they do not agree.
    difference: String,
}

const TITLES: [&str; 5] = ["case", "what was done", "expected", "rust", "python"];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let Some(python) = common::interpreter(&built()) else {
        return ExitCode::from(2);
    };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let place = folder.path().join("cases");
    cases::make(&python, &place);
    let theirs = cases::theirs(&python, &place, &folder.path().join("reports.json"));
    let rows: Vec<Row> = theirs
        .iter()
        .filter(|(name, _)| words.is_empty() || words.iter().any(|word| name.contains(word)))
        .map(|(name, their)| row(&place.join(name), name, their))
        .collect();
    print(&rows);
    let agree = rows.iter().filter(|row| row.agree).count();
    let wrong = rows.len() - agree;
    println!("\n{} cases, {agree} agree, {wrong} do not", rows.len());
    if wrong == 0 && agree > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What is said of one case; it agrees when the rest of the two reports does too.
fn row(case: &Path, name: &str, their: &Value) -> Row {
    let expected = Expected::read(case);
    let (our, message) = cases::ours(case, &expected);
    let agree = cases::outcome(&our) == expected.said()
        && cases::without_message(&our) == cases::without_message(their);
    Row {
        columns: [
            name.to_owned(),
            expected.done(name),
            short(&expected.said()),
            short(&cases::outcome(&our)),
            short(&cases::outcome(their)),
        ],
        agree,
        difference: format!("    rust:   {our}\n    python: {their}\n    {message}"),
    }
}

/// An outcome on one line: the verdict, and the code and the position of the first failure.
fn short(outcome: &Value) -> String {
    let Some(verdict) = outcome["verdict"].as_str() else {
        return "cannot be asked".to_owned();
    };
    let code = outcome["code"].as_str().map(|code| format!(" {code}"));
    let position = outcome["position"].as_u64().map(|at| format!(" at {at}"));
    format!(
        "{verdict}{}{}",
        code.unwrap_or_default(),
        position.unwrap_or_default()
    )
}

fn print(rows: &[Row]) {
    let titles = TITLES.map(str::to_owned);
    let widths: Vec<usize> = (0..TITLES.len())
        .map(|at| {
            let all = rows.iter().map(|row| &row.columns).chain([&titles]);
            all.map(|columns| columns[at].chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let line = |columns: &[String; 5], last: &str| {
        for (column, width) in columns.iter().zip(&widths) {
            print!("{column:width$}  ");
        }
        println!("{last}");
    };
    line(&titles, "agree");
    for row in rows {
        line(&row.columns, if row.agree { "yes" } else { "NO" });
        if !row.agree {
            println!("{}", row.difference);
        }
    }
}

/// Where the tests keep what they make, beside this program's own folder.
fn built() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().nth(3).map(Path::to_path_buf);
    target.unwrap_or_else(std::env::temp_dir).join("tmp")
}

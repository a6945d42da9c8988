//! The pages that people follow: each is followed here word by word, in an empty folder, with a private server.
//!
//! A block that cannot be tried says so to its reader ("Not tried by the tests"), and all of those are listed here.

mod page;
mod shell;

use std::fs;

use shell::{Reader, root};

/// Follows a page of the repository in an empty folder; what it takes out itself must be what is known here.
#[track_caller]
fn follow(name: &str, untried: &[&str]) {
    let page = fs::read_to_string(root().join(name)).expect("a page");
    let followed = Reader::new().follow(name, &page);
    assert!(followed.typed > 0, "{name} asks for nothing");
    let known = followed.untried.len() == untried.len();
    let same = followed.untried.iter().zip(untried);
    let same = same.into_iter().all(|(left, known)| left.ends_with(known));
    assert!(known && same, "{name} leaves out {:#?}", followed.untried);
}

#[test]
fn getting_started_works_word_by_word() {
    follow(
        "docs/getting-started.md",
        &["git clone https://github.com/redress-rs/redress"],
    );
}

//! The pages that people follow: each is followed here word by word, in an empty folder, with a private server.
//!
//! A block that cannot be tried says so to its reader ("Not tried by the tests"), and all of those are listed here.

mod page;
mod shell;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use shell::{Followed, Reader, root};

use crate::kit::{Kit, has_python};

/// Follows a page of the repository in an empty folder; what it takes out itself must be what is known here.
#[track_caller]
fn follow(name: &str, untried: &[&str]) {
    let page = fs::read_to_string(root().join(name)).expect("a page");
    judge(name, &Reader::new().follow(name, &page), untried);
}

#[track_caller]
fn judge(name: &str, followed: &Followed, untried: &[&str]) {
    assert!(followed.typed > 0, "{name} asks for nothing");
    let left = &followed.untried;
    let same = left.len() == untried.len()
        && (left.iter().zip(untried)).all(|(left, known)| left.contains(known));
    assert!(same, "{name} leaves out {left:#?}");
}

/// Follows an example's page in a copy of the examples. The folder in `/tmp` that some of them make is one of the test's
/// own, in the page and in the files: two tests on a machine would share it otherwise.
#[track_caller]
fn follow_example(example: &str, untried: &[&str]) {
    let reader = Reader::new();
    let (theirs, ours) = (format!("/tmp/{example}-try"), reader.work().join("try"));
    let ours = ours.display().to_string();
    let from = root().join("examples").join(example);
    copy(
        &from,
        &reader.work().join("examples").join(example),
        &theirs,
        &ours,
    );
    let name = format!("examples/{example}/README.md");
    let page = fs::read_to_string(from.join("README.md")).expect("a page");
    let followed = reader.follow(&name, &page.replace(&theirs, &ours));
    judge(&name, &followed, untried);
}

fn copy(from: &Path, to: &Path, theirs: &str, ours: &str) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to, theirs, ours);
            continue;
        }
        fs::copy(&from, &to).expect("a file");
        let small = ["yaml", "toml", "py"];
        let end = from.extension().and_then(|end| end.to_str());
        if end.is_none_or(|end| small.contains(&end))
            && let Ok(text) = fs::read_to_string(&from)
        {
            fs::write(&to, text.replace(theirs, ours)).expect("a file");
        }
    }
}

/// Pages for people, and the folder of each.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "packaging/README.md",
    ]
    .map(PathBuf::from)
    .to_vec();
    for folder in ["docs", "examples"] {
        for entry in fs::read_dir(root().join(folder))
            .expect("a folder")
            .flatten()
        {
            let path = Path::new(folder).join(entry.file_name());
            match path.extension() {
                Some(end) if end == "md" => pages.push(path),
                None => pages.push(path.join("README.md")),
                Some(_) => {}
            }
        }
    }
    pages.retain(|page| root().join(page).is_file());
    pages
}

/// A page that asks for commands is followed by a test of this file, or says of each that it is not.
#[test]
fn every_page_that_asks_for_commands_is_followed() {
    let tests = fs::read_to_string(root().join("tests/tests/cli/docs.rs")).expect("this file");
    for name in pages() {
        let page = fs::read_to_string(root().join(&name)).expect("a page");
        let asks = page::steps(&page)
            .iter()
            .any(|(_, step)| matches!(step, page::Step::Type { .. }));
        let name = name.display().to_string();
        let example = name.strip_prefix("examples/");
        let example = example.and_then(|rest| rest.strip_suffix("/README.md"));
        let called = match example {
            Some(example) => format!("follow_example(\"{example}\""),
            None => format!("\"{name}\""),
        };
        let followed = tests
            .split("#[test]")
            .skip(5)
            .any(|one| one.contains(&called));
        assert!(!asks || followed, "{name} is followed by no test");
    }
}

/// What a page shows without asking for it can be typed too: the command exists, and has the flags.
#[test]
fn every_command_that_a_page_shows_exists() {
    let kit = Kit::bare();
    let mut helps: BTreeMap<Vec<String>, Option<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for name in pages() {
        let page = fs::read_to_string(root().join(&name)).expect("a page");
        for (line, text) in page::shown(&page) {
            seen += 1;
            let words: Vec<&str> = text.split_whitespace().skip(1).collect();
            let is_word = |word: &&&str| word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            let path: Vec<String> = words
                .iter()
                .take_while(|word| !word.starts_with('-'))
                .take_while(is_word)
                .map(|word| (*word).to_owned())
                .collect();
            let help = helps.entry(path.clone()).or_insert_with(|| {
                let words: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
                let ran = kit.run(&words);
                (ran.exit == 0).then_some(ran.out)
            });
            let place = format!("{}:{line}: {text}", name.display());
            let Some(help) = help else {
                wrong.push(place);
                continue;
            };
            for word in words {
                let word = word.trim_start_matches(['[', '(']);
                let flag = word
                    .split(['=', ']', ',', ')', '|'])
                    .next()
                    .unwrap_or_default();
                if flag.starts_with("--") && flag.len() > 2 && !help.contains(flag) {
                    wrong.push(format!("{place}: no {flag}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen > 100, "{seen}");
}

/// A link leads to a file of the repository, and its fragment to a heading there.
#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut wrong = Vec::new();
    for name in pages() {
        let text = fs::read_to_string(root().join(&name)).expect("a page");
        let folder = name.parent().expect("a folder");
        for (at, line) in text.lines().enumerate() {
            for link in line.split("](").skip(1) {
                let link = link.split(')').next().unwrap_or_default();
                if link.starts_with("http") || link.contains(' ') || link.contains('`') {
                    continue;
                }
                let (file, heading) = link.split_once('#').unwrap_or((link, ""));
                let target = match file {
                    "" => root().join(&name),
                    file => root().join(folder).join(file),
                };
                let there = target.exists()
                    && (heading.is_empty() || anchors(&target).iter().any(|one| one == heading));
                if !there {
                    wrong.push(format!("{}:{}: {link}", name.display(), at + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The fragments of a page's headings.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap_or_default();
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn getting_started_works_word_by_word() {
    follow(
        "docs/getting-started.md",
        &["git clone https://github.com/redress-rs/redress"],
    );
}

#[test]
fn the_cutovers_page_works_word_by_word() {
    follow_example("cutover", &["jq -n"]);
}

#[test]
fn the_lockfiles_page_works_word_by_word() {
    follow_example("lockfile", &[]);
}

#[test]
fn the_transfers_page_works_word_by_word() {
    follow_example("transfer", &[]);
}

#[test]
fn the_releases_page_works_word_by_word() {
    follow_example("release", &[]);
}

#[test]
fn the_pipelines_page_works_word_by_word() {
    if has_python() {
        follow_example("pipeline", &[]);
    } else {
        eprintln!(
            "NOT TRIED: the pipeline's page has a web hook in Python, and there is no python3"
        );
    }
}

#[test]
fn the_saga_file_s_page_works_word_by_word() {
    follow("docs/saga-file.md", &[]);
}

/// The one page that compiles: a project of its own, which shares what was built with this test.
#[test]
fn embedding_works_word_by_word() {
    let name = "docs/embedding.md";
    let page = fs::read_to_string(root().join(name)).expect("a page");
    let followed = Reader::in_one_place("embedding").follow(name, &page);
    let fetched = ["git clone", "cargo add redress redress-adapters --git"];
    judge(name, &followed, &fetched);
}

#[test]
fn the_runbook_file_s_page_works_word_by_word() {
    follow("docs/runbook-file.md", &[]);
}

#[test]
fn production_works_word_by_word() {
    follow("docs/production.md", &["pg_dump"]);
}

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;

/// Every `RDnnnn` in the sources of the crates, tests left out.
fn codes_in_sources() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut codes = BTreeSet::new();
    for name in [
        "sql", "ledger", "engine", "adapters", "runbooks", "examples", "cli",
    ] {
        scan(&root.join(name), &mut codes);
    }
    // The pages name every code themselves; what else stands in this crate counts.
    for entry in fs::read_dir(root.join("runbooks/src"))
        .into_iter()
        .flatten()
    {
        let entry = entry.unwrap().path();
        if !entry.ends_with("pages") && !entry.ends_with("lib.rs") {
            scan(&entry, &mut codes);
        }
    }
    codes
}

fn scan(path: &Path, codes: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap().path();
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            // The pages name every code, which is what they are compared for.
            let compared = name == "pages" && path.ends_with("runbooks/src");
            // What cargo builds; a module may have that name.
            let built = name == "target" && entry.join("CACHEDIR.TAG").exists();
            if !built && name != "tests" && name != "tests.rs" && !compared {
                scan(&entry, codes);
            }
        }
        return;
    }
    let source = path
        .extension()
        .is_some_and(|end| end == "rs" || end == "sql");
    if !source {
        return;
    }
    let text = fs::read_to_string(path).unwrap();
    // What a file's own tests invent is no code of the program.
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    for (at, _) in text.match_indices("\"RD") {
        let code = &text[at + 1..];
        let code = code.get(..6).unwrap_or_default();
        let digits = code.get(2..).unwrap_or_default();
        if digits.len() == 4
            && digits.bytes().all(|b| b.is_ascii_digit())
            && text.get(at + 7..at + 8) == Some("\"")
        {
            codes.insert(code.to_owned());
        }
    }
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let codes = codes_in_sources();
    // A packaged crate stands alone: there is nothing to compare with.
    if codes.is_empty() {
        return;
    }
    let paged: BTreeSet<String> = pages().map(|page| page.code.to_owned()).collect();
    let without: Vec<_> = codes.difference(&paged).collect();
    assert!(without.is_empty(), "codes without a page: {without:?}");
    let unknown: Vec<_> = paged.difference(&codes).collect();
    assert!(unknown.is_empty(), "pages without a code: {unknown:?}");
}

#[test]
fn pages_stand_in_order_once_and_say_everything() {
    let codes: Vec<&str> = pages().map(|page| page.code).collect();
    assert!(codes.is_sorted(), "out of order");
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
    for page in pages() {
        let texts = [page.title, page.happened, page.stands, page.next];
        assert!(texts.iter().all(|text| !text.is_empty()), "{}", page.code);
        for sentence in [page.happened, page.stands, page.next] {
            assert!(sentence.ends_with(['.', '?']), "{}: {sentence}", page.code);
        }
    }
}

#[test]
fn a_duty_that_has_a_name_has_a_page() {
    for (name, code) in crate::NAMES {
        assert_eq!(
            crate::page(name).map(|page| page.code),
            Some(*code),
            "{name}"
        );
    }
}

//! Files that the program gives and the repository keeps: they must be the same.
//!
//! `REDRESS_WRITE=1 cargo test -p redress-tests --test cli generated` writes them anew.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use redress_cli::exit::Exit;

/// The repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Compares a kept file with what the program gives, or writes it.
#[track_caller]
fn kept(name: &str, given: &str) {
    let path = root().join(name);
    if env::var_os("REDRESS_WRITE").is_some() {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, given).expect("written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let anew = "REDRESS_WRITE=1 cargo test -p redress-tests --test cli generated";
    assert!(
        kept == given,
        "{name} is not what the program gives; `{anew}` writes it"
    );
}

#[test]
fn the_error_index_is_what_the_pages_say() {
    let mut text = String::from(ERRORS_HEAD);
    for page in redress_runbooks::pages() {
        let exit = Exit::of_code(page.code).expect("a status") as u8;
        let runbooks: Vec<String> = redress_runbooks::library::about(page.code)
            .iter()
            .map(|name| format!("[{name}](../runbooks/library/{name}.yaml)"))
            .collect();
        text.push_str(&format!(
            "\n## {}: {}\n\n{}\n\n* **What stands:** {}\n* **What to do:** {}\n* **Exit status:** {exit}. **Runbooks:** {}\n",
            page.code,
            page.title,
            page.happened,
            page.stands,
            page.next,
            runbooks.join(", "),
        ));
    }
    kept("docs/errors.md", &text);
}

const ERRORS_HEAD: &str = "# Error codes

Every error has a code, and every code has a page: what happened, what stands now, what to do next. `redress explain CODE` prints one,
and with `--json` every error carries all of it. This index is made from those pages by a test and is not edited by hand.

The exit statuses: 0 done, 1 failed, 2 usage, 3 a person must act, 4 refused and nothing changed, 5 approvals missing, 6 stale, 7
verification failed, 8 verification incomplete, 75 database unreachable, 78 wrong schema version or configuration.
";

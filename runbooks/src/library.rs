//! The runbooks that are shipped, and the shelf on which they stand beside one's own.
//!
//! **Invariant:** they stand in the order of their names, each passes `lint`, and every error code has at least one that
//! is about it; tests hold it. A shipped one cannot be replaced by one of the same name.
//!
//! **Not here:** which of them is right for a run (`suggest`).

use redress_ledger::{Class, Hash};

use crate::error::{Problem, RunbookError};
use crate::lint::{Known, load_yaml};
use crate::model::Runbook;
use crate::read::read_yaml;
use crate::text::{nearest, quoted};

/// A shipped runbook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub yaml: &'static str,
}

/// All of them, in the order of their names.
pub const SHIPPED: &[Shipped] = &[
    shipped(
        "baseline-mismatch",
        include_str!("../library/baseline-mismatch.yaml"),
    ),
    shipped(
        "compensate-failed-run",
        include_str!("../library/compensate-failed-run.yaml"),
    ),
    shipped(
        "coverage-miss",
        include_str!("../library/coverage-miss.yaml"),
    ),
    shipped(
        "cutover-failed-at-cut-leg-a",
        include_str!("../library/cutover-failed-at-cut-leg-a.yaml"),
    ),
    shipped(
        "cutover-failed-at-leg-b-record",
        include_str!("../library/cutover-failed-at-leg-b-record.yaml"),
    ),
    shipped(
        "cutover-failed-at-lifecycle-enact",
        include_str!("../library/cutover-failed-at-lifecycle-enact.yaml"),
    ),
    shipped(
        "cutover-failed-at-pre-write-backup",
        include_str!("../library/cutover-failed-at-pre-write-backup.yaml"),
    ),
    shipped(
        "cutover-failed-at-write-verify",
        include_str!("../library/cutover-failed-at-write-verify.yaml"),
    ),
    shipped("disk-full", include_str!("../library/disk-full.yaml")),
    shipped(
        "execution-stopped",
        include_str!("../library/execution-stopped.yaml"),
    ),
    shipped(
        "failover-check",
        include_str!("../library/failover-check.yaml"),
    ),
    shipped("hold-run", include_str!("../library/hold-run.yaml")),
    shipped(
        "in-doubt-effect",
        include_str!("../library/in-doubt-effect.yaml"),
    ),
    shipped(
        "key-compromised",
        include_str!("../library/key-compromised.yaml"),
    ),
    shipped(
        "ledger-disagrees",
        include_str!("../library/ledger-disagrees.yaml"),
    ),
    shipped(
        "ledger-does-not-verify",
        include_str!("../library/ledger-does-not-verify.yaml"),
    ),
    shipped("ledger-fork", include_str!("../library/ledger-fork.yaml")),
    shipped("look-at-run", include_str!("../library/look-at-run.yaml")),
    shipped("mend-files", include_str!("../library/mend-files.yaml")),
    shipped("mend-input", include_str!("../library/mend-input.yaml")),
    shipped("mend-keys", include_str!("../library/mend-keys.yaml")),
    shipped(
        "mend-postings",
        include_str!("../library/mend-postings.yaml"),
    ),
    shipped("mend-runbook", include_str!("../library/mend-runbook.yaml")),
    shipped("mend-sealer", include_str!("../library/mend-sealer.yaml")),
    shipped(
        "mend-surroundings",
        include_str!("../library/mend-surroundings.yaml"),
    ),
    shipped("no-way-back", include_str!("../library/no-way-back.yaml")),
    shipped("plan-again", include_str!("../library/plan-again.yaml")),
    shipped("poison-run", include_str!("../library/poison-run.yaml")),
    shipped("release-hold", include_str!("../library/release-hold.yaml")),
    shipped("release-kill", include_str!("../library/release-kill.yaml")),
    shipped("resolve-run", include_str!("../library/resolve-run.yaml")),
    shipped(
        "restore-from-backup",
        include_str!("../library/restore-from-backup.yaml"),
    ),
    shipped(
        "resume-failed-run",
        include_str!("../library/resume-failed-run.yaml"),
    ),
    shipped("rotate-key", include_str!("../library/rotate-key.yaml")),
    shipped("sign-again", include_str!("../library/sign-again.yaml")),
    shipped("stale-plan", include_str!("../library/stale-plan.yaml")),
    shipped(
        "stop-everything",
        include_str!("../library/stop-everything.yaml"),
    ),
    shipped(
        "stuck-compensation",
        include_str!("../library/stuck-compensation.yaml"),
    ),
    shipped(
        "upgrade-schema",
        include_str!("../library/upgrade-schema.yaml"),
    ),
    shipped("worker-lost", include_str!("../library/worker-lost.yaml")),
];

const fn shipped(name: &'static str, yaml: &'static str) -> Shipped {
    Shipped { name, yaml }
}

/// A runbook that can be used, with where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Book {
    /// What it says.
    pub runbook: Runbook,
    /// The digest of its canonical form.
    pub digest: Hash,
    /// The text of its file.
    pub yaml: String,
    /// The file; `None` for a shipped one.
    pub file: Option<String>,
}

impl Book {
    /// Its name.
    pub fn name(&self) -> &str {
        self.runbook.runbook.as_str()
    }

    /// Whether it is shipped with the command.
    pub fn is_shipped(&self) -> bool {
        self.file.is_none()
    }
}

/// Why a runbook is not on the shelf, or cannot be put there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShelfError {
    /// There is none of this name.
    #[error("no such runbook: {}{}", quoted(.name), meant(.suggestion.as_ref()))]
    Unknown {
        /// The name.
        name: String,
        /// What was probably meant.
        suggestion: Option<String>,
    },
    /// There is one of this name already.
    #[error("there is a runbook of this name already: {}", quoted(.0))]
    Taken(String),
    /// Its file is refused.
    #[error("the runbook is refused, with {} finding(s)", .0.len())]
    Refused(Vec<RunbookError>),
    /// It has no canonical form.
    #[error(transparent)]
    Form(#[from] Problem),
}

impl ShelfError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "RD0165",
            Self::Taken(_) => "RD0167",
            Self::Refused(errors) => errors.first().map_or("RD0110", RunbookError::code),
            Self::Form(problem) => problem.code(),
        }
    }

    /// What to do about it: nothing was changed.
    pub fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } | Self::Taken(_) | Self::Refused(_) | Self::Form(_) => {
                Class::Refused
            }
        }
    }
}

fn meant(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(String::new, |name| {
        format!("; did you mean {}?", quoted(name))
    })
}

/// The runbooks that can be used here, in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shelf {
    books: Vec<Book>,
}

impl Shelf {
    /// The shipped runbooks.
    ///
    /// # Errors
    /// What is wrong with one of them; a test holds that nothing is.
    pub fn shipped() -> Result<Self, ShelfError> {
        let mut shelf = Self::default();
        for one in SHIPPED {
            let (runbook, _) = read_yaml(one.yaml.as_bytes(), one.name)
                .map_err(|error| ShelfError::Refused(vec![*error]))?;
            shelf.put(runbook, one.yaml, None)?;
        }
        Ok(shelf)
    }

    /// The names that a runbook may refer to.
    pub fn known(&self) -> Known {
        Known::default().and(self.books.iter().map(|book| book.name().to_owned()))
    }

    /// Judges files and puts their runbooks on the shelf; they may refer to each other. Gives back those that are
    /// refused, with every finding.
    pub fn add(&mut self, files: &[(String, Vec<u8>)]) -> Vec<(String, ShelfError)> {
        let named = files.iter().filter_map(|(file, bytes)| {
            let (runbook, _) = read_yaml(bytes, file).ok()?;
            Some(runbook.runbook.to_string())
        });
        let known = self.known().and(named);
        let mut refused = Vec::new();
        for (file, bytes) in files {
            let put = load_yaml(bytes, file, &known)
                .map_err(ShelfError::Refused)
                .and_then(|(runbook, _)| {
                    self.put(runbook, &String::from_utf8_lossy(bytes), Some(file.clone()))
                });
            if let Err(error) = put {
                refused.push((file.clone(), error));
            }
        }
        refused
    }

    /// The runbook of a name.
    ///
    /// # Errors
    /// [`ShelfError::Unknown`], with the name that is nearest.
    pub fn find(&self, name: &str) -> Result<&Book, ShelfError> {
        let found = self.books.iter().find(|book| book.name() == name);
        found.ok_or_else(|| ShelfError::Unknown {
            name: name.to_owned(),
            suggestion: nearest(name, self.books.iter().map(Book::name)),
        })
    }

    /// All of them, in the order of their names.
    pub fn books(&self) -> &[Book] {
        &self.books
    }

    fn put(
        &mut self,
        runbook: Runbook,
        yaml: &str,
        file: Option<String>,
    ) -> Result<(), ShelfError> {
        let name = runbook.runbook.as_str();
        let at = match self.books.binary_search_by(|book| book.name().cmp(name)) {
            Ok(_) => return Err(ShelfError::Taken(name.to_owned())),
            Err(at) => at,
        };
        let (digest, yaml) = (runbook.digest()?, yaml.to_owned());
        let book = Book {
            runbook,
            digest,
            yaml,
            file,
        };
        self.books.insert(at, book);
        Ok(())
    }
}

/// The shipped runbooks that are about a code: those for every saga first, of these the one with the fewest codes.
pub fn about(code: &str) -> Vec<&'static str> {
    ABOUT
        .get_or_init(|| {
            let shelf = Shelf::shipped().unwrap_or_default();
            let mut about = Vec::new();
            for one in SHIPPED {
                let Ok(book) = shelf.find(one.name) else {
                    continue;
                };
                let matches = &book.runbook.matches;
                let own = matches.saga.is_some();
                about.extend(
                    matches
                        .codes
                        .iter()
                        .map(|code| (code.clone(), own, matches.codes.len(), one.name)),
                );
            }
            about.sort();
            about
        })
        .iter()
        .filter(|(one, ..)| one == code)
        .map(|(.., name)| *name)
        .collect()
}

/// Code, whether it is for one saga, how many codes it is about, name.
static ABOUT: std::sync::OnceLock<Vec<(String, bool, usize, &'static str)>> =
    std::sync::OnceLock::new();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Fixture;

    /// Every finding of every shipped runbook, so that one run of the test shows all of them.
    #[test]
    fn every_shipped_runbook_passes_lint() {
        let known = Known::shipped();
        let mut wrong = Vec::new();
        for one in SHIPPED {
            match load_yaml(one.yaml.as_bytes(), one.name, &known) {
                Ok((book, _)) => assert_eq!(book.runbook, *one.name),
                Err(errors) => wrong.extend(errors.iter().map(RunbookError::to_string)),
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn they_stand_in_order_and_every_file_is_one_of_them() {
        let names: Vec<&str> = SHIPPED.iter().map(|one| one.name).collect();
        assert!(names.is_sorted(), "{names:?}");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/library");
        let files = std::fs::read_dir(folder).unwrap().count();
        assert_eq!(files, names.len());
        let shelf = Shelf::shipped().unwrap();
        assert_eq!(shelf.books().len(), names.len());
    }

    /// F99: nobody meets an error without a way on.
    #[test]
    fn every_error_code_has_a_runbook() {
        let without: Vec<&str> = crate::pages()
            .map(|page| page.code)
            .filter(|code| about(code).is_empty())
            .collect();
        assert!(without.is_empty(), "codes without a runbook: {without:?}");
        assert_eq!(about("RD0735"), ["ledger-fork"]);
        assert!(about("RD9999").is_empty());
    }

    #[test]
    fn every_duty_has_a_runbook_and_every_fixture_a_test() {
        let shelf = Shelf::shipped().unwrap();
        for duty in [
            "cutover-failed-at-pre-write-backup",
            "cutover-failed-at-cut-leg-a",
            "cutover-failed-at-leg-b-record",
            "cutover-failed-at-write-verify",
            "cutover-failed-at-lifecycle-enact",
            "stuck-compensation",
            "poison-run",
            "in-doubt-effect",
            "stop-everything",
            "release-kill",
            "hold-run",
            "release-hold",
            "stale-plan",
            "worker-lost",
            "rotate-key",
            "key-compromised",
            "ledger-fork",
            "restore-from-backup",
            "failover-check",
            "upgrade-schema",
            "coverage-miss",
            "baseline-mismatch",
            "disk-full",
        ] {
            assert!(shelf.find(duty).is_ok(), "{duty}");
        }
        let tests = shelf.books().iter().flat_map(|book| &book.runbook.tests);
        let used: std::collections::BTreeSet<&str> =
            tests.map(|test| test.fixture.as_str()).collect();
        for fixture in Fixture::ALL {
            assert!(used.contains(fixture.as_str()), "{}", fixture.as_str());
            assert!(fixture.about().ends_with('.'));
        }
    }

    #[test]
    fn ones_own_stand_beside_the_shipped_ones_and_never_in_their_place() {
        let mut shelf = Shelf::shipped().unwrap();
        let text = SHIPPED[0].yaml;
        let own = text.replacen(SHIPPED[0].name, "our-own", 1);
        let files = [
            ("a.yaml".to_owned(), text.into()),
            ("b.yaml".to_owned(), b"runbook: x\n".to_vec()),
            ("c.yaml".to_owned(), own.into()),
        ];
        let refused = shelf.add(&files);
        let codes: Vec<&str> = refused.iter().map(|(_, error)| error.code()).collect();
        assert_eq!(codes, ["RD0167", "RD0110"]);
        assert!(!shelf.find("our-own").unwrap().is_shipped());
        let error = shelf.find("our-onw\u{1b}").unwrap_err();
        assert_eq!(error.code(), "RD0165");
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
        assert!(
            error.to_string().contains("did you mean `our-own`"),
            "{error}"
        );
    }
}

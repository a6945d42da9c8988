//! Judges a typed `with` without a database: shapes, values that are written out, pointers, declarations.

use std::collections::BTreeSet;

use redress::adapter::Finding;
use redress::definition::{Compensation, Phase};
use redress::pointer::Pointer;

use super::keys::Keys;
use super::resolve::{NOW, ORIGINAL, time};
use super::value::{Address, Amount, Asset, Key, Words};
use super::with::{Facts, Many, Switch, Term, With};
use crate::finding::{COVERAGE, DUPLICATE, NO_WAY_BACK, POINTER_ROOT, SHAPE, finding, read_with};

/// The name under which the output has what became of metadata.
pub(super) const METADATA: &str = "metadata";

/// Everything that is wrong with a phase's `with`; empty when nothing is.
pub(super) fn check(phase: &Phase) -> Vec<Finding> {
    match read_with::<With>(&phase.with) {
        Err(finding) => vec![finding],
        Ok(with) => {
            let mut judge = Judge {
                phase,
                with: &with,
                findings: Vec::new(),
            };
            judge.whole();
            judge.declarations();
            judge.work();
            judge.reverts();
            judge.metadata();
            judge.way_back();
            judge.findings
        }
    }
}

/// The tables that a phase writes, going forward or back.
pub(super) fn tables(with: &With) -> Vec<String> {
    let moves = !with.transactions.is_empty() || !with.reverts.is_empty();
    let knows = !with.metadata.is_empty()
        || with.transactions.iter().any(|t| !t.metadata.is_none())
        || with.reverts.iter().any(|r| !r.metadata.is_none())
        || !with.compensation.metadata.is_none();
    let mut names = Vec::new();
    if moves || !with.open.is_empty() {
        names.push("account");
    }
    if moves {
        names.extend(["balance", "transaction", "posting"]);
    }
    if knows {
        names.push("metadata");
    }
    if with.reverts.iter().any(|r| r.receipt.is_some()) {
        names.push("receipt");
    }
    names
        .into_iter()
        .map(|name| with.schema.table(name))
        .collect()
}

struct Judge<'a> {
    phase: &'a Phase,
    with: &'a With,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, path: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.findings.push(finding(path, code, message));
    }

    fn whole(&mut self) {
        let with = self.with;
        let idle = with.open.is_empty()
            && with.expect.is_empty()
            && with.transactions.is_empty()
            && with.reverts.is_empty()
            && with.metadata.is_empty();
        if idle {
            let message = "the phase does nothing: give `open`, `expect`, `transactions`, `reverts` or `metadata`";
            self.find("", SHAPE, message);
        }
        match self.phase.compensation {
            Compensation::None | Compensation::SoftRevert | Compensation::Irreversible => {}
            other => {
                let message = format!(
                    "postings are taken back by reversing them: `soft_revert`, not `{}`",
                    other.as_str()
                );
                self.find("", NO_WAY_BACK, message);
            }
        }
        let missing: Vec<String> = tables(with)
            .into_iter()
            .filter(|table| !self.phase.writes.contains(table))
            .collect();
        if !missing.is_empty() {
            let message = format!(
                "the phase writes what `writes` does not list: {}",
                missing.join(", ")
            );
            self.find("", COVERAGE, message);
        }
        let account = with.schema.table("account");
        let locks = with.expect.is_empty()
            || self.phase.locks.contains(&account)
            || self.phase.writes.contains(&account);
        if !locks {
            let message = format!(
                "`expect` reads rows for update of what neither `locks` nor `writes` lists: {account}"
            );
            self.find("/expect", COVERAGE, message);
        }
        let mut names = BTreeSet::new();
        let kept = (with.transactions.iter().map(|t| &t.keep_as).enumerate())
            .map(|(at, name)| (format!("/transactions/{at}/as"), name))
            .chain(
                (with.reverts.iter().map(|r| &r.keep_as).enumerate())
                    .map(|(at, name)| (format!("/reverts/{at}/as"), name)),
            );
        for (path, name) in kept {
            let Some(name) = name else { continue };
            if name.as_str() == METADATA || !names.insert(name) {
                self.find(
                    path,
                    DUPLICATE,
                    format!("a second `as` of the same name: {name}"),
                );
            }
        }
    }

    fn declarations(&mut self) {
        let with = self.with;
        for (list, terms) in [("accounts", &with.accounts), ("keys", &with.keys)] {
            for (at, term) in terms.iter().enumerate() {
                let path = format!("/{list}/{at}");
                match term {
                    Term::At(pointer) => self.pointer(&path, pointer, true),
                    Term::Text(text) => {
                        let name = text.strip_suffix('*').unwrap_or(text);
                        let name = name.strip_suffix(':').unwrap_or(name);
                        let fits = match list {
                            "accounts" => name.parse::<Address>().is_ok(),
                            _ => name.parse::<Key>().is_ok(),
                        };
                        if !fits && text != "*" {
                            self.find(path, SHAPE, format!("this names nothing: {name:?}"));
                        }
                    }
                }
            }
        }
    }

    fn work(&mut self) {
        let with = self.with;
        for (at, open) in with.open.iter().enumerate() {
            self.account(&format!("/open/{at}/account"), &open.account);
        }
        for (at, expect) in with.expect.iter().enumerate() {
            self.account(&format!("/expect/{at}/account"), &expect.account);
            self.term::<Asset>(&format!("/expect/{at}/asset"), &expect.asset);
            let path = format!("/expect/{at}/min");
            match &expect.min {
                Term::At(pointer) => self.pointer(&path, pointer, false),
                Term::Text(text) if super::value::balance(text).is_err() => {
                    self.find(path, SHAPE, "`min` is a whole number in a string");
                }
                Term::Text(_) => {}
            }
        }
        for (at, transaction) in with.transactions.iter().enumerate() {
            let path = format!("/transactions/{at}");
            self.word(&format!("{path}/reference"), transaction.reference.as_ref());
            self.when(
                &format!("{path}/effective"),
                transaction.effective.as_ref(),
                false,
                false,
            );
            self.facts(&format!("{path}/metadata"), &transaction.metadata, false);
            let path = format!("{path}/postings");
            match &transaction.postings {
                Many::At(pointer) => self.pointer(&path, pointer, false),
                Many::Listed(list) if list.is_empty() => {
                    self.find(path, SHAPE, "a transaction has at least one posting");
                }
                Many::Listed(list) => {
                    for (at, posting) in list.iter().enumerate() {
                        let path = format!("{path}/{at}");
                        self.account(&format!("{path}/source"), &posting.source);
                        self.account(&format!("{path}/destination"), &posting.destination);
                        self.term::<Asset>(&format!("{path}/asset"), &posting.asset);
                        self.term::<Amount>(&format!("{path}/amount"), &posting.amount);
                        if posting.source == posting.destination {
                            self.find(path, SHAPE, "a posting goes from one account to another");
                        }
                    }
                }
            }
        }
    }

    fn reverts(&mut self) {
        for (at, revert) in self.with.reverts.iter().enumerate() {
            let path = format!("/reverts/{at}");
            if revert.transaction.is_none() && revert.receipt.is_none() {
                self.find(
                    &path,
                    SHAPE,
                    "say what is reversed: `transaction`, `receipt`, or both",
                );
            }
            self.id(&format!("{path}/transaction"), revert.transaction.as_ref());
            if let Some(receipt) = &revert.receipt {
                self.pointer(&format!("{path}/receipt/note"), &receipt.note, false);
                self.pointer(&format!("{path}/receipt/record"), &receipt.record, false);
            }
            self.word(&format!("{path}/reference"), revert.reference.as_ref());
            self.when(
                &format!("{path}/effective"),
                revert.effective.as_ref(),
                true,
                false,
            );
            self.facts(&format!("{path}/metadata"), &revert.metadata, false);
            if let Some(force) = &revert.force {
                self.pointer(&format!("{path}/force"), force, false);
            }
            if let Some(Switch::At(pointer)) = &revert.dry_run {
                self.pointer(&format!("{path}/dry_run"), pointer, false);
            }
        }
    }

    fn metadata(&mut self) {
        for (at, change) in self.with.metadata.iter().enumerate() {
            let path = format!("/metadata/{at}");
            if change.account.is_some() == change.transaction.is_some() {
                self.find(
                    &path,
                    SHAPE,
                    "metadata is of an `account` or of a `transaction`",
                );
            }
            if change.set.is_none() && change.delete.is_empty() {
                self.find(&path, SHAPE, "nothing is set and nothing deleted");
            }
            if let Some(account) = &change.account {
                self.account(&format!("{path}/account"), account);
            }
            self.id(&format!("{path}/transaction"), change.transaction.as_ref());
            self.facts(&format!("{path}/set"), &change.set, false);
            for (at, key) in change.delete.iter().enumerate() {
                self.key(&format!("{path}/delete/{at}"), key);
            }
        }
    }

    fn way_back(&mut self) {
        let back = &self.with.compensation;
        self.when(
            "/compensation/effective",
            back.effective.as_ref(),
            true,
            true,
        );
        self.facts("/compensation/metadata", &back.metadata, true);
        if let Some(force) = &back.force {
            self.backward_pointer("/compensation/force", force);
        }
    }

    /// An account that is written out is a name, and declared when no declaration comes with the input.
    fn account(&mut self, path: &str, term: &Term) {
        self.term::<Address>(path, term);
        if let Term::Text(text) = term
            && let Ok(account) = text.parse::<Address>()
            && let Some(keys) = written_out(&self.with.accounts, |texts| Keys::new(texts, []))
            && let Err(error) = keys.admit_accounts([&account])
        {
            self.find(path, COVERAGE, error.to_string());
        }
    }

    fn key(&mut self, path: &str, term: &Term) {
        self.term::<Key>(path, term);
        if let Term::Text(text) = term {
            self.covered_key(path, text);
        }
    }

    fn covered_key(&mut self, path: &str, text: &str) {
        if let Ok(key) = text.parse::<Key>()
            && let Some(keys) = written_out(&self.with.keys, |texts| Keys::new([], texts))
            && let Err(error) = keys.admit_keys([&key])
        {
            self.find(path, COVERAGE, error.to_string());
        }
    }

    fn facts(&mut self, path: &str, facts: &Facts, backward: bool) {
        match facts {
            Facts::At(pointer) if backward => self.backward_pointer(path, pointer),
            Facts::At(pointer) => self.pointer(path, pointer, false),
            Facts::Listed(map) => {
                for (key, value) in map {
                    let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                    self.key(&path, &Term::Text(key.clone()));
                    match value {
                        Term::At(pointer) if backward => self.backward_pointer(&path, pointer),
                        term => self.term::<Words>(&path, term),
                    }
                }
            }
        }
    }

    fn word(&mut self, path: &str, term: Option<&Term>) {
        if let Some(term) = term {
            self.term::<Words>(path, term);
        }
    }

    fn id(&mut self, path: &str, term: Option<&Term>) {
        match term {
            Some(Term::At(pointer)) => self.pointer(path, pointer, false),
            Some(Term::Text(text)) if text.parse::<uuid::Uuid>().is_err() => {
                self.find(
                    path,
                    SHAPE,
                    "a transaction is named by its id, or by a pointer to it",
                );
            }
            _ => {}
        }
    }

    fn when(&mut self, path: &str, term: Option<&Term>, words: bool, backward: bool) {
        match term {
            None => {}
            Some(Term::At(pointer)) if backward => self.backward_pointer(path, pointer),
            Some(Term::At(pointer)) => self.pointer(path, pointer, false),
            Some(Term::Text(text)) if words && (text == NOW || text == ORIGINAL) => {}
            Some(Term::Text(text)) => {
                if let Err(error) = time(text) {
                    self.find(path, SHAPE, error.to_string());
                }
            }
        }
    }

    fn term<T: std::str::FromStr<Err = super::error::PostingsError>>(
        &mut self,
        path: &str,
        term: &Term,
    ) {
        match term {
            Term::At(pointer) => self.pointer(path, pointer, false),
            Term::Text(text) => {
                if let Err(error) = text.parse::<T>() {
                    self.find(path, SHAPE, error.to_string());
                }
            }
        }
    }

    /// A pointer that has a meaning going forward; a declaration is needed going back too.
    fn pointer(&mut self, path: &str, pointer: &Pointer, declares: bool) {
        let own = declares
            && pointer.root() == Some("phases")
            && pointer.tokens().get(1).map(String::as_str) == Some(self.phase.name.as_str());
        let known = matches!(
            pointer.root(),
            Some("run" | "input" | "phases" | "approvals")
        );
        if !known || own {
            let message =
                format!("a pointer begins with /run, /input, /phases or /approvals: {pointer}");
            self.find(path, POINTER_ROOT, message);
        }
    }

    fn backward_pointer(&mut self, path: &str, pointer: &Pointer) {
        if !matches!(
            pointer.root(),
            Some("run" | "input" | "phases" | "approvals" | "plan" | "decision")
        ) {
            let message = format!(
                "a pointer begins with /run, /input, /phases, /approvals, /plan or /decision: {pointer}"
            );
            self.find(path, POINTER_ROOT, message);
        }
    }
}

/// The declaration, when all of it is written out.
fn written_out<'t>(terms: &'t [Term], make: impl FnOnce(Vec<&'t str>) -> Keys) -> Option<Keys> {
    let texts = terms.iter().map(|term| match term {
        Term::Text(text) => Some(text.as_str()),
        Term::At(_) => None,
    });
    texts.collect::<Option<Vec<_>>>().map(make)
}

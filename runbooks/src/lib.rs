//! Runbooks for Redress: what an error code means, what stands then, and which act is safe.
//!
//! ```
//! let page = redress_runbooks::page("RD0420").expect("a stale plan has a page");
//! assert!(page.next.contains("redress plan"));
//! ```
//!
//! A runbook is a file. It is read strictly, judged, and made into the page that people read:
//!
//! ```
//! use redress_runbooks::lint::{Known, load_yaml};
//! use redress_runbooks::render::{Format, render};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let file = redress_runbooks::library::SHIPPED.iter().find(|one| one.name == "resolve-run").expect("it is shipped");
//! let runbook = load_yaml(file.yaml.as_bytes(), "resolve-run.yaml", &Known::shipped())
//!     .map_err(|findings| format!("{findings:?}"))?
//!     .0;
//! let page = render(&runbook, &runbook.digest()?, Format::Markdown);
//! assert!(page.contains("Close a run as it stands"));
//! # Ok(())
//! # }
//! ```
//!
//! [`suggest`] says which one is right for a run, [`execute`] carries one out, each step a signed record. No features.
//!
//! **Invariant:** every code of the workspace has exactly one page, and every page a code that exists; a test reads
//! the sources and holds this both ways.
//!
//! **Not here:** the exit status of a code (the command).

pub mod error;
pub mod execute;
pub mod facts;
pub mod fixture;
pub mod instruction;
pub mod library;
pub mod lint;
pub mod model;
mod pages;
pub mod param;
pub mod read;
pub mod render;
pub mod schema;
pub mod statement;
pub mod suggest;
pub mod text;

/// What an operator is told about an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// The code.
    pub code: &'static str,
    /// In a few words.
    pub title: &'static str,
    /// What happened.
    pub happened: &'static str,
    /// What stands now.
    pub stands: &'static str,
    /// The next safe act.
    pub next: &'static str,
}

/// Every page, in the order of the codes.
pub fn pages() -> impl Iterator<Item = &'static Page> {
    pages::BLOCKS.iter().flat_map(|block| block.iter())
}

/// Pages that are also known by the name of a duty.
const NAMES: &[(&str, &str)] = &[("ledger-fork", "RD0735")];

/// The page of a code, or of a duty by its name.
pub fn page(code: &str) -> Option<&'static Page> {
    let named = NAMES.iter().find(|(name, _)| *name == code);
    let code = named.map_or(code, |(_, code)| code);
    pages().find(|page| page.code == code)
}

#[cfg(test)]
mod tests;

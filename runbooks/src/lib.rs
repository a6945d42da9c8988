//! Runbooks for Redress: which recovery belongs to which error code.

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
pub fn pages() -> &'static [Page] {
    &[]
}

/// The page of a code.
pub fn page(code: &str) -> Option<&'static Page> {
    pages().iter().find(|page| page.code == code)
}

//! The runbooks that are shipped, as their files are.
//!
//! **Invariant:** they stand in the order of their names, each reads and passes `lint`; tests hold it.

/// A shipped runbook.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub yaml: &'static str,
}

/// All of them, in the order of their names.
pub const SHIPPED: &[Shipped] = &[];

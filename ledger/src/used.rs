//! Remembers which decisions and acts were used: each counts once.

use std::collections::HashMap;

use uuid::Uuid;

use crate::hash::Hash;

/// Where a decision or an act was used first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    /// The run whose record holds it.
    pub(crate) run: Uuid,
    /// The plan that it approves, if it does.
    pub(crate) plan: Option<Hash>,
}

/// Every use, by the id of the decision or act.
pub(crate) type Used = HashMap<Uuid, Use>;

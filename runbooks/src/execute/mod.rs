//! Carries out runbooks: plan, approve, apply, resume.
//!
//! ```text
//! plan: match, parameters, checks (READ ONLY), scope, baseline -> document, stored and signed
//! apply: in hands (lease) -> not stale, approved -> each step: checks again under lock, act, signed record -> after
//! ```
//!
//! **Invariant:** what is carried out is the stored plan, which holds the whole runbook; its digest is what people sign.
//! **Invariant:** one execution a run at a time; each step has one record, in one transaction with what it did where that
//! lies in the database, else behind an act that can be told to be done.
//!
//! **What can go wrong:** death anywhere: `apply` again goes on behind the last step that has a record.

mod apply;
mod begin;
mod context;
mod document;
mod error;
mod params;
mod plan;
mod steps;
mod work;

use redress::Engine;
use redress_ledger::key::SigningKey;

pub use apply::{Applied, Evidence, Given, apply};
pub use begin::missing;
pub use document::{Document, PlannedRun};
pub use error::ExecuteError;
pub use plan::{Request, plan};

/// The largest plan: it stands in one record, which holds less than 64 KiB.
pub const DOCUMENT_BYTES_MAX: usize = 56 * 1024;

/// Who carries out a runbook.
pub struct Operator<'a> {
    /// The engine.
    pub engine: &'a Engine,
    /// The person's key.
    pub key: &'a SigningKey,
    /// The person, as the key names them.
    pub person: String,
    /// The machine.
    pub host: String,
}

impl Operator<'_> {
    /// Who, for whoever comes second.
    fn name(&self) -> String {
        format!("{} on {}", self.person, self.host)
    }
}

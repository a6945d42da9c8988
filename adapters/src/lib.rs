//! The adapters that a saga file can name without writing Rust: [`sql`], [`backup`], [`gate`] and [`postings`].
//!
//! ```text
//! with (a value) -> typed `with` -> check (no database) -> survey (plans, proof of coverage) -> apply | guard | revert
//! ```
//!
//! **Invariant:** an adapter sees a [`redress::phase_tx::PhaseTx`] and nothing else of the database, so it cannot
//! commit; values reach a statement as bound parameters only.
//!
//! **Not here:** when a phase runs, what is recorded, and the coverage check at the end of a phase (the engine).

use std::sync::Arc;

use redress::adapter::Adapter;

pub mod backup;
pub mod fileset;
mod finding;
pub mod gate;
mod inspect;
pub mod postings;
pub mod sql;

/// The adapters of this crate, ready to be registered.
pub fn standard() -> Vec<Arc<dyn Adapter>> {
    vec![
        Arc::new(sql::SqlAdapter::default()),
        Arc::new(backup::BackupAdapter),
        Arc::new(gate::GateAdapter),
        Arc::new(postings::PostingsAdapter::default()),
    ]
}

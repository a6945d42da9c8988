//! A saga engine for PostgreSQL whose undo can be trusted.
//!
//! Each phase of a saga is one transaction, and the record of that phase commits inside it. When a later phase fails,
//! a planner reads the committed records and writes a plan; the plan is stored, has a digest, is signed by whoever the
//! file names, and is carried out in one transaction, or not at all.
//!
//! ```text
//! definition -> start -> phase -> (failure -> plan -> compensate) -> sealed
//!                 |        |                              |
//!               claim    gate, epoch                 guard, baseline
//! ```
//!
//! ```no_run
//! use redress::{Engine, Outcome};
//! use serde_json::json;
//!
//! # async fn example(sql: std::sync::Arc<dyn redress::adapter::Adapter>) -> Result<(), Box<dyn std::error::Error>> {
//! let file = std::fs::read("order.yaml")?;
//! let (definition, _places) = redress::definition::read_yaml(&file, "order.yaml")?;
//! let engine = Engine::builder(redress::db::pool("postgres:///shop", 20)?)
//!     .adapter(sql) // redress_adapters::standard() has `sql` and `backup`; your own implement `Adapter`
//!     .state_dir("/var/lib/redress")
//!     .register(definition)?
//!     .build()
//!     .await?; // refuses a schema that is not exactly this version
//! let start = engine.start("order", json!({"order": "A1", "sku": "tea", "qty": 3})).key("order-A1");
//! match engine.start_and_drive(start).await? {
//!     (_, Outcome::Completed(run)) => println!("done: {}", run.id),
//!     (_, Outcome::Compensated(run)) => println!("undone: {}", run.id),
//!     (_, other) => println!("a person must act: {}", other.run().id),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** a phase's effect, its record and the run's new state commit together or not at all.
//! **Invariant:** whoever lost a claim cannot commit: epoch, state, phase and head are repeated in the write.
//! **Invariant:** nothing but success of COMMIT counts as done; [`Commit`] is not a `Result`.
//!
//! Features: `crash` (tests only) kills the own process at named points. The default is the engine alone.

mod action;
pub mod adapter;
mod aftermath;
pub mod alert;
mod apply;
mod approve;
pub mod archive;
pub mod ask;
mod audit;
mod bulk;
mod call;
mod ceremony;
pub mod check;
pub mod committed;
mod compensate;
mod consent;
mod crash;
pub mod db;
pub mod definition;
mod drive;
mod driver;
mod engine;
mod error;
pub mod export;
pub mod external;
mod failure;
pub mod files;
mod generation;
pub mod grants;
mod hold;
mod keyring;
mod kill;
mod lease;
mod lift;
pub mod log;
pub mod name;
pub mod notify;
mod open;
mod operate;
mod outside;
mod phase;
pub mod phase_tx;
pub mod plan;
mod planning;
pub mod pointer;
pub mod receipt;
pub mod rehearse;
mod release;
mod rewind;
mod run;
pub mod schema;
pub mod seal;
mod seen;
mod snapshot;
mod start;
mod start_in;
pub mod step;
mod stuck;
pub mod subscribe;
mod survey;
mod tx;
pub mod typed;
mod undo;
pub mod view;
mod worker;

pub use approve::Approval;
pub use bulk::{EqualSet, Member, Recovered};
pub use call::CallOut;
pub use ceremony::KeyChange;
pub use drive::{CLAIMS_MAX, Outcome};
pub use driver::Driver;
pub use engine::{Builder, Engine, LEASE_DEFAULT};
pub use error::Error;
pub use hold::Hold;
pub use kill::{Killed, Switch};
pub use lift::Released;
pub use planning::StoredPlan;
pub use redress_ledger as ledger;
pub use redress_sql::{Part, SchemaName, SchemaNameError};
pub use rewind::{Rewind, Rewound};
pub use run::RunRow;
pub use start::{Start, Started};
pub use start_in::StartIn;
pub use tokio_postgres;
pub use tx::Commit;
pub use worker::Worker;

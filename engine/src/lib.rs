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
//! A whole program: one phase, which cannot commit by itself, its guard and its way back.
//!
//! ```no_run
//! use async_trait::async_trait;
//! use redress::adapter::AdapterError;
//! use redress::definition::builder::Phase;
//! use redress::definition::{Authority, Compensation};
//! use redress::phase_tx::PhaseTx;
//! use redress::plan::Action;
//! use redress::typed::{LocalPhase, TypedSaga};
//! use redress::{Engine, Outcome, SchemaName};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Serialize, Deserialize)]
//! struct Order {
//!     sku: String,
//! }
//!
//! /// Reserves one piece. What it gives is what the next phase takes, checked by the compiler.
//! struct Reserve;
//!
//! #[async_trait]
//! impl LocalPhase for Reserve {
//!     type Input = Order;
//!     type Output = i32;
//!
//!     fn declare(&self) -> Phase {
//!         Phase::named("reserve")
//!             .writes(["shop.reservation"]) // anything else that it writes is refused at commit
//!             .residue(["shop.reservation"]) // withdrawn rows rightly stay
//!             .compensation(Compensation::SoftRevert)
//!     }
//!
//!     async fn apply(&self, tx: &PhaseTx<'_>, order: Order) -> Result<i32, AdapterError> {
//!         let sql = "insert into shop.reservation (sku) values ($1) returning id";
//!         Ok(tx.query(sql, &[&order.sku]).await?[0].get(0))
//!     }
//!
//!     async fn guard(&self, tx: &PhaseTx<'_>, id: i32, _: Action) -> Result<(), AdapterError> {
//!         let sql = "select from shop.reservation where id = $1 and state = 'live' for update";
//!         match tx.query(sql, &[&id]).await?.len() {
//!             1 => Ok(()),
//!             _ => Err(AdapterError::Guard("it is not live".to_owned())),
//!         }
//!     }
//!
//!     async fn revert(&self, tx: &PhaseTx<'_>, id: i32, _: Action) -> Result<(), AdapterError> {
//!         let sql = "update shop.reservation set state = 'withdrawn' where id = $1";
//!         tx.execute(sql, &[&id]).await?;
//!         Ok(())
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let url = std::env::var("DATABASE_URL")?;
//!     // Once, by whoever installs: `redress db migrate` does the same.
//!     let session = redress::db::connect(&url.parse()?).await?;
//!     redress::schema::migrate(&session, &SchemaName::default(), "shop.example").await?;
//!
//!     let saga = TypedSaga::<Order>::new("order", 1)
//!         .with(|saga| saga.authority("soft_revert", Authority::Auto))
//!         .then(Reserve)
//!         .build()?;
//!     let engine = Engine::builder(redress::db::pool(&url, 10)?)
//!         .state_dir("/var/lib/shop") // snapshots and hold files
//!         .saga(saga)?
//!         .build()
//!         .await?; // refuses a schema that is not exactly this version
//!
//!     // The same key and the same input: the same run.
//!     let run = engine.start("order", json!({"sku": "tea"})).key("order-42").await?;
//!     match engine.drive(run).await? {
//!         Outcome::Completed(run) => println!("done: {}", run.id),
//!         Outcome::Compensated(run) => println!("taken back: {}", run.id),
//!         Outcome::Held(run) | Outcome::Stuck(run) => println!("redress show {}", run.id),
//!     }
//!     // Or leave runs to a worker, here until nothing is left to do.
//!     let (_stop, stopping) = tokio::sync::watch::channel(false);
//!     engine.worker().concurrency(16).until_idle().run(stopping).await?;
//!     Ok(())
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | start runs, and drive them | [`Engine::start`], [`Engine::drive`], [`Engine::worker`]; in the caller's own transaction [`Engine::start_in`] |
//! | write a saga | [`typed`] (checked by the compiler), [`definition::builder`], or a file: [`definition::load_yaml`] |
//! | write an adapter | [`adapter::Adapter`] inside the database, [`external::ExternalAdapter`] outside of it |
//! | hear of what happens | [`Engine::subscribe`], [`notify`], [`alert`] |
//! | bring a run back | [`Engine::plan`], [`Engine::approve`], [`Engine::apply`], [`Engine::rewind`] |
//! | stop | [`Engine::hold`], [`Engine::kill`] |
//! | prove | [`rehearse`], [`check`], [`seal`], [`export`] |
//!
//! `redress-adapters` has adapters that a saga file can name, `redress-cli` the command for operators. The repository's
//! `docs/embedding.md` goes from an empty folder to all of it.
//!
//! **Invariant:** a phase's effect, its record and the run's new state commit together or not at all.
//! **Invariant:** whoever lost a claim cannot commit: epoch, state, phase and head are repeated in the write.
//! **Invariant:** nothing but success of COMMIT counts as done; [`Commit`] is not a `Result`.
//!
//! # Features
//!
//! | feature | default | what |
//! |---|---|---|
//! | `tls` | yes | TLS to the database, by rustls on ring; without it a URL that asks for TLS is refused |
//! | `metrics` | no | counts and times what happens ([`metric`]) for whatever recorder of the crate `metrics` the process installs |
//! | `crash` | no | kills the own process at named points; for tests only |
//!
//! What is traced says [`telemetry`]. `tokio_postgres` is exported again, so that a caller's own transaction is of the same version.

mod action;
pub mod adapter;
mod aftermath;
pub mod alert;
mod apply;
mod approve;
pub mod archive;
pub mod ask;
mod audit;
mod bound;
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
mod fate;
pub mod files;
mod generation;
pub mod grants;
mod hold;
mod keyring;
mod kill;
mod lease;
mod lift;
pub mod log;
pub mod metric;
pub mod name;
pub mod notify;
mod observed;
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
pub mod story;
mod stuck;
pub mod subscribe;
mod survey;
mod system_log;
pub mod telemetry;
mod tx;
pub mod typed;
mod undo;
mod unwind;
pub mod view;
mod wake;
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

//! The adapters that a saga file can name without writing Rust: [`sql`], [`backup`], [`gate`] and [`postings`] inside the
//! database, [`command`], [`http`] and [`fileset`] outside it.
//!
//! ```text
//! with (a value) -> typed `with` -> check (no database) -> survey (plans, proof of coverage) -> apply | guard | revert
//! ```
//!
//! ```no_run
//! use redress::{Engine, Outcome};
//! use serde_json::json;
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // What phases outside the database may reach is this machine's own, never the definition's.
//! let config = redress_adapters::Config::parse("[command]\nallow = ['/usr/local/bin/deploy']\n")?;
//! let (saga, _places) = redress::definition::read_yaml(&std::fs::read("order.yaml")?, "order.yaml")?;
//! let engine = Engine::builder(redress::db::pool("postgres:///shop", 20)?)
//!     .adapters(redress_adapters::standard())
//!     .externals(redress_adapters::external(&config))
//!     .state_dir("/var/lib/shop")
//!     .register(saga)?
//!     .build()
//!     .await?;
//! let start = engine.start("order", json!({"order": "A1", "sku": "tea", "qty": 3})).key("A1");
//! if let (_, Outcome::Completed(run)) = engine.start_and_drive(start).await? {
//!     println!("{} {}", run.id, run.state);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The keys of each `with` are in the repository's `docs/saga-file.md`. Adapters of your own are tried by [`conformance`].
//!
//! **Invariant:** an adapter sees a [`redress::phase_tx::PhaseTx`] and nothing else of the database, so it cannot
//! commit; values reach a statement as bound parameters only.
//!
//! Features: `crash` (tests only) dies or fails at named points.
//!
//! **Not here:** when a phase runs, what is recorded, and the coverage check at the end of a phase (the engine).

use std::sync::Arc;

use redress::adapter::Adapter;
use redress::external::ExternalAdapter;

pub mod backup;
pub mod command;
mod config;
pub mod conformance;
pub mod file;
pub mod fileset;
mod finding;
pub mod gate;
pub mod http;
mod inspect;
mod pieces;
pub mod postings;
pub mod sql;
mod told;

pub use config::{CommandConfig, Config, ConfigError, HttpConfig};
pub use pieces::{Piece, Texts, filled};
pub use told::{HookSecret, NotifyConfig};

/// The adapters of this crate, ready to be registered.
pub fn standard() -> Vec<Arc<dyn Adapter>> {
    vec![
        Arc::new(sql::SqlAdapter::default()),
        Arc::new(backup::BackupAdapter),
        Arc::new(gate::GateAdapter),
        Arc::new(postings::PostingsAdapter::default()),
    ]
}

/// The adapters of this crate that act outside the database, with what this worker allows them to reach.
pub fn external(config: &Config) -> Vec<Arc<dyn ExternalAdapter>> {
    vec![
        Arc::new(command::CommandAdapter::new(config.command.clone())),
        Arc::new(http::HttpAdapter::new(config.http.clone())),
        Arc::new(fileset::FilesetAdapter::new(config.fileset.clone())),
    ]
}

/// The names of all adapters of this crate.
pub fn names() -> impl Iterator<Item = String> {
    let inside: Vec<String> = standard().iter().map(|a| a.name().to_owned()).collect();
    let outside = external(&Config::default());
    let outside: Vec<String> = outside.iter().map(|a| a.name().to_owned()).collect();
    inside.into_iter().chain(outside)
}

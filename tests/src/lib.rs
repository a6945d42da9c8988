//! Gives the promises' tests their surroundings: real servers, a relay that cuts, real processes.
//!
//! * [`TestCluster`]: a server of its own for a test ([`TestCluster::own`]), or one shared by all
//!   light tests of a process ([`TestCluster::shared`]), with a [`TestDatabase`] for each.
//! * [`Relay`]: stands before a server and cuts, swallows, stalls or dribbles at a chosen COMMIT.
//! * [`children`]: processes that are started, frozen, continued and killed; [`eventually`].
//! * [`redress_bin`]: the built command, with its crash points.
//!
//! **Invariant:** what a test process started does not outlive it, even when it is killed: a
//! warden of its own ends the server, and the next start sweeps what a killed warden left.
//!
//! **Not here:** mocks. These helpers panic when the surroundings fail, as tests do.

pub mod bank;
pub mod binary;
pub mod children;
mod cluster;
mod database;
pub mod fileset;
pub mod ground;
pub mod lab;
pub mod outside;
pub mod pooler;
pub mod relay;
pub mod secured;
pub mod server;
mod template;
#[cfg(test)]
mod tests;
pub mod vault;
mod warden;
pub mod worker;

pub use bank::Bank;
pub use binary::redress_bin;
pub use children::{Running, eventually};
pub use cluster::{Setup, TestCluster};
pub use database::{TestDatabase, fresh_database, query_text, try_query_text};
pub use lab::Lab;
pub use outside::Depot;
pub use pooler::{Pooler, engine_url};
pub use relay::{Fault, Relay, Trigger};
pub use secured::Secured;
pub use vault::Vault;

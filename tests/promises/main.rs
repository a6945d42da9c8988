//! The promises of Redress, one test each, against a real PostgreSQL.

mod archive;
mod common;
mod compensation;
mod crash;
mod decision;
mod embedding;
mod external;
mod gate;
mod graph;
mod house;
mod keyring;
mod lockfile;
mod phase;
mod release;
mod rewind;
mod rewind_crash;
mod schema;
mod seal;
mod seal_crash;
mod spine;
mod start;
mod state;
mod torture;
mod transfer;
mod waiting;
mod wire;

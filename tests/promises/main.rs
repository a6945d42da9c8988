//! The promises of Redress, one test each, against a real PostgreSQL.

mod common;
mod crash;
mod gate;
mod house;
mod phase;
mod spine;
mod start;
mod torture;
mod wire;

//! A safe practice ground: prepared failures of each kind, for people (`redress drill`) and for the tests of runbooks.
//!
//! **Invariant:** a scene is made by the engine itself, by its own failures, not by writing into its tables; the one
//! exception is a worker that is lost, of which only the claim is made.

mod courier;
mod scene;

pub use scene::{Ground, prepare, repair};

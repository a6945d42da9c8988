//! The example sagas of Redress, as files and as Rust.
//!
//! Each example has a folder with its saga file, its schema and a README; its module hands those out as constants, so
//! that a program or a test needs no path, and builds the same saga with the typed builder.

pub mod cutover;
pub mod release;
pub mod transfer;

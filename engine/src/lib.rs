//! A saga engine for PostgreSQL whose undo can be trusted.

pub mod definition;
pub mod name;
pub mod plan;
pub mod pointer;

//! The promises of Redress, one test each, against a real PostgreSQL.

mod crash;
mod spine;

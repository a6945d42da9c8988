//! The promises of Redress, one test each, against a real PostgreSQL.

mod spine;

//! The redress command: parse, call, print, exit code.

pub mod cluster;

//! The `redress` command as a user meets it: exit status, JSON, errors and files, on a real server.

mod alike;
mod bad_input;
mod bounds;
mod bulk;
mod ceremony;
mod configuring;
mod connecting;
mod docs;
mod doctoring;
mod drilling;
mod everyday;
mod figures;
mod generated;
mod grants;
mod hosts;
mod keys;
mod kit;
mod looking;
mod observing;
mod operating;
mod reaching;
mod rights;
mod runbooks;
mod screens;
mod sealing;
mod secrets;
mod shapes;
#[cfg(feature = "otel")]
mod spans;
mod surroundings;
mod terminal;
mod working;

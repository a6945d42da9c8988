//! What the caller must do about an error: every error of Redress answers with exactly one class.

/// The decision that an error leads to.
///
/// Errors are sorted by what has to happen next and not by where they came from, so that no
/// caller has to know the variants of a module that it does not own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nothing happened and the same attempt may succeed later.
    Retry,
    /// The outcome is unknown and must be resolved before anything else is done.
    InDoubt,
    /// Nothing happened, and the same request will be refused again.
    Refused,
    /// The business said no: the phase failed by its own rules.
    Business,
    /// This run must stop until a person has looked at it.
    Hold,
    /// Nothing in this installation may go on: what is stored cannot be trusted.
    Kill,
}

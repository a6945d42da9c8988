//! Prepares the next root act behind what a keyring knows.

use serde_json::Value;

use crate::act::{Act, Terms};
use crate::decision::DecisionError;
use crate::record::Kind;

use super::Keyring;

impl Keyring {
    /// Describes the next act: it follows the last record of the keys that this keyring has.
    ///
    /// The body comes from [`super::body`]. Whether the act is possible is said by pushing its
    /// record on a clone of the keyring; nothing needs to be stored for that.
    pub fn act(&self, kind: Kind, body: Value, terms: Terms) -> Result<Act, DecisionError> {
        Act::new(kind, self.generation, self.basis, body, terms)
    }
}

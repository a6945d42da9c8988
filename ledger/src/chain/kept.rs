//! Keeps of a sealed run only what a later record could contradict, in less than sixty bytes.

use uuid::Uuid;

use crate::hash::Hash;
use crate::state::State;

use super::{Chain, End};

/// A run that ends in its seal. Bytes and no numbers, so that millions of them lie without gaps.
#[derive(Clone, Copy)]
pub(crate) struct KeptChain {
    count: [u8; 8],
    generation: [u8; 8],
    epoch: [u8; 8],
    head: [u8; 32],
    state: u8,
}

impl Chain {
    /// The short form of a run that ends in its seal; any other run has none.
    pub(crate) fn keep(&self) -> Option<KeptChain> {
        if self.system || !self.end.is_sealed() {
            return None;
        }
        let mut states = State::ALL.into_iter();
        let state = states.position(|state| state == self.end.state)?;
        Some(KeptChain {
            count: self.end.count.to_be_bytes(),
            generation: self.generation.to_be_bytes(),
            epoch: self.epoch.to_be_bytes(),
            head: *self.end.head.as_bytes(),
            state: u8::try_from(state).ok()?,
        })
    }

    /// Takes up a run again that was kept; the origin is that of all its records.
    pub(crate) fn resume(run: Uuid, origin: &str, kept: &KeptChain) -> Chain {
        let count = i64::from_be_bytes(kept.count);
        let state = State::ALL.get(usize::from(kept.state)).copied();
        Chain {
            run,
            origin: origin.to_owned(),
            generation: i64::from_be_bytes(kept.generation),
            epoch: i64::from_be_bytes(kept.epoch),
            system: false,
            // A run that is sealed with an open act was closed by a person; nothing goes forward in it.
            acting: None,
            end: End {
                count,
                head: Hash::from_bytes(kept.head),
                state: state.unwrap_or(State::Running),
                sealed: Some(count),
            },
        }
    }
}

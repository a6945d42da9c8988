//! Decides whose signatures on decisions count: by the reader's file, or by the ledger's own keys.

use uuid::Uuid;

use crate::decision::{Decision, DecisionError};
use crate::envelope::Envelope;
use crate::key::KeyId;
use crate::keyring::Keyring;
use crate::quorum::Signer;
use crate::trust::Trust;
use crate::used::{Use, Used};

/// Whoever knows whose signatures count, and which decisions were used.
pub(crate) trait Judge {
    /// The decision in an envelope and who signed it.
    fn verify(&mut self, envelope: &Envelope) -> Result<(Decision, Vec<Signer>), DecisionError>;

    /// Whether signers can be told at all.
    fn knows_signers(&self) -> bool;

    /// Where a decision was used before.
    fn used(&self, id: Uuid) -> Option<&Use>;

    /// Remembers a decision that was taken into the log.
    fn admit(&mut self, id: Uuid, first: Use, signers: &[Signer]);
}

/// Judges by a file that the reader keeps; without one, decisions are only counted.
pub(crate) struct ByTrust<'t> {
    trust: Option<&'t Trust>,
    used: Used,
    unjudged: u64,
}

impl<'t> ByTrust<'t> {
    pub(crate) fn new(trust: Option<&'t Trust>) -> ByTrust<'t> {
        ByTrust {
            trust,
            used: Used::new(),
            unjudged: 0,
        }
    }

    pub(crate) fn decisions(&self) -> u64 {
        u64::try_from(self.used.len()).unwrap_or(u64::MAX)
    }

    pub(crate) fn unjudged(&self) -> u64 {
        self.unjudged
    }
}

impl Judge for ByTrust<'_> {
    fn verify(&mut self, envelope: &Envelope) -> Result<(Decision, Vec<Signer>), DecisionError> {
        let Some(trust) = self.trust else {
            self.unjudged += 1;
            return Ok((envelope.peek()?, Vec::new()));
        };
        let verified = envelope.verify(trust)?;
        Ok((verified.decision, verified.signers))
    }

    fn knows_signers(&self) -> bool {
        self.trust.is_some()
    }

    fn used(&self, id: Uuid) -> Option<&Use> {
        self.used.get(&id)
    }

    fn admit(&mut self, id: Uuid, first: Use, _: &[Signer]) {
        self.used.insert(id, first);
    }
}

/// Judges by the keys of the ledger, as they stand at the position of a record.
pub(crate) struct ByKeyring<'k> {
    pub(crate) ring: &'k mut Keyring,
    pub(crate) position: u64,
}

impl Judge for ByKeyring<'_> {
    fn verify(&mut self, envelope: &Envelope) -> Result<(Decision, Vec<Signer>), DecisionError> {
        let verified = self.ring.verify(envelope)?;
        Ok((verified.decision, verified.signers))
    }

    fn knows_signers(&self) -> bool {
        true
    }

    fn used(&self, id: Uuid) -> Option<&Use> {
        self.ring.used.get(&id)
    }

    fn admit(&mut self, id: Uuid, first: Use, signers: &[Signer]) {
        self.ring.used.insert(id, first);
        let ids: Vec<KeyId> = signers.iter().map(|one| one.key_id.clone()).collect();
        self.ring.note_signatures(&ids, self.position);
    }
}

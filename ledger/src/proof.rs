//! Decides whether one file shows that a record is in a log (C2SP tlog-proof).
//!
//! The lines are: the format, `extra BASE64` if there is something to add, `index N`, one hash in
//! base64 a line, an empty line, and the signed checkpoint as it was published.
//!
//! **Invariant:** what parses is written back byte for byte. The extra bytes are not authenticated
//! and decide nothing.
//!
//! **Not here:** what the record says. Whoever verifies hashes the record and brings the key.

use base64ct::{Base64, Encoding};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError, Signed, read_decimal, read_hash};
use crate::class::Class;
use crate::hash::Hash;
use crate::key::Vkey;
use crate::note::{NOTE_BYTES_MAX, Note};
use crate::tree::{PROOF_HASHES_MAX, TREE_SIZE_MAX, TreeError, verify_inclusion};

/// The first line.
pub const FORMAT: &str = "c2sp.org/tlog-proof@v1";

/// The most extra bytes.
pub const EXTRA_BYTES_MAX: usize = 64 * 1024;

/// The largest file.
pub const PROOF_BYTES_MAX: usize = 2 * EXTRA_BYTES_MAX + 64 * PROOF_HASHES_MAX + NOTE_BYTES_MAX;

/// A proof that was read, of which nothing was checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Bytes that go with it and that nobody vouches for.
    pub extra: Option<Vec<u8>>,
    /// The place of the record in the log.
    pub index: u64,
    /// The hashes from the leaf's neighbour up to the root's child.
    pub hashes: Vec<Hash>,
    /// The checkpoint as it was published.
    pub checkpoint: Note,
}

impl TlogProof {
    /// Reads a proof.
    pub fn parse(bytes: &[u8]) -> Result<TlogProof, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Utf8)?;
        let mut rest = text;
        let mut next = || -> Result<&str, ProofError> {
            let (line, behind) = rest.split_once('\n').ok_or(ProofError::CutOff)?;
            rest = behind;
            Ok(line)
        };
        if next()? != FORMAT {
            return Err(ProofError::Format);
        }
        let mut line = next()?;
        let mut extra = None;
        if let Some(base64) = line.strip_prefix("extra ") {
            extra = Some(read_extra(base64)?);
            line = next()?;
        }
        let index = line.strip_prefix("index ").and_then(read_decimal);
        let index = index.filter(|index| *index < TREE_SIZE_MAX);
        let index = index.ok_or(ProofError::Index)?;
        let mut hashes = Vec::new();
        loop {
            let line = next()?;
            if line.is_empty() {
                break;
            }
            if hashes.len() == PROOF_HASHES_MAX {
                return Err(ProofError::Hashes);
            }
            hashes.push(read_hash(line).ok_or(ProofError::Hash)?);
        }
        let checkpoint = Note::parse(rest.as_bytes()).map_err(CheckpointError::from)?;
        Ok(TlogProof {
            extra,
            index,
            hashes,
            checkpoint,
        })
    }

    /// Writes the proof; one that could not be read again is refused.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ProofError> {
        if self.index >= TREE_SIZE_MAX {
            return Err(ProofError::Index);
        }
        if self.hashes.len() > PROOF_HASHES_MAX {
            return Err(ProofError::Hashes);
        }
        let mut text = format!("{FORMAT}\n");
        if let Some(extra) = &self.extra {
            if extra.len() > EXTRA_BYTES_MAX {
                return Err(ProofError::Extra);
            }
            text += &format!("extra {}\n", Base64::encode_string(extra));
        }
        text += &format!("index {}\n", self.index);
        for hash in &self.hashes {
            text += &Base64::encode_string(hash.as_bytes());
            text.push('\n');
        }
        text += &format!("\n{}", self.checkpoint);
        Ok(text.into_bytes())
    }

    /// Checks that the log signed the checkpoint and that the leaf is in its tree at this index.
    pub fn verify(&self, leaf: &Hash, log: &Vkey) -> Result<Signed, ProofError> {
        let signed = Checkpoint::verify(&self.checkpoint.to_bytes(), log)?;
        self.verify_in(leaf, signed.checkpoint())?;
        Ok(signed)
    }

    /// Checks that the leaf is in the tree of a checkpoint that was verified before.
    pub fn verify_in(&self, leaf: &Hash, checkpoint: &Checkpoint) -> Result<(), ProofError> {
        let Checkpoint { size, root, .. } = checkpoint;
        verify_inclusion(leaf, self.index, *size, root, &self.hashes)?;
        Ok(())
    }
}

fn read_extra(base64: &str) -> Result<Vec<u8>, ProofError> {
    let extra = Base64::decode_vec(base64).map_err(|_| ProofError::Extra)?;
    if extra.len() > EXTRA_BYTES_MAX {
        return Err(ProofError::Extra);
    }
    Ok(extra)
}

/// Why a proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Larger than [`PROOF_BYTES_MAX`].
    #[error("the proof is too long: {0} bytes")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("the proof is not UTF-8")]
    Utf8,
    /// The file ends before the checkpoint begins.
    #[error("the proof is cut off")]
    CutOff,
    /// Another format, or another version of it.
    #[error("the first line of a proof is {FORMAT}")]
    Format,
    /// Extra bytes that are not base64, or too many.
    #[error("the extra bytes are not base64 or more than {EXTRA_BYTES_MAX}")]
    Extra,
    /// No line `index N`, or a number that no leaf can have.
    #[error("the index of the proof is missing or not a place in a log")]
    Index,
    /// A line that is not 32 bytes in base64.
    #[error("a hash of the proof is not 32 bytes in base64")]
    Hash,
    /// More hashes than the largest tree needs.
    #[error("a proof has at most {PROOF_HASHES_MAX} hashes")]
    Hashes,
    /// The checkpoint is malformed or not signed by the log.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The leaf is not shown to be in the tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl ProofError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            ProofError::TooLong(_)
            | ProofError::Utf8
            | ProofError::CutOff
            | ProofError::Format
            | ProofError::Extra
            | ProofError::Index
            | ProofError::Hash
            | ProofError::Hashes => "RD0658",
            ProofError::Checkpoint(error) => error.code(),
            ProofError::Tree(error) => error.code(),
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            ProofError::TooLong(_)
            | ProofError::Utf8
            | ProofError::CutOff
            | ProofError::Format
            | ProofError::Extra
            | ProofError::Index
            | ProofError::Hash
            | ProofError::Hashes => Class::Refused,
            ProofError::Checkpoint(error) => error.class(),
            ProofError::Tree(error) => error.class(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    use crate::hash::leaf_hash;
    use crate::key::SigningKey;
    use crate::tree::{Frontier, inclusion_proof};
    use proptest::prelude::*;

    const SIZE: u64 = 11;

    fn key() -> SigningKey {
        SigningKey::from_seed("test.redress.example/ledger/gen/1", &[7; 32]).unwrap()
    }

    fn leaf(index: u64) -> Hash {
        leaf_hash(format!("entry {index}").as_bytes())
    }

    fn proof(index: u64, extra: Option<Vec<u8>>) -> TlogProof {
        let (mut tree, mut nodes) = (Frontier::new(), BTreeMap::new());
        for index in 0..SIZE {
            let filled = |node, hash| assert_eq!(nodes.insert(node, hash), None);
            tree.push_with(leaf(index), filled).unwrap();
        }
        let head = Checkpoint {
            origin: key().name().to_owned(),
            size: tree.size(),
            root: tree.root(),
        };
        TlogProof {
            extra,
            index,
            hashes: inclusion_proof(&nodes, index, SIZE).unwrap(),
            checkpoint: head.sign(&key()).unwrap().note().clone(),
        }
    }

    #[test]
    fn a_proof_comes_back_and_holds_for_its_record_only() {
        for extra in [None, Some(Vec::new()), Some(b"age".to_vec())] {
            for index in 0..SIZE {
                let proof = proof(index, extra.clone());
                let bytes = proof.to_bytes().unwrap();
                let read = TlogProof::parse(&bytes).unwrap();
                assert_eq!(read, proof);
                let signed = read.verify(&leaf(index), key().vkey()).unwrap();
                assert_eq!(signed.checkpoint().size, SIZE);
                let other = read.verify(&leaf(index + 1), key().vkey()).unwrap_err();
                assert_eq!(other.code(), "RD0624");
            }
        }
    }

    #[test]
    fn the_lines_are_those_of_the_format() {
        let text = String::from_utf8(proof(3, Some(b"xyz".to_vec())).to_bytes().unwrap()).unwrap();
        let lines: Vec<&str> = text.split('\n').collect();
        assert_eq!(lines[..3], [FORMAT, "extra eHl6", "index 3"]);
        assert!(lines[3..7].iter().all(|line| line.len() == 44));
        assert_eq!(
            lines[7..10],
            ["", "test.redress.example/ledger/gen/1", "11"]
        );
        assert_eq!(text.matches('\n').count(), 13);
    }

    /// F87, F92.
    #[test]
    fn a_proof_by_another_log_or_of_another_place_is_refused() {
        let good = proof(3, None);
        let check = |code: &str, proof: TlogProof| {
            let error = proof.verify(&leaf(3), key().vkey()).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        };
        check(
            "RD0624",
            TlogProof {
                index: 2,
                ..good.clone()
            },
        );
        check(
            "RD0622",
            TlogProof {
                index: 11,
                ..good.clone()
            },
        );
        check(
            "RD0623",
            TlogProof {
                index: 10,
                ..good.clone()
            },
        );
        check(
            "RD0623",
            TlogProof {
                hashes: Vec::new(),
                ..good.clone()
            },
        );
        let other = SigningKey::from_seed("other.example/gen/1", &[9; 32]).unwrap();
        let error = good.verify(&leaf(3), other.vkey()).unwrap_err();
        assert_eq!(error.code(), "RD0643");
        let mut swapped = good.clone();
        swapped.hashes.swap(0, 1);
        check("RD0624", swapped);
    }

    /// F93, F94.
    #[test]
    fn a_file_that_is_not_exactly_a_proof_is_refused() {
        let good = String::from_utf8(proof(3, Some(b"xyz".to_vec())).to_bytes().unwrap()).unwrap();
        let check = |expected: ProofError, text: String| {
            let error = TlogProof::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error, expected, "{text:.200}");
        };
        let replaced = |from: &str, to: &str| good.replacen(from, to, 1);
        check(ProofError::CutOff, String::new());
        check(ProofError::CutOff, FORMAT.to_owned());
        check(ProofError::CutOff, good[..100].to_owned());
        check(ProofError::Format, replaced("@v1", "@v2"));
        check(ProofError::Format, replaced("@v1", "@v1 "));
        check(ProofError::Format, good.replace('\n', "\r\n"));
        check(ProofError::Format, format!("\n{good}"));
        check(ProofError::Extra, replaced("eHl6", "eHl"));
        check(ProofError::Extra, replaced("eHl6", "*"));
        let long = Base64::encode_string(&vec![0; EXTRA_BYTES_MAX + 1]);
        check(ProofError::Extra, replaced("eHl6", &long));
        check(ProofError::Index, replaced("extra eHl6\n", "extra\n"));
        check(
            ProofError::Index,
            replaced("extra eHl6\n", "extra eHl6\nextra eHl6\n"),
        );
        for index in ["", "03", "+3", "-3", " 3", "3 ", "9007199254740991", "x"] {
            check(
                ProofError::Index,
                replaced("index 3", &format!("index {index}")),
            );
        }
        check(ProofError::Index, replaced("index 3\n", ""));
        check(ProofError::Hash, replaced("index 3\n", "index 3\nAAAA\n"));
        check(
            ProofError::Hash,
            replaced("index 3\n", "index 3\nindex 3\n"),
        );
        let hash = Base64::encode_string(&[0; 32]);
        let many = format!("index 3\n{}", format!("{hash}\n").repeat(PROOF_HASHES_MAX));
        check(ProofError::Hashes, replaced("index 3\n", &many));
        let huge = " ".repeat(PROOF_BYTES_MAX + 1);
        check(ProofError::TooLong(huge.len()), huge);
        let unsigned = good[..good.rfind("\n\n").unwrap() + 2].to_owned();
        assert_eq!(
            TlogProof::parse(unsigned.as_bytes()).unwrap_err().code(),
            "RD0639"
        );
        let raw = [good.as_bytes(), b"\xff"].concat();
        assert_eq!(TlogProof::parse(&raw), Err(ProofError::Utf8));
    }

    #[test]
    fn what_would_be_refused_is_not_written() {
        let check = |proof: TlogProof| assert!(proof.to_bytes().is_err());
        let good = proof(3, None);
        check(TlogProof {
            index: TREE_SIZE_MAX,
            ..good.clone()
        });
        check(TlogProof {
            hashes: vec![Hash::ZERO; PROOF_HASHES_MAX + 1],
            ..good.clone()
        });
        check(TlogProof {
            extra: Some(vec![0; EXTRA_BYTES_MAX + 1]),
            ..good
        });
    }

    proptest! {
        /// F81. Any changed bit refuses the file, but for the extra bytes, which decide nothing.
        #[test]
        fn a_changed_byte_is_refused(index in 0..SIZE, at in any::<usize>(), bit in 0..8_u32) {
            let mut bytes = proof(index, None).to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let holds = TlogProof::parse(&bytes)
                .is_ok_and(|proof| proof.verify(&leaf(index), key().vkey()).is_ok());
            prop_assert!(!holds);
        }

        #[test]
        fn what_parses_is_written_back_byte_for_byte(
            extra in "(extra [A-Za-z0-9+/]{0,8}={0,2}\n)?", index in "[0-9+ ]{1,5}",
            hashes in "([A-Za-z]{42}[AEIM]=\n){0,4}"
        ) {
            let note = proof(0, None).checkpoint;
            let text = format!("{FORMAT}\n{extra}index {index}\n{hashes}\n{note}");
            if let Ok(proof) = TlogProof::parse(text.as_bytes()) {
                prop_assert_eq!(proof.to_bytes().unwrap(), text.into_bytes());
            }
        }
    }
}

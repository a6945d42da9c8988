//! Decides what a log says of itself: its origin, its size and its root, signed (C2SP tlog-checkpoint).
//!
//! **Invariant:** a [`Signed`] checkpoint exists only after the log's own key verified over exactly
//! these three lines. Lines that nobody can check against the tree are refused, signed or not.
//!
//! **Not here:** whether the tree of that root holds these records, or continues an earlier one
//! (`tree`), and whether witnesses saw it (`trust`): their lines stay on the note.

use base64ct::{Base64, Encoding};
use thiserror::Error;

use crate::class::Class;
use crate::hash::Hash;
use crate::key::{SigningKey, Vkey, check_name};
use crate::note::{Note, NoteError};
use crate::tree::{TREE_SIZE_MAX, empty_root};

/// The largest checkpoint that a reader of a bundle takes.
pub const CHECKPOINT_BYTES_MAX: usize = 64 * 1024;

/// The head of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: also the name of its key.
    pub origin: String,
    /// How many leaves it has.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

/// A checkpoint that its log signed, with the note that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    checkpoint: Checkpoint,
    note: Note,
}

impl Signed {
    /// What was signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note, with the lines of witnesses.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The exact bytes to publish.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.note.to_bytes()
    }
}

/// The origin of one generation of an installation's log, and the name of its key.
pub fn log_origin(origin: &str, generation: i64) -> String {
    format!("{origin}/gen/{generation}")
}

impl Checkpoint {
    /// Signs the head; the key must be named as the log is.
    pub fn sign(&self, key: &SigningKey) -> Result<Signed, CheckpointError> {
        if key.name() != self.origin {
            return Err(CheckpointError::Key(key.name().to_owned()));
        }
        let text = self.to_text()?;
        let mut note = Note::new(&text)?;
        note.sign(key)?;
        let checkpoint = self.clone();
        Ok(Signed { checkpoint, note })
    }

    /// Reads a published checkpoint and checks that the log with this key signed it.
    pub fn verify(bytes: &[u8], log: &Vkey) -> Result<Signed, CheckpointError> {
        let note = Note::parse(bytes)?;
        note.verify_by(log)?;
        // Read only now: a text that the log did not sign has no meaning.
        let checkpoint = Checkpoint::from_text(note.text())?;
        if checkpoint.origin != log.name() {
            return Err(CheckpointError::OtherOrigin(checkpoint.origin));
        }
        Ok(Signed { checkpoint, note })
    }

    /// Reads what a checkpoint claims without looking at a signature: only to show it, or to find
    /// the key that it needs.
    pub fn peek(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::from_text(Note::parse(bytes)?.text())
    }

    /// Reads a checkpoint and the note that it is, of which no signature was looked at yet.
    pub fn parse(bytes: &[u8]) -> Result<(Checkpoint, Note), CheckpointError> {
        let note = Note::parse_within(bytes, CHECKPOINT_BYTES_MAX)?;
        let checkpoint = Checkpoint::from_text(note.text())?;
        Ok((checkpoint, note))
    }

    /// The three lines that are signed.
    pub fn to_text(&self) -> Result<String, CheckpointError> {
        self.check()?;
        let root = Base64::encode_string(self.root.as_bytes());
        Ok(format!("{}\n{}\n{root}\n", self.origin, self.size))
    }

    /// Reads the three lines.
    pub fn from_text(text: &str) -> Result<Checkpoint, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let lines: Vec<&str> = body.splitn(4, '\n').collect();
        let [origin, size, root] = match lines.as_slice() {
            [origin, size, root] => [*origin, *size, *root],
            [_, _, _, _] => return Err(CheckpointError::Extension),
            _ => return Err(CheckpointError::Lines),
        };
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: read_decimal(size).ok_or(CheckpointError::Size)?,
            root: read_hash(root).ok_or(CheckpointError::Root)?,
        };
        checkpoint.check()?;
        Ok(checkpoint)
    }

    fn check(&self) -> Result<(), CheckpointError> {
        check_name(&self.origin).map_err(|_| CheckpointError::Origin)?;
        if self.size > TREE_SIZE_MAX {
            return Err(CheckpointError::Size);
        }
        if (self.size == 0) != (self.root == empty_root()) {
            return Err(CheckpointError::Empty);
        }
        Ok(())
    }
}

/// The installation and the generation that the origin of a log names.
pub fn split_log_origin(log: &str) -> Option<(&str, i64)> {
    let (origin, generation) = log.rsplit_once("/gen/")?;
    let generation = read_decimal(generation).filter(|number| (1..=TREE_SIZE_MAX).contains(number));
    Some((origin, i64::try_from(generation?).ok()?))
}

/// Reads a decimal number in its one spelling.
pub(crate) fn read_decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?
}

/// Reads a hash in base64, as the formats of C2SP have it.
pub(crate) fn read_hash(text: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    let read = Base64::decode(text, &mut bytes).ok()?;
    Hash::try_from(read).ok()
}

/// Why a checkpoint is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// No note, or not one that the log signed.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Fewer lines than three, or an end without a newline.
    #[error("a checkpoint has three lines: origin, size, root")]
    Lines,
    /// More lines than three.
    #[error("the checkpoint has extension lines, which nothing can be checked against")]
    Extension,
    /// An origin that cannot name a key.
    #[error("the origin of the checkpoint is not a valid name")]
    Origin,
    /// A size that is no number, spelled in a second way, or too large.
    #[error("the size of the checkpoint is not a decimal number up to 2^53-1")]
    Size,
    /// A root that is not 32 bytes in base64.
    #[error("the root of the checkpoint is not 32 bytes in base64")]
    Root,
    /// A tree without leaves under another root than the empty one, or the reverse.
    #[error("the empty tree has one root, and no other tree has it")]
    Empty,
    /// Signed by the known key, for a log of another name.
    #[error("the checkpoint is of another log: {0}")]
    OtherOrigin(String),
    /// To be signed by a key that is named otherwise.
    #[error("a checkpoint is signed by the key of its own log, not by {0}")]
    Key(String),
}

impl CheckpointError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            CheckpointError::Note(error) => error.code(),
            CheckpointError::Lines
            | CheckpointError::Extension
            | CheckpointError::Origin
            | CheckpointError::Size
            | CheckpointError::Root
            | CheckpointError::Empty => "RD0645",
            CheckpointError::OtherOrigin(_) | CheckpointError::Key(_) => "RD0646",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        match self {
            CheckpointError::Note(error) => error.class(),
            CheckpointError::Lines
            | CheckpointError::Extension
            | CheckpointError::Origin
            | CheckpointError::Size
            | CheckpointError::Root
            | CheckpointError::Empty
            | CheckpointError::OtherOrigin(_)
            | CheckpointError::Key(_) => Class::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use proptest::prelude::*;

    const ORIGIN: &str = "test.redress.example/ledger/gen/1";

    fn key() -> SigningKey {
        SigningKey::from_seed(ORIGIN, &[7; 32]).unwrap()
    }

    fn head() -> Checkpoint {
        Checkpoint {
            origin: ORIGIN.to_owned(),
            size: 923_748,
            root: leaf_hash(b"x"),
        }
    }

    /// A note over any text, signed by the log's key.
    fn around(text: &str) -> Vec<u8> {
        let mut note = Note::new(text).unwrap();
        note.sign(&key()).unwrap();
        note.to_bytes()
    }

    #[test]
    fn what_a_log_signed_is_what_is_read() {
        let signed = head().sign(&key()).unwrap();
        let text = String::from_utf8(signed.to_bytes()).unwrap();
        let start = format!("{ORIGIN}\n923748\n");
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(text.lines().count(), 5);
        let read = Checkpoint::verify(text.as_bytes(), key().vkey()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.checkpoint(), &head());
        assert_eq!(Checkpoint::peek(text.as_bytes()).unwrap(), head());
        let origin = "test.redress.example/ledger";
        assert_eq!(log_origin(origin, 1), ORIGIN);
        let nothing = Checkpoint {
            size: 0,
            root: empty_root(),
            ..head()
        };
        let bytes = nothing.sign(&key()).unwrap().to_bytes();
        assert!(Checkpoint::verify(&bytes, key().vkey()).is_ok());
    }

    /// Witnesses may add lines; the log's own is needed.
    #[test]
    fn only_the_key_of_the_log_makes_a_checkpoint() {
        let witness = SigningKey::from_seed("witness.example", &[8; 32]).unwrap();
        let mut note = Note::new(&head().to_text().unwrap()).unwrap();
        note.sign(&witness).unwrap();
        let verify = |note: &Note| Checkpoint::verify(&note.to_bytes(), key().vkey());
        assert_eq!(verify(&note).unwrap_err().code(), "RD0643");
        note.sign(&key()).unwrap();
        assert_eq!(verify(&note).unwrap().note().signatures().len(), 2);
        let other = SigningKey::from_seed(ORIGIN, &[9; 32]).unwrap();
        let error = Checkpoint::verify(&note.to_bytes(), other.vkey()).unwrap_err();
        assert_eq!(error, NoteError::NoKnownKey.into());
        let error = head().sign(&witness).unwrap_err();
        assert_eq!(error, CheckpointError::Key("witness.example".to_owned()));
        // The right key under a name that the text does not have.
        let error = Checkpoint::verify(&note.to_bytes(), witness.vkey()).unwrap_err();
        assert_eq!(error, CheckpointError::OtherOrigin(ORIGIN.to_owned()));
    }

    /// F93, F94. A signature does not make lines a checkpoint.
    #[test]
    fn lines_that_are_no_checkpoint_are_refused_although_they_are_signed() {
        let root = Base64::encode_string(leaf_hash(b"x").as_bytes());
        let empty = Base64::encode_string(empty_root().as_bytes());
        let check = |expected: CheckpointError, text: String| {
            let error = Checkpoint::verify(&around(&text), key().vkey()).unwrap_err();
            assert_eq!(error, expected, "{text}");
        };
        let lines = |size: &str, root: &str| format!("{ORIGIN}\n{size}\n{root}\n");
        check(CheckpointError::Lines, "\n".to_owned());
        check(CheckpointError::Lines, format!("{ORIGIN}\n5\n"));
        check(CheckpointError::Extension, lines("5", &root) + "more\n");
        check(CheckpointError::Extension, lines("5", &root) + "\n");
        check(CheckpointError::Origin, format!("\n5\n{root}\n"));
        check(CheckpointError::Origin, format!("a b\n5\n{root}\n"));
        for size in ["", "05", "+5", "-5", "5 ", " 5", "0x5", "5.0", "٥", "00"] {
            check(CheckpointError::Size, lines(size, &root));
        }
        for size in [
            "9007199254740992",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            check(CheckpointError::Size, lines(size, &root));
        }
        let long = Base64::encode_string(&[0; 33]);
        for root in [
            "",
            "AAAA",
            &long,
            &root[..43],
            &format!("{root}="),
            &format!(" {root}"),
        ] {
            check(CheckpointError::Root, lines("5", root));
        }
        check(CheckpointError::Empty, lines("5", &empty));
        check(CheckpointError::Empty, lines("0", &root));
        check(
            CheckpointError::OtherOrigin("other".to_owned()),
            format!("other\n5\n{root}\n"),
        );
        let largest = lines("9007199254740991", &root);
        assert!(Checkpoint::verify(&around(&largest), key().vkey()).is_ok());
    }

    #[test]
    fn what_would_be_refused_is_not_signed() {
        let check = |head: Checkpoint| assert!(head.to_text().is_err(), "{head:?}");
        check(Checkpoint {
            origin: "a\nb".to_owned(),
            ..head()
        });
        check(Checkpoint {
            size: TREE_SIZE_MAX + 1,
            ..head()
        });
        check(Checkpoint { size: 0, ..head() });
        check(Checkpoint {
            root: empty_root(),
            ..head()
        });
    }

    proptest! {
        #[test]
        fn any_head_comes_back(size in 1..=TREE_SIZE_MAX, root in any::<[u8; 32]>()) {
            let head = Checkpoint { size, root: Hash::from_bytes(root), ..head() };
            let text = head.to_text().unwrap();
            prop_assert_eq!(Checkpoint::from_text(&text).unwrap(), head);
        }

        #[test]
        fn what_parses_has_one_spelling(text in "[a ]{1,2}\n[0-9+]{1,3}\n[AEIMQUYcgkosw048]{43}=\n\n?") {
            if let Ok(head) = Checkpoint::from_text(&text) {
                prop_assert_eq!(head.to_text().unwrap(), text);
            }
        }
    }
}

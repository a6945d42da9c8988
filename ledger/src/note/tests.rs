//! Tries notes: the vector of the specification, each rule on bytes, and keys that are not what they say.

use proptest::prelude::*;

use super::*;
use crate::key::KeyError;
use crate::testing::key;

const TEXT: &str = "a line\n\nand another\n";

fn signed(names: &[&str]) -> Note {
    let mut note = Note::new(TEXT).unwrap();
    names.iter().for_each(|name| note.sign(&key(name)).unwrap());
    note
}

fn vkey(name: &str) -> Vkey {
    key(name).vkey().clone()
}

/// Known answer: the example that Go's note package and the specification's crates carry.
#[test]
fn a_note_of_another_implementation_is_read_and_made_again() {
    let vkey: Vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        .parse()
        .unwrap();
    let text = "If you think cryptography is the answer to your problem,\n\
                then you don't know what your problem is.\n";
    let signature = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2p\
                     ZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let bytes = format!("{text}\n{signature}");
    let note = Note::parse(bytes.as_bytes()).unwrap();
    assert_eq!(note.text(), text);
    assert_eq!(note.verify(std::slice::from_ref(&vkey)).unwrap(), [&vkey]);
    assert_eq!(note.to_bytes(), bytes.as_bytes());
    // Ed25519 is deterministic: their key makes their line here too.
    let seed = Base64::decode_vec("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").unwrap();
    let theirs = SigningKey::from_seed("PeterNeumann", seed[1..].try_into().unwrap()).unwrap();
    let mut again = Note::new(text).unwrap();
    again.sign(&theirs).unwrap();
    assert_eq!(again, note);
}

#[test]
fn witnesses_and_strangers_sign_the_same_note() {
    let mut note = signed(&["alice", "bob", "eve"]);
    let known = [vkey("bob"), vkey("alice"), vkey("carol")];
    assert_eq!(note.verify(&known).unwrap(), [&known[1], &known[0]]);
    assert_eq!(note.verify_by(&known[0]), Ok(()));
    assert_eq!(note.verify_by(&known[2]), Err(NoteError::NoKnownKey));
    assert_eq!(note.verify(&[]), Err(NoteError::NoKnownKey));
    // Of a stranger not even the length of the signature matters.
    note.signatures[2].bytes = vec![1; 5000];
    let read = Note::parse(&note.to_bytes()).unwrap();
    assert_eq!(read, note);
    assert_eq!(read.verify(&known).unwrap().len(), 2);
}

/// F87. A key that is known and did not sign refuses the whole note, whoever else signed it.
#[test]
fn a_forged_line_of_a_known_key_refuses_the_note() {
    let known = [vkey("alice"), vkey("bob")];
    let check = |code: &str, edit: fn(&mut Note)| {
        let mut note = signed(&["alice", "bob"]);
        edit(&mut note);
        assert_eq!(note.verify(&known).unwrap_err().code(), code);
    };
    check("RD0644", |note| note.text.push('\n'));
    check("RD0644", |note| note.signatures[1].bytes[0] ^= 1);
    check("RD0644", |note| note.signatures[1].bytes.truncate(63));
    check("RD0644", |note| note.signatures[1].bytes.push(0));
    check("RD0644", |note| {
        note.signatures[1].key = vkey("alice").id().clone();
        note.signatures.remove(0);
    });
    check("RD0639", |note| {
        note.signatures.push(note.signatures[0].clone());
    });
    // A name alone or a hash alone is nobody.
    check("RD0643", |note| {
        let (alice, bob) = (vkey("alice"), vkey("bob"));
        note.signatures[0].key = KeyId::from_parts("alice", bob.id().hash());
        note.signatures[1].key = KeyId::from_parts("bob", alice.id().hash());
    });
}

/// F89. The identity point verifies what nobody signed, where it is accepted.
#[test]
fn a_weak_key_cannot_be_known() {
    let weak = "weak+00000000+AQEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    assert_eq!(weak.parse::<Vkey>(), Err(KeyError::Weak));
}

/// F94. Each rule on the bytes has its refusal.
#[test]
fn a_note_that_is_not_exactly_one_is_refused() {
    let good = String::from_utf8(signed(&["alice"]).to_bytes()).unwrap();
    let check = |expected: NoteError, bytes: &[u8]| {
        let found = Note::parse(bytes).unwrap_err();
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(found, expected, "{text:.200}");
    };
    let replaced = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    check(NoteError::Unsigned, b"");
    check(NoteError::Unsigned, &TEXT.as_bytes()[..6]);
    check(NoteError::Unsigned, b"text\n\n");
    check(NoteError::NoNewline, good.trim_end().as_bytes());
    check(NoteError::Control, &replaced("\n", "\r\n"));
    check(NoteError::Control, &replaced("line", "li\tne"));
    check(NoteError::Control, &replaced("line", "li\0ne"));
    check(NoteError::Utf8, &[good.as_bytes(), b"\xff"].concat());
    check(NoteError::SignatureLine, &replaced("— ", "- "));
    check(NoteError::SignatureLine, &replaced("— ", "—"));
    check(NoteError::SignatureLine, &replaced("alice", "al+ice"));
    check(NoteError::SignatureLine, &replaced("alice", ""));
    check(NoteError::SignatureLine, &replaced("alice", "al\u{a0}ice"));
    check(
        NoteError::SignatureLine,
        &replaced("alice", &"a".repeat(256)),
    );
    check(NoteError::SignatureLine, &replaced("alice ", "alice  "));
    check(NoteError::SignatureLine, &replaced("alice ", "alice *"));
    check(
        NoteError::SignatureLine,
        b"text\n\n\xe2\x80\x94 a AAAAAA==\n",
    );
    check(
        NoteError::SignatureLine,
        b"text\n\n\xe2\x80\x94 a AAAAAAA\n",
    );
    check(
        NoteError::SignatureLine,
        b"text\n\n\xe2\x80\x94 a AAAAAAB=\n",
    );
    check(NoteError::SignatureLine, format!("{good}more\n").as_bytes());
    let huge = vec![b'\n'; NOTE_BYTES_MAX + 1];
    check(NoteError::TooLong(huge.len()), &huge);
    let line = good.lines().last().unwrap();
    let many = good.clone() + &format!("{line}\n").repeat(NOTE_SIGNATURES_MAX);
    check(NoteError::Signatures, many.as_bytes());
    let long = Base64::encode_string(&vec![0; NOTE_SIGNATURE_BYTES_MAX + 5]);
    let long = format!("text\n\n— a {long}\n");
    check(NoteError::SignatureLine, long.as_bytes());
    assert!(Note::parse(b"text\n\n\xe2\x80\x94 a AAAAAAA=\n").is_ok());
    assert!(
        Note::parse(b"\n\n\xe2\x80\x94 a AAAAAAA=\n").is_ok(),
        "an empty line is a text"
    );
    assert!(Note::parse(b"\n\xe2\x80\x94 a AAAAAAA=\n").is_err());
    assert!(Note::parse_within(&good.clone().into_bytes(), good.len()).is_ok());
    assert!(Note::parse_within(&good.clone().into_bytes(), good.len() - 1).is_err());
}

#[test]
fn what_would_be_refused_is_not_signed() {
    assert_eq!(Note::new("no end"), Err(NoteError::NoNewline));
    assert_eq!(Note::new(""), Err(NoteError::NoNewline));
    assert_eq!(Note::new("a\tb\n"), Err(NoteError::Control));
    let mut note = signed(&["alice"]);
    let twice = note.sign(&key("alice"));
    assert_eq!(
        twice,
        Err(NoteError::SignedTwice(vkey("alice").id().clone()))
    );
}

proptest! {
    #[test]
    fn any_text_comes_back_and_any_changed_byte_is_refused(
        text in "[^\\x00-\\x09\\x0b-\\x1f]{0,60}\n", at in any::<usize>(), bit in 0..8_u32
    ) {
        let mut note = Note::new(&text).unwrap();
        note.sign(&key("alice")).unwrap();
        let mut bytes = note.to_bytes();
        let read = Note::parse(&bytes).unwrap();
        prop_assert_eq!(&read, &note);
        prop_assert_eq!(read.verify_by(&vkey("alice")), Ok(()));
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let holds = Note::parse(&bytes).is_ok_and(|note| note.verify_by(&vkey("alice")).is_ok());
        prop_assert!(!holds);
    }

    #[test]
    fn what_parses_is_written_back_byte_for_byte(text in "(a|\n|— | |b AAAAAAA=|\\+|=){0,14}") {
        if let Ok(note) = Note::parse(text.as_bytes()) {
            prop_assert_eq!(note.to_bytes(), text.into_bytes());
        }
    }
}

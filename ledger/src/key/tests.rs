//! Tries keys and signatures: weak, malleable, malformed.

use super::*;
use proptest::prelude::*;

fn key(name: &str, seed: u8) -> SigningKey {
    SigningKey::from_seed(name, &[seed; 32]).unwrap()
}

/// F89. The eight points of small order and their second spellings.
#[test]
fn a_weak_or_second_spelling_of_a_key_is_refused() {
    let check = |digits: &str, expected: KeyError| {
        let bytes = hex::decode(digits).unwrap();
        assert_eq!(PublicKey::from_bytes(&bytes), Err(expected), "{digits}");
    };
    let ff = "ff".repeat(30);
    for weak in [
        "00".repeat(32),
        format!("{}80", "00".repeat(31)),
        format!("01{}", "00".repeat(31)),
        format!("ec{ff}7f"),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05".into(),
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85".into(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a".into(),
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa".into(),
    ] {
        check(&weak, KeyError::Weak);
    }
    for second in ["ed", "ee", "f0", "ff"] {
        check(&format!("{second}{ff}7f"), KeyError::NotCanonical);
        check(&format!("{second}{ff}ff"), KeyError::NotCanonical);
    }
    check(&format!("02{}", "00".repeat(31)), KeyError::Malformed);
    check("00", KeyError::Malformed);
}

/// F89. S and S + L would both verify without the strict rule.
#[test]
fn a_malleable_signature_is_refused() {
    let alice = key("alice", 1);
    let good = alice.sign(b"m");
    assert_eq!(alice.vkey().key().verify(b"m", &good), Ok(()));
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut second = good;
    let mut carry = 0;
    for (byte, add) in second[32..].iter_mut().zip(hex::decode(order).unwrap()) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    let public = alice.vkey().key();
    assert_eq!(public.verify(b"m", &second), Err(KeyError::Signature));
    assert_eq!(public.verify(b"n", &good), Err(KeyError::Signature));
    assert_eq!(public.verify(b"m", &good[..63]), Err(KeyError::Signature));
}

/// The example key of golang.org/x/mod/sumdb/note.
#[test]
fn a_key_is_written_as_a_signed_note_has_it() {
    let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let vkey: Vkey = text.parse().unwrap();
    assert_eq!(vkey.name(), "PeterNeumann");
    assert_eq!(vkey.id().to_string(), "PeterNeumann+c74f20a3");
    assert_eq!(vkey.to_string(), text);
}

#[test]
fn a_text_that_is_no_key_is_refused() {
    let good = key("alice", 1).vkey().to_string();
    let check = |text: &str, expected: KeyError| {
        assert_eq!(text.parse::<Vkey>().map(|_| ()), Err(expected), "{text}");
    };
    check("", KeyError::Vkey);
    check("alice", KeyError::Vkey);
    check(&good.replacen("alice", "bob", 1), KeyError::Id);
    check(&good.replacen("alice", "a ice", 1), KeyError::Name);
    check(&good.replacen("alice", "", 1), KeyError::Name);
    check(&good.replacen("alice", &"x".repeat(256), 1), KeyError::Name);
    check(&good.replacen("+A", "+B", 1), KeyError::Algorithm);
    check(&good[..good.len() - 1], KeyError::Vkey);
    check(&format!("{good} "), KeyError::Vkey);
    check(&good.replacen('+', "+0", 1), KeyError::Id);
}

#[test]
fn roles_are_read_from_text_and_unknown_ones_refused() {
    for role in Role::ALL {
        assert_eq!(role.as_str().parse(), Ok(role));
    }
    assert!("Sovereign".parse::<Role>().is_err());
    assert!("root".parse::<Role>().is_err());
}

#[test]
fn a_private_key_does_not_show_itself() {
    let shown = format!("{:?}", key("alice", 7));
    assert!(
        shown.starts_with("SigningKey(alice+") && shown.len() == 26,
        "{shown}"
    );
}

proptest! {
    #[test]
    fn what_a_key_signed_verifies_and_nothing_else(
        seed: [u8; 32], message: Vec<u8>, flip in 0..512usize,
    ) {
        let key = SigningKey::from_seed("p", &seed).unwrap();
        let mut signature = key.sign(&message);
        let public = key.vkey().key();
        prop_assert_eq!(public.verify(&message, &signature), Ok(()));
        signature[flip / 8] ^= 1 << (flip % 8);
        prop_assert!(public.verify(&message, &signature).is_err());
        prop_assert_eq!(&key.vkey().to_string().parse::<Vkey>().unwrap(), key.vkey());
    }
}

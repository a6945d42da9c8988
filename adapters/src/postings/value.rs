//! The values of postings: amounts, addresses, assets and keys of metadata, each read strictly.
//!
//! **Invariant:** an amount is a whole number of the asset's smallest unit, written as a string of digits. A JSON number
//! is refused even when it is whole: what wrote it may have rounded it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::PostingsError;

/// The most digits of an amount or a balance, as the columns have it.
const DIGITS_MAX: usize = 38;
/// 10^38: balances stay below it, both ways.
const LIMIT: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;
const ADDRESS_BYTES_MAX: usize = 200;
const KEY_BYTES_MAX: usize = 100;
const TEXT_BYTES_MAX: usize = 4_096;

/// How much is moved: from 1 to 10^38 - 1.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Amount(i128);

impl Amount {
    /// As a number.
    pub const fn get(self) -> i128 {
        self.0
    }
}

impl FromStr for Amount {
    type Err = PostingsError;

    fn from_str(text: &str) -> Result<Self, PostingsError> {
        let plain = !text.is_empty()
            && text.len() <= DIGITS_MAX
            && text.bytes().all(|b| b.is_ascii_digit())
            && !text.starts_with('0');
        match text.parse() {
            Ok(number) if plain => Ok(Self(number)),
            _ => Err(PostingsError::Malformed {
                what: "an amount is a string of 1 to 38 digits, without sign, point or leading zero, and not 0",
                found: shown(text),
            }),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Adds to a balance; `None` past what the columns hold.
pub(super) fn add(balance: i128, by: i128) -> Option<i128> {
    let sum = balance.checked_add(by)?;
    (-LIMIT < sum && sum < LIMIT).then_some(sum)
}

/// Reads a balance as the database writes it.
pub(super) fn balance(text: &str) -> Result<i128, PostingsError> {
    text.parse()
        .map_err(|_| PostingsError::Inconsistent(format!("a balance is no whole number: {text}")))
}

macro_rules! word {
    ($name:ident, $doc:literal, $what:literal, $fits:expr) => {
        #[doc = $doc]
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(String);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = PostingsError;

            fn from_str(text: &str) -> Result<Self, PostingsError> {
                let fits: fn(&str) -> bool = $fits;
                if fits(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(PostingsError::Malformed {
                        what: $what,
                        found: shown(text),
                    })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

word!(
    Address,
    "The name of an account: segments of letters, digits, `_` and `-`, separated by colons.",
    "an account is named by segments of A-Z a-z 0-9 _ - with colons between them, at most 200 bytes",
    is_address
);
word!(
    Asset,
    "What is moved: capital letters, digits and `_`, and after a slash how many decimals its unit has (`EUR/2`).",
    "an asset is A-Z, then A-Z 0-9 _, and perhaps a slash and one or two digits, such as EUR/2",
    is_asset
);
word!(
    Key,
    "The name of something known about an account or a transaction.",
    "a key of metadata is A-Z a-z 0-9 _ - . at most 100 bytes",
    |text| {
        (1..=KEY_BYTES_MAX).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    }
);
word!(
    Words,
    "A reference, a value of metadata, a person: text that can be shown in one piece.",
    "a text here has 1 to 4096 bytes and no control characters",
    |text| { (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) }
);

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Amount, Address, Asset, Key, Words);

fn is_address(text: &str) -> bool {
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    text.len() <= ADDRESS_BYTES_MAX && text.split(':').all(segment)
}

fn is_asset(text: &str) -> bool {
    const NAME_BYTES_MAX: usize = 31;
    let (name, scale) = match text.split_once('/') {
        Some((name, scale)) => (name, Some(scale)),
        None => (text, None),
    };
    let named = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let scaled =
        scale.is_none_or(|s| (1..=2).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit()));
    named && scaled
}

/// A text from outside, short enough and safe to be shown.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let cut: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    cut.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_strings_of_digits_and_nothing_else() {
        for text in ["1", "100", "99999999999999999999999999999999999999"] {
            assert_eq!(text.parse::<Amount>().expect("an amount").to_string(), text);
        }
        for text in [
            "",
            "0",
            "01",
            "-1",
            "+1",
            "1.0",
            "1e3",
            " 1",
            "1 ",
            "१",
            "NaN",
            "100000000000000000000000000000000000000",
        ] {
            assert!(text.parse::<Amount>().is_err(), "{text:?}");
        }
        assert!(serde_json::from_str::<Amount>("5").is_err());
        assert_eq!(serde_json::to_string(&Amount(5)).expect("text"), "\"5\"");
    }

    #[test]
    fn a_balance_never_passes_what_a_column_holds() {
        assert_eq!(add(LIMIT - 2, 1), Some(LIMIT - 1));
        assert_eq!(add(LIMIT - 1, 1), None);
        assert_eq!(add(1 - LIMIT, -1), None);
        assert_eq!(add(i128::MAX, 1), None);
    }

    #[test]
    fn names_are_read_strictly() {
        for text in ["world", "users:42:main", "a_b-c"] {
            assert!(text.parse::<Address>().is_ok(), "{text}");
        }
        for text in [
            "",
            ":",
            "a:",
            ":a",
            "a b",
            "a/b",
            "ä",
            "a*",
            &"a".repeat(201),
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        for text in ["EUR", "EUR/2", "X_1/18"] {
            assert!(text.parse::<Asset>().is_ok(), "{text}");
        }
        for text in ["", "eur", "EUR/", "EUR/2/2", "EUR/123", "1A", "EUR/x"] {
            assert!(text.parse::<Asset>().is_err(), "{text}");
        }
        assert!("a\nb".parse::<Words>().is_err() && "".parse::<Words>().is_err());
        assert!("order.no-1".parse::<Key>().is_ok() && "a b".parse::<Key>().is_err());
    }
}

//! Decides how a length of time is written: a whole number and one unit, `200ms`, `5s`, `2m`, `1h`.
//!
//! **Invariant:** each length has one written form (the largest unit that divides it), so `2000ms`
//! and `2s` give one digest.

use std::fmt;

use serde::{Deserializer, Serializer, de};

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The longest length: what JSON readers keep exactly, far above every limit of a definition.
const MS_MAX: u64 = (1 << 53) - 1;

/// Reads `200ms`, `5s`, `2m` or `1h` as milliseconds.
pub fn parse(text: &str) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if number.len() > 1 && number.starts_with('0') {
        return None;
    }
    let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
    let ms = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (ms <= MS_MAX).then_some(ms)
}

/// Writes milliseconds in the largest unit that divides them.
pub fn format(ms: u64) -> String {
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, factor)| ms != 0 && ms.is_multiple_of(*factor))
        .unwrap_or(("ms", 1));
    format!("{}{unit}", ms / factor)
}

/// For `#[serde(with = "duration")]`.
///
/// # Errors
/// What the serializer says.
pub fn serialize<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*ms))
}

/// For `#[serde(with = "duration")]`.
///
/// # Errors
/// Anything but a whole number and one unit.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_str(DurationText)
}

struct DurationText;

impl de::Visitor<'_> for DurationText {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time with its unit such as `200ms`, `5s`, `2m` or `1h`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written_in_one_form() {
        let cases = [
            ("200ms", 200, "200ms"),
            ("5s", 5_000, "5s"),
            ("30s", 30_000, "30s"),
            ("2m", 120_000, "2m"),
            ("2000ms", 2_000, "2s"),
            ("120s", 120_000, "2m"),
            ("1h", 3_600_000, "1h"),
            ("0s", 0, "0ms"),
        ];
        for (text, ms, written) in cases {
            assert_eq!(parse(text), Some(ms), "{text}");
            assert_eq!(format(ms), written);
            assert_eq!(parse(&format(ms)), Some(ms));
        }
    }

    #[test]
    fn anything_else_is_no_length() {
        let bad = [
            "",
            "5",
            "s",
            "-5s",
            "+5s",
            "5 s",
            " 5s",
            "5s ",
            "5S",
            "1.5s",
            "5d",
            "05s",
            "1e3s",
            "99999999999999999999s",
            "9007199254740992ms",
            "5sec",
            "٥s",
        ];
        for text in bad {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

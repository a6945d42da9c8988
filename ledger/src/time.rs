//! Gives an instant one spelling: RFC 3339, UTC, six digits of microseconds, `Z`.
//!
//! **Invariant:** two texts of this form compare as the instants do, so order needs no parser.

use jiff::Timestamp;

/// The length of every text of this form.
const LEN: usize = "2026-01-31T23:59:59.000000Z".len();

/// Writes an instant; what is finer than a microsecond is cut off.
pub fn format_utc(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// Reads a text of exactly this form; anything else, even if RFC 3339 allows it, is `None`.
pub fn parse_utc(text: &str) -> Option<Timestamp> {
    let shape = text.len() == LEN
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'.',
            26 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    // jiff reads a leap second as the second before it, which would give one instant two names.
    if !shape || &text[17..19] == "60" {
        return None;
    }
    text.parse().ok()
}

/// Whether a text is an instant in any usual form of RFC 3339, with its offset.
pub fn is_instant(text: &str) -> bool {
    !text.contains('[') && text.parse::<Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_has_one_spelling() {
        let check = |text: &str, good: bool| {
            let parsed = parse_utc(text);
            assert_eq!(parsed.is_some(), good, "{text}");
            if let Some(at) = parsed {
                assert_eq!(format_utc(at), text);
            }
        };
        check("2026-01-31T23:59:59.000000Z", true);
        check("1969-12-31T23:59:59.999999Z", true);
        check("2026-01-31T23:59:59Z", false);
        check("2026-01-31T23:59:59.000Z", false);
        check("2026-01-31T23:59:60.000000Z", false);
        check("2026-02-30T00:00:00.000000Z", false);
        check("2026-01-31t23:59:59.000000z", false);
        check("2026-01-31T23:59:59.000000+", false);
        check("２026-01-31T23:59:59.00000Z", false);
        check("", false);
    }
}

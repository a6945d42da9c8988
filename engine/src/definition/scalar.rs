//! Decides what a YAML scalar is: null, a boolean, a whole number or text.
//!
//! **Invariant:** quoted text stays text. A plain scalar that looks like a number but has no exact,
//! single reading (a fraction, `007`, `0x1f`, `+5`, beyond 2^53) is refused, never rounded and
//! never guessed.

use redress_ledger::canonical::INTEGER_MAX;
use serde_json::Value;

use crate::name::shown;

use super::error::Problem;

/// Gives a scalar its value.
pub(super) fn resolve(text: &str, plain: bool) -> Result<Value, Problem> {
    if text.contains('\0') {
        return Err(Problem::Forbidden("text may not hold a NUL"));
    }
    if !plain {
        return Ok(Value::from(text));
    }
    match text {
        "" | "~" | "null" => return Ok(Value::Null),
        "true" => return Ok(Value::Bool(true)),
        "false" => return Ok(Value::Bool(false)),
        _ => {}
    }
    let refuse = |why| {
        let text = shown(text);
        Err(Problem::Number { why, text })
    };
    match look(text) {
        Look::Text => Ok(Value::from(text)),
        Look::Integer => match text.parse::<i64>() {
            Ok(number) if number.unsigned_abs() <= INTEGER_MAX.unsigned_abs() => {
                Ok(Value::from(number))
            }
            _ => refuse("an integer beyond 2^53 is not kept exactly; quote it if it is text"),
        },
        Look::Fraction => refuse(
            "records hold no fractions and exponents; use a whole number of a smaller unit, or quote it if it is text",
        ),
        Look::Ambiguous => refuse(
            "YAML readers disagree on this number; write it in plain decimal, or quote it if it is text",
        ),
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Look {
    Text,
    Integer,
    Fraction,
    Ambiguous,
}

fn look(text: &str) -> Look {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if is_digits(unsigned) {
        let leading_zero = unsigned.len() > 1 && unsigned.starts_with('0');
        return if leading_zero || text.starts_with('+') {
            Look::Ambiguous
        } else {
            Look::Integer
        };
    }
    if is_based(unsigned) {
        return Look::Ambiguous;
    }
    if is_fraction(unsigned) {
        return Look::Fraction;
    }
    Look::Text
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `0x1f` and `0o17` are numbers in YAML 1.2 and text in JSON.
fn is_based(unsigned: &str) -> bool {
    let rest = |prefix| {
        unsigned
            .strip_prefix(prefix)
            .filter(|rest: &&str| !rest.is_empty())
    };
    rest("0x").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || rest("0o").is_some_and(|rest| rest.bytes().all(|byte| matches!(byte, b'0'..=b'7')))
}

/// The floats of YAML 1.2's core schema: `1.5`, `.5`, `1.`, `1e5`, `.inf`, `.nan`.
fn is_fraction(unsigned: &str) -> bool {
    if matches!(
        unsigned,
        ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
    ) {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let exponent_fits = exponent
        .is_none_or(|exponent| is_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)));
    let mantissa_fits = match mantissa.split_once('.') {
        Some((whole, "")) => is_digits(whole),
        Some((whole, part)) => (whole.is_empty() || is_digits(whole)) && is_digits(part),
        None => is_digits(mantissa),
    };
    exponent_fits && mantissa_fits
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// F95: the "Norway" booleans and their friends.
    #[test]
    fn a_plain_scalar_has_one_meaning_or_none() {
        let check = |text: &str, expected: Value| {
            assert_eq!(resolve(text, true), Ok(expected), "{text}");
        };
        for text in [
            "no",
            "NO",
            "No",
            "yes",
            "on",
            "off",
            "y",
            "n",
            "True",
            "TRUE",
            "False",
            "Null",
            "None",
            "200ms",
            "5s",
            "1:30",
            "2024-01-01",
            "1_000",
            "1.2.3",
            "0x",
            "0o9",
            "e5",
            ".",
            "-",
            "+",
            "1e",
            "12a",
            "inf",
            "nan",
            "١",
        ] {
            check(text, json!(text));
        }
        check("true", json!(true));
        check("false", json!(false));
        check("null", Value::Null);
        check("~", Value::Null);
        check("", Value::Null);
        check("0", json!(0));
        check("-0", json!(0));
        check("-7", json!(-7));
        check("9007199254740991", json!(9_007_199_254_740_991_i64));
    }

    #[test]
    fn a_number_that_is_not_exact_is_refused() {
        for text in [
            "1.5",
            "-1.5",
            ".5",
            "1.",
            "1e5",
            "1E+5",
            "1.5e-3",
            ".inf",
            "-.inf",
            ".nan",
            "007",
            "+5",
            "0x1f",
            "0o17",
            "-0x1",
            "9007199254740992",
            "-9007199254740992",
            "99999999999999999999999",
        ] {
            let problem = resolve(text, true).expect_err(text);
            assert_eq!(problem.code(), "RD0109", "{text}");
        }
    }

    #[test]
    fn quoted_text_stays_text() {
        for text in [
            "true",
            "1.5",
            "007",
            "",
            "~",
            "no",
            "99999999999999999999999",
        ] {
            assert_eq!(resolve(text, false), Ok(json!(text)));
        }
        assert!(resolve("a\0b", false).is_err());
    }
}

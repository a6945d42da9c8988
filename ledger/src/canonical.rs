//! Gives every value exactly one byte string: RFC 8785 canonical JSON, narrowed to a safe profile.
//!
//! **Invariant:** `parse_canonical(b)` succeeds only if `to_canonical` of its result is `b` again.
//! Whatever has two spellings (a float, a large integer, a duplicate key) is refused, not rounded.
//!
//! The gate and the writer are one pass, so nothing can be checked in one form and written in
//! another. The writer is our own because the gate leaves only integers, strings and containers;
//! a property test compares it with an independent RFC 8785 implementation.

use std::cmp::Ordering;
use std::fmt;
use std::io::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::class::Class;

/// The largest magnitude of an integer: what every JSON reader keeps exactly.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;

/// The deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 64;

/// Writes a value as canonical bytes, or says what in it has no canonical form.
pub fn to_canonical(value: &Value) -> Result<Vec<u8>, CanonicalError> {
    let mut out = Vec::with_capacity(256);
    write_value(&mut out, value, 0)?;
    Ok(out)
}

/// Reads canonical bytes; any other spelling of the same value is refused.
pub fn parse_canonical(bytes: &[u8]) -> Result<Value, CanonicalError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| CanonicalError::Syntax(error.to_string()))?;
    if to_canonical(&value)? != bytes {
        return Err(CanonicalError::NotCanonical);
    }
    Ok(value)
}

/// Writes one value below `depth` open containers.
pub(crate) fn write_value(
    out: &mut Vec<u8>,
    value: &Value,
    depth: usize,
) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_integer(out, to_integer(number)?)?,
        Value::String(text) => write_string(out, text)?,
        Value::Array(items) => {
            let depth = deeper(depth)?;
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(out, item, depth)?;
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(out, members, deeper(depth)?)?,
    }
    Ok(())
}

fn write_object(
    out: &mut Vec<u8>,
    members: &Map<String, Value>,
    depth: usize,
) -> Result<(), CanonicalError> {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_unstable_by(|a, b| utf16_order(a.0, b.0));
    out.push(b'{');
    for (index, (key, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, key)?;
        out.push(b':');
        write_value(out, value, depth)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a string with the escapes of RFC 8785, which are those of `serde_json`.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) -> Result<(), CanonicalError> {
    // PostgreSQL's text and jsonb hold no NUL: such a value could not be stored beside the record.
    if text.as_bytes().contains(&0) {
        return Err(CanonicalError::Nul);
    }
    serde_json::to_writer(out, text).map_err(|error| CanonicalError::Syntax(error.to_string()))
}

/// Writes an integer within the range of the profile.
pub(crate) fn write_integer(out: &mut Vec<u8>, number: i64) -> Result<(), CanonicalError> {
    if number.unsigned_abs() > INTEGER_MAX.unsigned_abs() {
        return Err(CanonicalError::IntegerRange(number.to_string()));
    }
    write!(out, "{number}").map_err(|error| CanonicalError::Syntax(error.to_string()))
}

fn to_integer(number: &Number) -> Result<i64, CanonicalError> {
    if let Some(integer) = number.as_i64() {
        return Ok(integer);
    }
    if number.is_u64() {
        return Err(CanonicalError::IntegerRange(number.to_string()));
    }
    Err(CanonicalError::Float(number.to_string()))
}

fn deeper(depth: usize) -> Result<usize, CanonicalError> {
    if depth >= DEPTH_MAX {
        return Err(CanonicalError::Depth);
    }
    Ok(depth + 1)
}

/// Orders keys by UTF-16 code units; UTF-8 order differs only where surrogates meet U+E000..U+FFFF.
pub(crate) fn utf16_order(a: &str, b: &str) -> Ordering {
    if a.is_ascii() && b.is_ascii() {
        return a.cmp(b);
    }
    a.encode_utf16().cmp(b.encode_utf16())
}

/// Reads any JSON value and refuses a duplicate key by name.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Err(E::custom(format_args!(
            "{value} is not an integer within 2^53-1"
        )))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = members.next_value_seed(Strict)?;
            if all.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            all.insert(key, value);
        }
        Ok(Value::Object(all))
    }
}

/// Why a value has no canonical form, or why bytes are not one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CanonicalError {
    /// Not JSON, more than one value, a duplicate key, or a number that is no integer.
    #[error("not strict json: {0}")]
    Syntax(String),
    /// JSON, but spelled in another way than the canonical one.
    #[error("the bytes are not the canonical form of their value")]
    NotCanonical,
    /// A number with a fraction or an exponent, or one too large for 64 bits.
    #[error("records hold no floating-point numbers; write it as a string: {0}")]
    Float(String),
    /// An integer that some readers would round.
    #[error("an integer must lie within 2^53-1; write it as a string: {0}")]
    IntegerRange(String),
    /// A text with U+0000.
    #[error("a text contains the character U+0000")]
    Nul,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    Depth,
}

impl CanonicalError {
    /// The stable code of the error.
    pub fn code(&self) -> &'static str {
        match self {
            CanonicalError::Syntax(_) => "RD0601",
            CanonicalError::NotCanonical => "RD0602",
            CanonicalError::Float(_) => "RD0603",
            CanonicalError::IntegerRange(_) => "RD0604",
            CanonicalError::Nul => "RD0605",
            CanonicalError::Depth => "RD0606",
        }
    }

    /// What the caller must do.
    pub fn class(&self) -> Class {
        Class::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// F90. One byte string or a refusal.
    #[test]
    fn a_second_spelling_is_refused() {
        let check = |text: &str, code: Option<&str>| {
            let got = parse_canonical(text.as_bytes()).err();
            assert_eq!(got.map(|error| error.code()), code, "{text}");
        };
        check(r#"{"a":1,"b":[true,false,null,"x"]}"#, None);
        check(
            r#""\b\t\n\f\r\"\\\u001f\u007f é €""#.replace("\\u007f", "\u{7f}").as_str(),
            None,
        );
        check("9007199254740991", None);
        check("-9007199254740991", None);
        check("9007199254740992", Some("RD0604"));
        check("-9007199254740992", Some("RD0604"));
        check("18446744073709551615", Some("RD0604"));
        check("18446744073709551616", Some("RD0601"));
        check("1.0", Some("RD0601"));
        check("1e2", Some("RD0601"));
        check("-0", Some("RD0601"));
        check("01", Some("RD0601"));
        check(r#"{"a":1,"a":1}"#, Some("RD0601"));
        check(r#"{"a":{"b":1,"b":2}}"#, Some("RD0601"));
        check(r#"{"b":1,"a":2}"#, Some("RD0602"));
        check(r#"{"a": 1}"#, Some("RD0602"));
        check("1 ", Some("RD0602"));
        check(r#""\u0041""#, Some("RD0602"));
        check(r#""\/""#, Some("RD0602"));
        check(r#""\u001F""#, Some("RD0602"));
        check(r#""\u0000""#, Some("RD0605"));
        check(r#"{"\u0000":1}"#, Some("RD0605"));
        check(r#""\ud800""#, Some("RD0601"));
        check("1 2", Some("RD0601"));
        check("", Some("RD0601"));
        check("\u{feff}1", Some("RD0601"));
        check("NaN", Some("RD0601"));
        assert!(parse_canonical(b"\"\xff\"").is_err());
    }

    #[test]
    fn duplicate_keys_are_named() {
        let error = parse_canonical(br#"{"a":1,"b":{"k":1,"k":2}}"#).unwrap_err();
        assert!(error.to_string().contains("duplicate key \"k\""), "{error}");
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse_canonical(nested(DEPTH_MAX).as_bytes()).is_ok());
        let deeper = nested(DEPTH_MAX + 1);
        assert_eq!(
            parse_canonical(deeper.as_bytes()),
            Err(CanonicalError::Depth)
        );
        assert!(parse_canonical(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn values_without_a_canonical_form_are_refused() {
        let check = |value: Value, code: &str| {
            assert_eq!(to_canonical(&value).unwrap_err().code(), code, "{value}");
        };
        check(json!(1.0), "RD0603");
        check(json!([0.5]), "RD0603");
        check(json!(INTEGER_MAX + 1), "RD0604");
        check(json!(u64::MAX), "RD0604");
        check(json!({"a": "x\0"}), "RD0605");
    }

    /// Nothing is normalised: two spellings of a letter are two texts.
    #[test]
    fn unicode_is_kept_and_keys_sort_by_utf16() {
        let value = json!({"\u{1f600}": 1, "\u{e000}": 2, "é": 3, "e\u{301}": 4});
        let text = String::from_utf8(to_canonical(&value).unwrap()).unwrap();
        assert_eq!(
            text,
            "{\"e\u{301}\":4,\"é\":3,\"\u{1f600}\":1,\"\u{e000}\":2}"
        );
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = any::<String>().prop_map(|text| text.replace('\0', "\u{1}"));
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-INTEGER_MAX..=INTEGER_MAX).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::hash_map(text.clone(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Our writer and an independent implementation of RFC 8785 give the same bytes.
        #[test]
        fn another_implementation_writes_the_same(value in any_value()) {
            let bytes = to_canonical(&value).unwrap();
            let theirs = serde_json_canonicalizer::to_vec(&value).unwrap();
            prop_assert_eq!(&bytes, &theirs);
            prop_assert_eq!(parse_canonical(&bytes).unwrap(), value);
        }

        #[test]
        fn what_parses_is_written_back_byte_for_byte(text in r#"[\[\]{}",:0-9a-e\\ .-]{0,24}"#) {
            if let Ok(value) = parse_canonical(text.as_bytes()) {
                prop_assert_eq!(to_canonical(&value).unwrap(), text.as_bytes());
            }
        }
    }
}

//! Reads what people hand in: bounded, and strictly.
//!
//! **Invariant:** no more than the limit is read, whatever the file is; a JSON text has one value, no key twice and no
//! number that a record could not keep.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::fail::Fail;

/// The most that an input may have.
pub const INPUT_BYTES_MAX: usize = 8 << 20;

/// Reads at most `bytes_max` bytes of a file.
///
/// # Errors
/// What the system says; a folder is refused.
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    take(File::open(path)?, bytes_max)
}

fn take(reader: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file of at most `bytes_max` bytes.
///
/// # Errors
/// RD0910 when it cannot be read, RD0911 when it is larger.
pub fn read_file(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Fail> {
    let bytes = read_bounded(path, bytes_max + 1).map_err(|error| {
        Fail::own(
            "RD0910",
            format!("cannot read the file: {error}, {}", path.display()),
        )
    })?;
    not_larger(bytes, bytes_max, &path.display())
}

fn not_larger(bytes: Vec<u8>, bytes_max: usize, what: &dyn fmt::Display) -> Result<Vec<u8>, Fail> {
    if bytes.len() > bytes_max {
        let text = format!("larger than {bytes_max} bytes, nothing of it was used: {what}");
        return Err(Fail::own("RD0911", text));
    }
    Ok(bytes)
}

/// The input of a run: JSON itself, `@FILE`, or `@-` for standard input.
///
/// # Errors
/// RD0910, RD0911, RD0912.
pub fn input(text: &str) -> Result<Value, Fail> {
    match text.strip_prefix('@') {
        None => {
            let bytes = not_larger(text.as_bytes().to_vec(), INPUT_BYTES_MAX, &"--input")?;
            strict_json(&bytes, "--input")
        }
        Some("-") => {
            let bytes = take(io::stdin().lock(), INPUT_BYTES_MAX + 1).map_err(|error| {
                Fail::own("RD0910", format!("cannot read standard input: {error}"))
            })?;
            strict_json(
                &not_larger(bytes, INPUT_BYTES_MAX, &"standard input")?,
                "standard input",
            )
        }
        Some(file) => strict_json(&read_file(Path::new(file), INPUT_BYTES_MAX)?, file),
    }
}

/// SQL statements: the text itself, `@FILE`, or `@-` for standard input.
///
/// # Errors
/// RD0910, RD0911 when they cannot be read or are too large; RD0912 when they are not UTF-8 text.
pub fn statements(text: &str) -> Result<String, Fail> {
    let bytes = match text.strip_prefix('@') {
        None => return Ok(text.to_owned()),
        Some("-") => {
            let bytes = take(io::stdin().lock(), INPUT_BYTES_MAX + 1).map_err(|error| {
                Fail::own("RD0910", format!("cannot read standard input: {error}"))
            })?;
            not_larger(bytes, INPUT_BYTES_MAX, &"standard input")?
        }
        Some(file) => read_file(Path::new(file), INPUT_BYTES_MAX)?,
    };
    String::from_utf8(bytes)
        .map_err(|_| Fail::own("RD0912", format!("not UTF-8 text, in {}", &text[1..])))
}

/// One JSON value, strictly.
///
/// # Errors
/// RD0912 with line and column.
pub fn strict_json(bytes: &[u8], what: &str) -> Result<Value, Fail> {
    serde_json::from_slice::<Strict>(bytes)
        .map(|strict| strict.0)
        .map_err(|error| {
            Fail::own(
                "RD0912",
                format!("not a JSON value that can be kept: {error}, in {what}"),
            )
        })
}

/// A JSON value without a key that stands twice and without a number that is no integer.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Strict, E> {
        Ok(Strict(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Strict, E> {
        Ok(Strict(Value::Number(Number::from(value))))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Strict, E> {
        Ok(Strict(Value::Number(Number::from(value))))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Strict, E> {
        Err(E::custom(format_args!(
            "a number with a fraction, an exponent or too many digits cannot be kept exactly, write it as a string: {value}"
        )))
    }

    fn visit_str<E>(self, value: &str) -> Result<Strict, E> {
        Ok(Strict(Value::String(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Strict, E> {
        Ok(Strict(Value::String(value)))
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Strict, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(value)) = parts.next_element()? {
            list.push(value);
        }
        Ok(Strict(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<Strict, A::Error> {
        let mut map = Map::new();
        while let Some(key) = parts.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "a key stands twice: {key:?}"
                )));
            }
            let Strict(value) = parts.next_value()?;
            map.insert(key, value);
        }
        Ok(Strict(Value::Object(map)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_can_be_kept_is_read() {
        let good = strict_json(br#" {"a": [1, -2, null, true, "x"]} "#, "x").unwrap();
        assert_eq!(good, json!({"a": [1, -2, null, true, "x"]}));
        let check = |text: &str, says: &str| {
            let error = strict_json(text.as_bytes(), "x").unwrap_err();
            assert_eq!(error.code(), "RD0912");
            assert!(error.to_string().contains(says), "{error}");
        };
        check(r#"{"a": 1, "a": 2}"#, "twice");
        check(r#"{"a": 1.5}"#, "as a string");
        check(r#"[1e3]"#, "as a string");
        check("[123456789012345678901234567890]", "as a string");
        check("{} {}", "trailing");
        check("", "EOF");
        check("{\n\"a\": }", "line 2");
        check(&"[".repeat(5_000), "recursion");
    }

    #[test]
    fn a_large_file_is_refused_by_its_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_file(&path, 5).unwrap(), b"12345");
        assert_eq!(read_file(&path, 4).unwrap_err().code(), "RD0911");
        assert_eq!(read_file(dir.path(), 4).unwrap_err().code(), "RD0910");
        assert_eq!(
            read_file(Path::new("/dev/zero"), 4).unwrap_err().code(),
            "RD0911"
        );
    }
}

//! Values between JSON and PostgreSQL: parameters go out as text of the type that the server infers, columns come
//! back as bool, int2 and int4 in JSON and everything else as PostgreSQL's text in a string.
//!
//! **Invariant:** no value is ever part of a statement's text.
//!
//! **Not here:** types whose binary form we do not read (arrays, ranges, floats, enums are read as text or refused);
//! the definition's check refuses them with "cast it to text" before a run starts.

use std::error::Error as StdError;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio_postgres::Row;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};
use uuid::Uuid;

/// A value that cannot be bound or kept.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ValueError {
    /// JSON objects and arrays have no text form for this type.
    #[error("an object or array binds only to json, jsonb or an array type, not to {0}")]
    Structure(String),
    /// The column's type cannot be kept in a record.
    #[error("column {column} has type {type_name}, which cannot be kept: cast it to text")]
    Column {
        /// The column's name.
        column: String,
        /// PostgreSQL's name of the type.
        type_name: String,
    },
    /// The bytes were not what the type promises.
    #[error("column {0} cannot be read: {1}")]
    Malformed(String, String),
}

/// Binds a JSON value in text format: the server reads it as whatever type it inferred.
#[derive(Debug)]
pub struct TextParam<'a>(pub &'a Value);

impl ToSql for TextParam<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
            Value::Number(n) => out.extend_from_slice(n.to_string().as_bytes()),
            Value::String(s) => out.extend_from_slice(s.as_bytes()),
            structure if *ty == Type::JSON || *ty == Type::JSONB => {
                out.extend_from_slice(structure.to_string().as_bytes());
            }
            Value::Array(items) if matches!(ty.kind(), Kind::Array(_)) => {
                out.extend_from_slice(array_literal(items)?.as_bytes());
            }
            Value::Array(_) | Value::Object(_) => {
                return Err(Box::new(ValueError::Structure(ty.name().to_owned())));
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    fn to_sql_checked(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.to_sql(ty, out)
    }
}

fn array_literal(items: &[Value]) -> Result<String, ValueError> {
    let mut text = String::from("{");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        match item {
            Value::Null => text.push_str("NULL"),
            Value::Bool(b) => text.push_str(if *b { "true" } else { "false" }),
            Value::Number(n) => text.push_str(&n.to_string()),
            Value::Array(inner) => text.push_str(&array_literal(inner)?),
            Value::Object(_) => quote_into(&mut text, &item.to_string()),
            Value::String(s) => quote_into(&mut text, s),
        }
    }
    text.push('}');
    Ok(text)
}

fn quote_into(text: &mut String, item: &str) {
    text.push('"');
    for c in item.chars() {
        if c == '"' || c == '\\' {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

/// Whether a result column of this type can be kept in a record.
pub fn column_is_kept(ty: &Type) -> bool {
    ty == &Type::VOID || matches!(ty.kind(), Kind::Enum(_)) || KEPT.contains(ty)
}

const KEPT: [Type; 18] = [
    Type::BOOL,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::OID,
    Type::TEXT,
    Type::VARCHAR,
    Type::BPCHAR,
    Type::NAME,
    Type::CHAR,
    Type::UUID,
    Type::NUMERIC,
    Type::TIMESTAMPTZ,
    Type::TIMESTAMP,
    Type::DATE,
    Type::BYTEA,
    Type::JSON,
    Type::JSONB,
];

/// One row as a JSON object, columns by name.
///
/// # Errors
/// [`ValueError::Column`] for a type that cannot be kept.
pub fn row_to_value(row: &Row) -> Result<Value, ValueError> {
    let mut object = Map::with_capacity(row.len());
    for (index, column) in row.columns().iter().enumerate() {
        let name = column.name();
        let raw: Option<Raw<'_>> = row
            .try_get(index)
            .map_err(|error| ValueError::Malformed(name.to_owned(), error.to_string()))?;
        let value = match raw {
            None => Value::Null,
            Some(Raw(bytes)) => read(column.type_(), bytes).map_err(|problem| match problem {
                Problem::Unkept => ValueError::Column {
                    column: name.to_owned(),
                    type_name: column.type_().name().to_owned(),
                },
                Problem::Malformed(text) => ValueError::Malformed(name.to_owned(), text),
            })?,
        };
        object.insert(name.to_owned(), value);
    }
    Ok(Value::Object(object))
}

/// The column's bytes as they came.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

enum Problem {
    Unkept,
    Malformed(String),
}

fn get<'a, T: FromSql<'a>>(ty: &Type, bytes: &'a [u8]) -> Result<T, Problem> {
    T::from_sql(ty, bytes).map_err(|error| Problem::Malformed(error.to_string()))
}

fn read(ty: &Type, bytes: &[u8]) -> Result<Value, Problem> {
    let text = |text: String| Ok(Value::String(text));
    match *ty {
        Type::VOID => Ok(Value::Null),
        Type::BOOL => Ok(Value::Bool(get(ty, bytes)?)),
        Type::INT2 => Ok(Value::from(get::<i16>(ty, bytes)?)),
        Type::INT4 => Ok(Value::from(get::<i32>(ty, bytes)?)),
        Type::INT8 => text(get::<i64>(ty, bytes)?.to_string()),
        Type::OID => text(get::<u32>(ty, bytes)?.to_string()),
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON => text(utf8(bytes)?),
        Type::CHAR => {
            text(get::<i8>(ty, bytes).map(|c| char::from(c.to_ne_bytes()[0]).to_string())?)
        }
        Type::JSONB => text(utf8(bytes.get(1..).unwrap_or_default())?),
        Type::UUID => text(get::<Uuid>(ty, bytes)?.to_string()),
        Type::BYTEA => text(format!("\\x{}", hex::encode(bytes))),
        Type::NUMERIC => {
            text(numeric(bytes).ok_or_else(|| Problem::Malformed("numeric".to_owned()))?)
        }
        Type::TIMESTAMPTZ => {
            text(time(bytes)?.map_or_else(infinity, |t| format!("{}+00", stamp(t))))
        }
        Type::TIMESTAMP => text(time(bytes)?.map_or_else(infinity, stamp)),
        Type::DATE => text(date(bytes)?),
        _ if matches!(ty.kind(), Kind::Enum(_)) => text(utf8(bytes)?),
        _ => match ty.kind() {
            Kind::Domain(base) => read(base, bytes),
            _ => Err(Problem::Unkept),
        },
    }
}

fn utf8(bytes: &[u8]) -> Result<String, Problem> {
    String::from_utf8(bytes.to_vec()).map_err(|error| Problem::Malformed(error.to_string()))
}

fn infinity() -> String {
    "infinity".to_owned()
}

/// Microseconds since 2000-01-01; `None` is an infinity.
fn time(bytes: &[u8]) -> Result<Option<DateTime>, Problem> {
    const EPOCH_2000_US: i64 = 946_684_800_000_000;
    let micros = get::<i64>(&Type::INT8, bytes)?;
    if micros == i64::MAX || micros == i64::MIN {
        return Err(Problem::Malformed(
            "an infinite time cannot be kept: cast it to text".to_owned(),
        ));
    }
    let at = micros
        .checked_add(EPOCH_2000_US)
        .and_then(|us| Timestamp::from_microsecond(us).ok())
        .ok_or_else(|| {
            Problem::Malformed("a time beyond the year 9999: cast it to text".to_owned())
        })?;
    Ok(Some(at.to_zoned(jiff::tz::TimeZone::UTC).datetime()))
}

/// As PostgreSQL writes it with DateStyle ISO: no trailing zeros in the fraction.
fn stamp(at: DateTime) -> String {
    let whole = format!(
        "{} {:02}:{:02}:{:02}",
        at.date(),
        at.hour(),
        at.minute(),
        at.second()
    );
    let micros = at.subsec_nanosecond() / 1000;
    if micros == 0 {
        return whole;
    }
    let fraction = format!("{micros:06}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

fn date(bytes: &[u8]) -> Result<String, Problem> {
    let days = get::<i32>(&Type::INT4, bytes)?;
    Date::constant(2000, 1, 1)
        .checked_add(
            jiff::Span::new()
                .try_days(days)
                .map_err(|e| Problem::Malformed(e.to_string()))?,
        )
        .map(|date| date.to_string())
        .map_err(|_| Problem::Malformed("a date that cannot be kept: cast it to text".to_owned()))
}

/// Reads PostgreSQL's binary numeric (base 10,000 digits) into the text that the server would print.
fn numeric(bytes: &[u8]) -> Option<String> {
    let short = |at: usize| {
        bytes
            .get(at..at + 2)
            .map(|b| u16::from_be_bytes([b[0], b[1]]))
    };
    let count = usize::from(short(0)?);
    let weight = i32::from(short(2)?.cast_signed());
    let sign = short(4)?;
    let scale = usize::from(short(6)?);
    match sign {
        0x0000 | 0x4000 => {}
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    }
    let digit = |index: i32| {
        usize::try_from(index)
            .ok()
            .filter(|i| *i < count)
            .map_or(Some(0), |i| short(8 + 2 * i))
    };
    let mut text = String::new();
    if sign == 0x4000 {
        text.push('-');
    }
    if weight < 0 {
        text.push('0');
    }
    for index in 0..=weight {
        let d = digit(index)?;
        text.push_str(&if index == 0 {
            d.to_string()
        } else {
            format!("{d:04}")
        });
    }
    if scale > 0 {
        let mut fraction = String::new();
        let mut index = weight + 1;
        while fraction.len() < scale {
            fraction.push_str(&if index < 0 {
                "0000".to_owned()
            } else {
                format!("{:04}", digit(index)?)
            });
            index += 1;
        }
        text.push('.');
        text.push_str(&fraction[..scale]);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numeric_is_read_as_the_server_prints_it() {
        let check = |words: &[u16], text: &str| {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            assert_eq!(numeric(&bytes).as_deref(), Some(text));
        };
        check(&[0, 0, 0, 0], "0");
        check(&[1, 0, 0, 2, 12], "12.00");
        check(&[2, 1, 0, 0, 1, 2345], "12345");
        check(&[2, 0, 0x4000, 2, 3, 1400], "-3.14");
        check(&[1, 0xFFFF, 0, 3, 50], "0.005");
        check(&[1, 0xFFFE, 0, 8, 1234], "0.00001234");
        check(&[1, 1, 0, 0, 5], "50000");
        check(&[0, 0, 0xC000, 0], "NaN");
    }

    #[test]
    fn arrays_are_quoted() {
        let items = json!(["a\"b", "c\\d", null, 1, true, ["x"]]);
        let text = array_literal(items.as_array().expect("an array")).expect("no objects");
        assert_eq!(text, r#"{"a\"b","c\\d",NULL,1,true,{"x"}}"#);
    }
}

//! Keeps what a statement returns, in bounded memory: rows up to a limit, or keys folded as they come.
//!
//! **Invariant:** no statement's answer is held as a whole: each row is read, kept in its final form, and dropped.

use std::fmt::Write as _;

use redress::db::row_to_value;
use redress::phase_tx::{PhaseTx, TxError};
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::with::Form;

/// Rows of one statement that are kept as rows.
pub(super) const ROWS_KEPT_MAX: usize = 200_000;
/// Bytes of keys that do not fold.
pub(super) const KEYS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Runs a statement and keeps what it returns: the rows to keep, and how many came.
pub(super) async fn keep(
    tx: &PhaseTx<'_>,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
    form: Form,
) -> Result<(Vec<Value>, u64), TxError> {
    match form {
        Form::Rows => {
            let mut rows = Vec::new();
            let count = tx.each_row(sql, params, |row| {
                if rows.len() >= ROWS_KEPT_MAX {
                    return Err(TxError::TooMuch(format!(
                        "more than {ROWS_KEPT_MAX} rows would be kept: keep their keys with `form: keys`"
                    )));
                }
                rows.push(row_to_value(row)?);
                Ok(())
            });
            let count = count.await?;
            Ok((rows, count))
        }
        Form::Keys => {
            let mut keys = Keys::default();
            let count = tx.each_row(sql, params, |row| keys.take(row)).await?;
            Ok((
                vec![json!({"keys": keys.done(), "count": count.to_string()})],
                count,
            ))
        }
    }
}

/// Whether a column's keys can be folded.
pub(super) fn is_key(column: &Type) -> bool {
    [
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::UUID,
        Type::TEXT,
        Type::VARCHAR,
    ]
    .contains(column)
}

/// Keys as they come.
#[derive(Debug, Default)]
struct Keys {
    text: String,
    /// The range that is still open, both ends in it.
    open: Option<(i64, i64)>,
    plain: bool,
}

impl Keys {
    fn take(&mut self, row: &Row) -> Result<(), TxError> {
        let column = row.columns()[0].type_().clone();
        let number = match column {
            Type::INT2 => row.try_get::<_, Option<i16>>(0)?.map(i64::from),
            Type::INT4 => row.try_get::<_, Option<i32>>(0)?.map(i64::from),
            Type::INT8 => row.try_get::<_, Option<i64>>(0)?,
            Type::UUID => {
                let key = row.try_get::<_, Option<Uuid>>(0)?;
                return self.word(key.map(|key| key.to_string()).as_deref());
            }
            _ => return self.word(row.try_get::<_, Option<&str>>(0)?),
        };
        self.number(number)
    }

    fn number(&mut self, number: Option<i64>) -> Result<(), TxError> {
        let Some(number) = number else {
            return Err(TxError::TooMuch("a key is null".to_owned()));
        };
        match &mut self.open {
            Some((_, last)) if *last == number => {}
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                self.close();
                self.open = Some((number, number));
            }
        }
        self.bounded()
    }

    fn word(&mut self, key: Option<&str>) -> Result<(), TxError> {
        let Some(key) = key else {
            return Err(TxError::TooMuch("a key is null".to_owned()));
        };
        self.plain = true;
        self.comma();
        self.text.push('"');
        for c in key.chars() {
            if matches!(c, '"' | '\\') {
                self.text.push('\\');
            }
            self.text.push(c);
        }
        self.text.push('"');
        self.bounded()
    }

    fn bounded(&self) -> Result<(), TxError> {
        if self.text.len() <= KEYS_BYTES_MAX {
            return Ok(());
        }
        Err(TxError::TooMuch(format!(
            "the keys have more than {KEYS_BYTES_MAX} bytes: order them, or mark the rows in the table"
        )))
    }

    fn comma(&mut self) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
    }

    /// Writes the open range with both its ends in it; the server brings it into its own form.
    fn close(&mut self) {
        if let Some((first, last)) = self.open.take() {
            self.comma();
            // Writing to a string cannot fail.
            let _ = write!(self.text, "[{first},{last}]");
        }
    }

    fn done(mut self) -> String {
        self.close();
        format!("{{{}}}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fold_into_ranges() {
        let fold = |numbers: &[i64]| {
            let mut keys = Keys::default();
            for number in numbers {
                keys.number(Some(*number)).expect("few");
            }
            keys.done()
        };
        assert_eq!(fold(&[]), "{}");
        assert_eq!(fold(&[5]), "{[5,5]}");
        assert_eq!(fold(&[1, 2, 2, 3, 7, 9, 8]), "{[1,3],[7,7],[9,9],[8,8]}");
        assert_eq!(fold(&[i64::MAX]), format!("{{[{0},{0}]}}", i64::MAX));
        assert!(Keys::default().number(None).is_err());
    }

    #[test]
    fn words_are_quoted_as_an_array() {
        let mut keys = Keys::default();
        for word in ["a", "b,c", "d\"e\\"] {
            keys.word(Some(word)).expect("few");
        }
        assert_eq!(keys.done(), "{\"a\",\"b,c\",\"d\\\"e\\\\\"}");
        assert!(Keys::default().word(None).is_err());
    }

    #[test]
    fn keys_that_do_not_fold_are_bounded() {
        let mut keys = Keys::default();
        let refused = (0..i64::MAX)
            .map(|n| n * 2)
            .find(|n| keys.number(Some(*n)).is_err());
        assert!(refused.is_some_and(|n| n > 1_000_000) && keys.text.len() < KEYS_BYTES_MAX + 64);
    }
}

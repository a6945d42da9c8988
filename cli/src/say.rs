//! Output: data on standard output, talk on standard error.
//!
//! **Invariant:** a reader that closes the pipe ends the command quietly; nothing here panics on a write.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use comfy_table::{
    ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle,
};
use serde_json::Value;

use crate::args::{Color, Globals};
use crate::fail::Fail;
use crate::text::{plain, plain_lines};

/// How this command speaks.
#[derive(Clone, Debug)]
pub struct Say {
    json: bool,
    jsonl: bool,
    quiet: bool,
    color: bool,
}

impl Say {
    /// Speaks as the flags say.
    pub fn new(globals: &Globals) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = match globals.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => !no_color && io::stderr().is_terminal(),
        };
        Self {
            json: globals.json,
            jsonl: globals.jsonl,
            quiet: globals.quiet,
            color,
        }
    }

    /// Whether standard output carries JSON.
    pub fn is_json(&self) -> bool {
        self.json || self.jsonl
    }

    /// Whether a stream is written as one JSON value a line.
    pub fn is_jsonl(&self) -> bool {
        self.jsonl
    }

    /// Writes one JSON value: over several lines with `--json`, on one with `--jsonl`.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn value(&self, value: &Value) -> Result<(), Fail> {
        if self.json {
            self.data(format!("{value:#}"))
        } else {
            self.data(value)
        }
    }

    /// Writes lines of data as they are.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn data(&self, line: impl Display) -> Result<(), Fail> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .map_err(closed)
    }

    /// Writes lines for people; what a terminal would act on is escaped.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn line(&self, line: &str) -> Result<(), Fail> {
        self.data(plain_lines(line))
    }

    /// Writes a table: `fixed` columns are never broken, so that ids can be copied.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn table(
        &self,
        header: &[&str],
        fixed: &[usize],
        rows: &[Vec<String>],
    ) -> Result<(), Fail> {
        self.data(table(header, fixed, rows))
    }

    /// Talks to the person at the terminal.
    pub fn notice(&self, text: &str) {
        if !self.quiet {
            self.talk(&format!("redress: {}", plain(text)));
        }
    }

    /// Tells an error.
    pub fn error(&self, code: &str, message: &str) {
        let (on, off) = self.paint("\u{1b}[1;31m");
        self.talk(&format!("{on}error[{code}]{off}: {}", plain(message)));
    }

    /// Tells what goes with an error.
    pub fn hint(&self, word: &str, text: &str) {
        let (on, off) = self.paint("\u{1b}[1m");
        self.talk(&format!("{on}{word}{off}: {}", plain(text)));
    }

    fn paint(&self, on: &'static str) -> (&'static str, &'static str) {
        if self.color {
            (on, "\u{1b}[0m")
        } else {
            ("", "")
        }
    }

    fn talk(&self, text: &str) {
        // Nobody listens any more: what is said on standard error is lost, what is done stands.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

fn closed(error: io::Error) -> Fail {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Fail::ClosedPipe
    } else {
        Fail::own(
            "RD0921",
            format!("standard output cannot be written: {error}"),
        )
    }
}

/// Rows for a list that stands in the last column: one row for each entry, the other cells once.
pub fn spread(cells: &[&str], list: &[String]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for index in 0..list.len().max(1) {
        let first = cells.iter().map(|cell| {
            if index == 0 {
                (*cell).to_owned()
            } else {
                String::new()
            }
        });
        let mut row: Vec<String> = first.collect();
        row.push(list.get(index).cloned().unwrap_or_default());
        rows.push(row);
    }
    rows
}

/// A table as text; it fits the terminal, or `WIDTH` columns where there is none.
pub fn table(header: &[&str], fixed: &[usize], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header.to_vec());
    if table.width().is_none_or(|width| width < WIDTH) {
        table.set_width(WIDTH);
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)).collect::<Vec<_>>());
    }
    for index in fixed {
        if let Some(column) = table.column_mut(*index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

/// A line under the header and nothing else.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction(' '))
    .header_separator(LineStyle::none().fill('─').junction(' '))
    .content_lines(ContentLineStyle::none().junction(' '));
/// The width that every table fits.
const WIDTH: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_eighty_columns_and_ids_stay_whole() {
        let id = "01978f5e-aaaa-7bbb-8ccc-0123456789ab";
        let row = vec![
            id.to_owned(),
            "failed".to_owned(),
            "a long reason ".repeat(12),
        ];
        let text = table(&["run", "state", "reason"], &[0], &[row]);
        assert!(text.lines().any(|line| line.contains(id)), "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= 80),
            "{text}"
        );
    }

    #[test]
    fn an_escape_in_a_cell_is_shown_and_not_sent() {
        let text = table(&["x"], &[], &[vec!["\u{1b}[2Jgone".to_owned()]]);
        assert!(!text.contains('\u{1b}'), "{text}");
    }
}

//! Output: data on standard output, talk on standard error.
//!
//! **Invariant:** a reader that closes the pipe ends the command quietly; nothing here panics on a write.

use std::fmt::Display;
use std::future::poll_fn;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use comfy_table::{
    ColumnConstraint, ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle,
};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::args::{Color, Globals};
use crate::fail::Fail;
use crate::text::{cells, plain, plain_lines};

/// How this command speaks.
#[derive(Clone, Debug)]
pub struct Say {
    json: bool,
    jsonl: bool,
    quiet: bool,
    color: bool,
    /// The terminal moves no cursor.
    dumb: bool,
    /// Columns of the terminal that reads standard output; none in a pipe, where lines stay whole.
    columns: Option<usize>,
    /// Columns of the terminal that reads standard error.
    talk_columns: Option<usize>,
}

impl Say {
    /// Speaks as the flags say.
    pub fn new(globals: &Globals) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        // A terminal that moves no cursor shows neither colours nor progress.
        let dumb = set("TERM").is_some_and(|name| name == "dumb");
        let forced = set("CLICOLOR_FORCE").is_some_and(|value| value != "0");
        let color = match globals.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto if set("NO_COLOR").is_some() => false,
            Color::Auto => forced || (!dumb && io::stderr().is_terminal()),
        };
        Self {
            json: globals.json,
            jsonl: globals.jsonl,
            quiet: globals.quiet,
            color,
            dumb,
            columns: columns_of(io::stdout()),
            talk_columns: columns_of(io::stderr()),
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
        let lines: Vec<String> = plain_lines(line)
            .split('\n')
            .map(|line| wrap(line, self.columns))
            .collect();
        self.data(lines.join("\n"))
    }

    /// Writes a text behind its head; what does not fit a terminal's line goes on below the text.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn item(&self, head: &str, text: &str) -> Result<(), Fail> {
        self.data(hang(head, &plain(text), self.columns))
    }

    /// Writes a command line to copy: where it must be broken, a backslash says so to the shell.
    ///
    /// # Errors
    /// [`Fail`] when standard output cannot be written.
    pub fn command(&self, head: &str, command: &str) -> Result<(), Fail> {
        self.data(continued(head, &plain(command), self.columns))
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
        self.data(table(header, fixed, rows, self.columns))
    }

    /// Talks to the person at the terminal.
    pub fn notice(&self, text: &str) {
        if !self.quiet {
            self.talk(&hang("redress: ", &plain(text), self.talk_columns));
        }
    }

    /// Shows the person at the terminal what is about to be confirmed; it is never left out.
    pub fn tell(&self, head: &str, text: &str) {
        self.talk(&hang(head, &plain(text), self.talk_columns));
    }

    /// Columns that a line of its own making may take: those of the terminal, or 80.
    pub fn width(&self) -> usize {
        self.columns.unwrap_or(WIDTH)
    }

    /// Whether progress is worth showing: somebody looks at a terminal.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.dumb && self.talk_columns.is_some()
    }

    /// Waits for what takes long; on a terminal a line says what is being done, and for how long already.
    pub async fn while_doing<T>(&self, what: &str, work: impl Future<Output = T>) -> T {
        if !self.shows_progress() {
            return work.await;
        }
        let line = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if let Ok(style) = ProgressStyle::with_template("redress: {msg}, {elapsed}") {
            line.set_style(style);
        }
        line.set_message(plain(what));
        let shown = async {
            // What is done at once is not worth a line.
            tokio::time::sleep(PROGRESS_AFTER).await;
            line.set_draw_target(ProgressDrawTarget::stderr());
            line.enable_steady_tick(PROGRESS_TICK);
            std::future::pending::<()>().await;
        };
        let mut shown = std::pin::pin!(shown);
        let mut work = std::pin::pin!(work);
        let done = poll_fn(|cx| {
            // The line never ends by itself; it is only let draw.
            let _ = shown.as_mut().poll(cx);
            work.as_mut().poll(cx)
        })
        .await;
        line.finish_and_clear();
        done
    }

    /// Tells an error.
    pub fn error(&self, code: &str, message: &str) {
        let (on, off) = self.paint("\u{1b}[1;31m");
        let told = hang(
            &format!("error[{code}]: "),
            &plain(message),
            self.talk_columns,
        );
        let rest = told
            .strip_prefix(&format!("error[{code}]"))
            .unwrap_or(&told);
        self.talk(&format!("{on}error[{code}]{off}{rest}"));
    }

    /// Tells what goes with an error.
    pub fn hint(&self, word: &str, text: &str) {
        let (on, off) = self.paint("\u{1b}[1m");
        let told = hang(&format!("{word}: "), &plain(text), self.talk_columns);
        let rest = told.strip_prefix(word).unwrap_or(&told);
        self.talk(&format!("{on}{word}{off}{rest}"));
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

/// A table as text; it fits the terminal, or `WIDTH` columns where there is none. A column that should stay whole is
/// broken all the same, the last one first, where the table would not fit otherwise.
pub fn table(
    header: &[&str],
    fixed: &[usize],
    rows: &[Vec<String>],
    columns: Option<usize>,
) -> String {
    let width = columns.unwrap_or(WIDTH);
    let mut whole = fixed;
    loop {
        let text = arranged(header, whole, rows, width);
        let fits = text.lines().all(|line| cells(line) <= width);
        match whole.split_last() {
            Some((_, fewer)) if !fits => whole = fewer,
            _ if fits => return text,
            // More columns than the terminal has room for.
            _ => {
                let lines: Vec<String> = text.lines().map(|line| wrap(line, Some(width))).collect();
                return lines.join("\n");
            }
        }
    }
}

fn arranged(header: &[&str], whole: &[usize], rows: &[Vec<String>], width: usize) -> String {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX))
        .set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)).collect::<Vec<_>>());
    }
    for index in whole {
        if let Some(column) = table.column_mut(*index) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    table.trim_fmt()
}

fn columns_of(stream: impl IsTerminal + AsFd) -> Option<usize> {
    if !stream.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stream).map(|size| usize::from(size.ws_col));
    Some(match size {
        // A terminal that does not know its size.
        Err(_) | Ok(0) => WIDTH,
        Ok(columns) => columns.max(COLUMNS_MIN),
    })
}

/// Breaks a line; the rest is indented as the line is.
fn wrap(line: &str, columns: Option<usize>) -> String {
    let text = line.trim_start_matches(' ');
    hang(&line[..line.len() - text.len()], text, columns)
}

/// A text behind its head; what does not fit goes on below the text, or a little in where the head leaves no room.
fn hang(head: &str, text: &str, columns: Option<usize>) -> String {
    let line = format!("{head}{text}");
    let Some(columns) = columns else {
        return line;
    };
    if cells(&line) <= columns {
        return line;
    }
    let wide = cells(head);
    if wide > columns / 2 {
        return textwrap::fill(&line, options(columns).subsequent_indent("    "));
    }
    let indent = " ".repeat(wide);
    let options = options(columns)
        .initial_indent(head)
        .subsequent_indent(&indent);
    textwrap::fill(text, options)
}

/// A command line with a backslash wherever it goes on below.
fn continued(head: &str, command: &str, columns: Option<usize>) -> String {
    let line = format!("{head}{command}");
    let Some(columns) = columns else {
        return line;
    };
    if cells(&line) <= columns {
        return line;
    }
    let indent = format!("{}  ", " ".repeat(cells(head)));
    // A word that is longer than a line is not broken: a shell would take it for two.
    let options = options(columns.saturating_sub(2))
        .break_words(false)
        .initial_indent(head)
        .subsequent_indent(&indent);
    textwrap::fill(command, options).replace('\n', " \\\n")
}

/// Breaks at spaces only: an id has hyphens and stays whole.
fn options<'o>(columns: usize) -> textwrap::Options<'o> {
    textwrap::Options::new(columns)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// What takes longer is worth a line.
const PROGRESS_AFTER: Duration = Duration::from_millis(400);
const PROGRESS_TICK: Duration = Duration::from_millis(200);
/// A line under the header and nothing else.
const STYLE: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction(' '))
    .header_separator(LineStyle::none().fill('─').junction(' '))
    .content_lines(ContentLineStyle::none().junction(' '));
/// The width that every table fits where no terminal says another.
const WIDTH: usize = 80;
/// Narrower terminals are written to as if they had this width.
const COLUMNS_MIN: usize = 40;

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
        let text = table(&["run", "state", "reason"], &[0], &[row], None);
        assert!(text.lines().any(|line| line.contains(id)), "{text}");
        assert!(text.lines().all(|line| cells(line) <= 80), "{text}");
    }

    #[test]
    fn a_table_whose_columns_should_all_stay_whole_fits_all_the_same() {
        let wide = "文".repeat(30);
        let row = vec![wide.clone(), "x".repeat(70), wide, "y".repeat(50)];
        for columns in [40, 80, 200] {
            let rows = std::slice::from_ref(&row);
            let text = table(&["a", "b", "c", "d"], &[0, 1, 2, 3], rows, Some(columns));
            let fits = text.lines().all(|line| cells(line) <= columns);
            assert!(fits, "{columns}\n{text}");
        }
    }

    #[test]
    fn an_escape_in_a_cell_is_shown_and_not_sent() {
        let text = table(&["x"], &[], &[vec!["\u{1b}[2Jgone".to_owned()]], None);
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn a_long_text_goes_on_below_itself_and_whole_in_a_pipe() {
        let check = |text: &str, columns: Option<usize>, expected: &str| {
            assert_eq!(hang("  why  ", text, columns), expected);
        };
        check("one two three four", None, "  why  one two three four");
        check(
            "one two three four",
            Some(20),
            "  why  one two three\n       four",
        );
        check(
            "文字文字文字文字",
            Some(15),
            "  why  文字文字\n       文字文字",
        );
        check("", Some(20), "  why  ");
        assert_eq!(wrap("  a bb ccc", Some(6)), "  a bb\n  ccc");
        let told = hang("   1  a-long-head  ", "one two three", Some(16));
        assert_eq!(told, "   1\n    a-long-head\n    one two\n    three");
    }

    #[test]
    fn a_broken_command_can_be_copied() {
        let command = "redress release 01978f5e-aaaa-7bbb-8ccc-0123456789ab --as KEY --reason TEXT";
        let told = continued("    ", command, Some(60));
        assert!(told.lines().all(|line| cells(line) <= 60), "{told}");
        let copied = told.replace(" \\\n", " ");
        let words: Vec<&str> = copied.split_whitespace().collect();
        assert_eq!(words.join(" "), command);
        assert_eq!(continued("    ", command, None), format!("    {command}"));
    }
}

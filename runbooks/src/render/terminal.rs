//! A page for a terminal: no line is wider than 80 columns, and nothing in it acts.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::text::plain;

use super::{Block, Page, Piece, pieces};

pub(super) fn write(page: &Page) -> String {
    let mut out = String::new();
    flow(&mut out, &page.title.to_uppercase(), "", "");
    out.push('\n');
    for (label, text) in &page.facts {
        flow(&mut out, text, &format!("{label:<9} "), &" ".repeat(10));
    }
    for section in &page.sections {
        out.push('\n');
        flow(&mut out, section.heading, "", "");
        out.push_str(&"─".repeat(section.heading.chars().count()));
        out.push('\n');
        blocks(&mut out, &section.blocks, 0);
    }
    out
}

fn blocks(out: &mut String, list: &[Block], indent: usize) {
    let margin = " ".repeat(indent);
    for block in list {
        match block {
            Block::Text(text) => flow(out, &typed(text), &margin, &margin),
            Block::Code(code) => {
                for line in code.lines() {
                    keep(out, line, indent + 2);
                }
            }
            Block::Item { number, head, body } => {
                let mark = match number {
                    Some(number) => format!("{number:>2}. "),
                    None => "  - ".to_owned(),
                };
                let below = " ".repeat(indent + mark.len());
                flow(out, &typed(head), &format!("{margin}{mark}"), &below);
                blocks(out, body, indent + mark.len());
            }
        }
    }
}

/// What is to be typed stands between backticks here as well.
fn typed(text: &str) -> String {
    let parts = pieces(text).into_iter().map(|piece| match piece {
        Piece::Plain(text) => text.to_owned(),
        Piece::Typed(text) => format!("`{text}`"),
    });
    parts.collect()
}

/// Breaks a text between words; a word that is too long is broken where it must be.
fn flow(out: &mut String, text: &str, first: &str, next: &str) {
    let mut line = first.to_owned();
    let mut begun = false;
    let safe = plain(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    for word in safe.split(' ') {
        if begun && line.width() + 1 + word.width() > COLUMNS {
            end(out, &line);
            (line, begun) = (next.to_owned(), false);
        }
        if begun {
            line.push(' ');
        }
        for c in word.chars() {
            if line.width() + c.width().unwrap_or(0) > COLUMNS {
                end(out, &line);
                line = next.to_owned();
            }
            line.push(c);
        }
        begun = true;
    }
    end(out, &line);
}

/// Keeps a line as it is; what is too wide goes on below, further in.
fn keep(out: &mut String, text: &str, indent: usize) {
    let mut line = " ".repeat(indent);
    let safe = plain(&text.replace('\t', "    "));
    let mut rest = safe.as_str();
    while line.width() + rest.width() > COLUMNS {
        let room = COLUMNS.saturating_sub(line.width());
        let at = break_at(rest, room);
        line.push_str(&rest[..at]);
        end(out, &line);
        line = " ".repeat(indent + 4);
        rest = rest[at..].trim_start();
    }
    line.push_str(rest);
    end(out, &line);
}

/// Where a line of that width is broken: after its last blank, else where it is full.
fn break_at(text: &str, room: usize) -> usize {
    let mut width = 0;
    let (mut full, mut blank) = (text.len(), None);
    for (at, c) in text.char_indices() {
        width += c.width().unwrap_or(0);
        if width > room {
            full = at;
            break;
        }
        if c == ' ' && !text[..at].trim().is_empty() {
            blank = Some(at);
        }
    }
    let first = text.chars().next().map_or(0, char::len_utf8);
    blank.unwrap_or(full).max(first)
}

fn end(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

const COLUMNS: usize = 80;

//! A page as CommonMark: every character of a text that means something there is escaped.

use crate::text::plain;

use super::{Block, Page, Piece, pieces};

pub(super) fn write(page: &Page) -> String {
    let mut out = format!("# {}\n\n", inline(&page.title));
    for (label, text) in &page.facts {
        out.push_str(&format!("- **{label}**: {}\n", inline(text)));
    }
    for section in &page.sections {
        out.push_str(&format!("\n## {}\n\n", section.heading));
        blocks(&mut out, &section.blocks, 0);
    }
    out
}

fn blocks(out: &mut String, list: &[Block], indent: usize) {
    let margin = " ".repeat(indent);
    for block in list {
        match block {
            Block::Text(text) => out.push_str(&format!("{margin}{}\n\n", inline(text))),
            Block::Code(code) => {
                let fence = fence(code);
                out.push_str(&format!("{margin}{fence}text\n"));
                for line in code.lines() {
                    let line = plain(&line.replace('\t', "    "));
                    out.push_str(format!("{margin}{line}").trim_end());
                    out.push('\n');
                }
                out.push_str(&format!("{margin}{fence}\n\n"));
            }
            Block::Item { number, head, body } => {
                let mark = match number {
                    Some(number) => format!("{number}. "),
                    None => "- ".to_owned(),
                };
                out.push_str(&format!("{margin}{mark}{}\n", inline(head)));
                if !body.is_empty() {
                    out.push('\n');
                }
                blocks(out, body, indent + mark.len());
            }
        }
    }
    if indent == 0 && matches!(list.last(), Some(Block::Item { .. })) && !out.ends_with("\n\n") {
        out.push('\n');
    }
}

/// A fence that no line of the code can close.
fn fence(code: &str) -> String {
    let longest = code.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

/// A text in one line.
fn inline(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = plain(&text);
    let mut out = String::new();
    for piece in pieces(&text) {
        match piece {
            Piece::Plain(text) => escape(&mut out, text),
            // Backticks cannot stand in it, and nothing else means anything between them.
            Piece::Typed(text) => out.push_str(&format!("`{text}`")),
        }
    }
    out
}

/// Escapes what means something anywhere, what would begin a list or a heading, and what would make an address a link.
fn escape(out: &mut String, text: &str) {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    for (at, c) in text.char_indices() {
        let first =
            at == 0 && out.trim_end().is_empty() | out.ends_with(|c: char| c.is_whitespace());
        let is_marked = match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '!' | '|' | '&' | '~' | '@' => true,
            '-' | '+' | '=' | '#' => first,
            '.' => (digits > 0 && at == digits) || text[..at].to_ascii_lowercase().ends_with("www"),
            ')' => digits > 0 && at == digits,
            ':' => text[at + 1..].starts_with('/'),
            _ => false,
        };
        if is_marked {
            out.push('\\');
        }
        out.push(c);
    }
}

//! Makes the page that people read from the runbook itself: for a terminal, as Markdown, as HTML.
//!
//! **Invariant:** the three say the same, because they are written from one value; nothing of a runbook's text can act in
//! any of them: no escape sequence, no markup, no link.

mod html;
mod markdown;
mod terminal;
mod words;

use redress_ledger::Hash;

use crate::model::Runbook;

/// As what a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal of 80 columns.
    #[default]
    Terminal,
    /// CommonMark.
    Markdown,
    /// One file that needs nothing else.
    Html,
}

/// Renders a runbook.
pub fn render(runbook: &Runbook, digest: &Hash, format: Format) -> String {
    let page = words::page(runbook, digest);
    match format {
        Format::Terminal => terminal::write(&page),
        Format::Markdown => markdown::write(&page),
        Format::Html => html::write(&page),
    }
}

/// A page: what every format writes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    title: String,
    facts: Vec<(&'static str, String)>,
    sections: Vec<Section>,
}

/// A heading and what stands under it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Section {
    heading: &'static str,
    blocks: Vec<Block>,
}

/// A part of a section. In texts, what stands between backticks is shown as it is to be typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Block {
    /// A paragraph.
    Text(String),
    /// Lines that are kept as they are.
    Code(String),
    /// An entry of a list, with what belongs to it.
    Item {
        /// Its number, in a list that has an order.
        number: Option<usize>,
        /// Its first line.
        head: String,
        /// What belongs to it.
        body: Vec<Block>,
    },
}

/// A piece of a text.
enum Piece<'t> {
    Plain(&'t str),
    Typed(&'t str),
}

/// Splits a text at its backticks; one that stays open is text.
fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('`') {
        let Some((typed, after)) = after.split_once('`') else {
            break;
        };
        pieces.push(Piece::Plain(before));
        if !typed.is_empty() {
            pieces.push(Piece::Typed(typed));
        }
        rest = after;
    }
    pieces.push(Piece::Plain(rest));
    pieces
}

#[cfg(test)]
mod tests;

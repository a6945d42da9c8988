//! A page as one HTML file: no script, no link, nothing that is loaded; every text is escaped.

use crate::text::plain;

use super::{Block, Page, Piece, pieces};

pub(super) fn write(page: &Page) -> String {
    let mut out = String::from(HEAD);
    out.push_str(&format!(
        "<title>{}</title>\n{STYLE}</head>\n<body>\n",
        escape(&page.title)
    ));
    out.push_str(&format!("<h1>{}</h1>\n<dl>\n", inline(&page.title)));
    for (label, text) in &page.facts {
        out.push_str(&format!("<dt>{label}</dt><dd>{}</dd>\n", inline(text)));
    }
    out.push_str("</dl>\n");
    for section in &page.sections {
        out.push_str(&format!("<h2>{}</h2>\n", section.heading));
        blocks(&mut out, &section.blocks);
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn blocks(out: &mut String, list: &[Block]) {
    let mut open: Option<&str> = None;
    for block in list {
        let wanted = match block {
            Block::Item {
                number: Some(_), ..
            } => Some("ol"),
            Block::Item { number: None, .. } => Some("ul"),
            _ => None,
        };
        if open != wanted {
            if let Some(tag) = open {
                out.push_str(&format!("</{tag}>\n"));
            }
            if let Some(tag) = wanted {
                out.push_str(&format!("<{tag}>\n"));
            }
            open = wanted;
        }
        match block {
            Block::Text(text) => out.push_str(&format!("<p>{}</p>\n", inline(text))),
            Block::Code(code) => out.push_str(&format!("<pre>{}</pre>\n", escape_lines(code))),
            Block::Item { head, body, .. } => {
                out.push_str(&format!("<li><p>{}</p>\n", inline(head)));
                blocks(out, body);
                out.push_str("</li>\n");
            }
        }
    }
    if let Some(tag) = open {
        out.push_str(&format!("</{tag}>\n"));
    }
}

fn inline(text: &str) -> String {
    let parts = pieces(text).into_iter().map(|piece| match piece {
        Piece::Plain(text) => escape(text),
        Piece::Typed(text) => format!("<code>{}</code>", escape(text)),
    });
    parts.collect()
}

fn escape_lines(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| escape(&line.replace('\t', "    ")))
        .collect();
    lines.join("\n")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width\">\n";
const STYLE: &str = "<style>\nbody{font:16px/1.5 system-ui,sans-serif;max-width:48rem;margin:2rem auto;padding:0 1rem}\n\
pre{background:#f4f4f4;padding:.6rem;overflow-x:auto;white-space:pre-wrap}\ncode,pre{font-family:ui-monospace,monospace;font-size:.9em}\n\
dt{font-weight:bold;float:left;clear:left;width:6rem}\ndd{margin-left:7rem;overflow-wrap:anywhere}\nli>p{margin:.3rem 0}\n\
@media print{body{margin:0;max-width:none}}\n</style>\n";

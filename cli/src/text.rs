//! Makes texts that somebody else wrote safe to show on a terminal.

/// Escapes control characters and characters that hide or reorder text; everything else stays.
pub fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Escapes like [`plain`], but keeps line ends.
pub fn plain_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

/// A text of at most `max` characters, escaped.
pub fn short(text: &str, max: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= max {
        return text;
    }
    let mut cut: String = text.chars().take(max.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The last eight characters of an id: of a time-ordered id the part that differs between neighbours.
pub fn short_id(id: uuid::Uuid) -> String {
    let text = id.to_string();
    text[text.len() - SHORT_ID_CHARS..].to_owned()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

const SHORT_ID_CHARS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        let check = |text: &str, shown: &str| assert_eq!(plain(text), shown);
        check("a \"plain\" café 文", "a \"plain\" café 文");
        check("red \u{1b}[31m", "red \\u{1b}[31m");
        check("two\nlines\r", "two\\nlines\\r");
        check("\u{202e}fdp.exe", "\\u{202e}fdp.exe");
        assert_eq!(plain_lines("two\nlines\u{7}"), "two\nlines\\u{7}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short("ééééé", 4), "ééé…");
        assert_eq!(short("éé", 4), "éé");
    }
}

//! Makes texts that somebody else wrote safe to show on a terminal.

pub use redress_runbooks::text::{plain, plain_lines};

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

/// Cells that a text takes on a terminal.
pub fn cells(text: &str) -> usize {
    textwrap::core::display_width(text)
}

/// A text of at most so many cells of a terminal, escaped.
pub fn fit(text: &str, max: usize) -> String {
    let text = plain(text);
    if cells(&text) <= max {
        return text;
    }
    let mut cut = String::new();
    let mut left = max.saturating_sub(1);
    for c in text.chars() {
        let width = cells(c.encode_utf8(&mut [0; 4]));
        if width > left {
            break;
        }
        left -= width;
        cut.push(c);
    }
    cut.push('…');
    cut
}

/// The last eight characters of an id: of a time-ordered id the part that differs between neighbours.
pub fn short_id(id: uuid::Uuid) -> String {
    let text = id.to_string();
    text[text.len() - SHORT_ID_CHARS..].to_owned()
}

/// A time of the ledger in this machine's zone.
pub fn local(utc: &str) -> String {
    utc.parse::<jiff::Timestamp>().map_or_else(
        |_| plain(utc),
        |at| {
            at.to_zoned(jiff::tz::TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %Z")
                .to_string()
        },
    )
}

/// How long ago a time of the ledger is, by this machine's clock.
pub fn age(utc: &str) -> Option<String> {
    let at = utc.parse::<jiff::Timestamp>().ok()?;
    let seconds = jiff::Timestamp::now().duration_since(at).as_secs();
    // Clocks of two machines differ: what is in the future happened just now.
    Some(span(u64::try_from(seconds).unwrap_or(0)))
}

/// A length of time in its two largest units.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
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
        check("❤\u{fe0f}\u{61c}", "❤\\u{fe0f}\\u{61c}");
        assert_eq!(plain_lines("two\nlines\u{7}"), "two\nlines\\u{7}");
    }

    #[test]
    fn a_length_of_time_has_its_two_largest_units() {
        let check = |seconds: u64, text: &str| assert_eq!(span(seconds), text);
        check(0, "0 s");
        check(59, "59 s");
        check(60, "1 min");
        check(3_599, "59 min");
        check(3 * 3_600 + 12 * 60 + 5, "3 h 12 min");
        check(86_400, "1 d 0 h");
        check(90 * 86_400 + 3_600, "90 d 1 h");
        assert_eq!(age("9999-01-01T00:00:00Z").as_deref(), Some("0 s"));
        assert_eq!(age("not a time"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(short("ééééé", 4), "ééé…");
        assert_eq!(short("éé", 4), "éé");
        assert_eq!(fit("文字文字", 8), "文字文字");
        assert_eq!(fit("文字文字", 7), "文字文…");
        assert_eq!(fit("文字文字", 6), "文字…");
        assert_eq!(fit("a\u{1b}b", 20), "a\\u{1b}b");
    }
}

//! Makes texts of a runbook safe to show, wherever they are shown.
//!
//! **Invariant:** what leaves here has no control character but the line's end, and nothing that reorders or hides text.

pub use redress::name::{is_invisible, tame as plain};

/// Escapes like [`plain`], but keeps line ends.
pub fn plain_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

/// A text from outside for a message: escaped, and cut where it is long.
pub fn quoted(text: &str) -> String {
    let mut cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("`{}`", plain(&cut))
}

/// Why a text may not be shown to people; `lines`: it may have several lines.
pub fn unsafe_character(text: &str, lines: bool) -> Option<char> {
    text.chars().find(|c| match c {
        '\n' | '\t' => !lines,
        c => c.is_control() || is_invisible(*c),
    })
}

/// The known name that is nearest to one that is not known, if any is near.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    if name.len() > NEAREST_BYTES_MAX {
        return None;
    }
    let far = (name.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|one| (strsim::osa_distance(name, one), one))
        .filter(|(distance, _)| *distance <= far)
        .min()
        .map(|(_, one)| one.to_owned())
}

const QUOTED_CHARS_MAX: usize = 80;
/// Nothing longer is compared: the time grows with the square.
const NEAREST_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_escaped() {
        assert_eq!(plain("a\u{1b}[2J\u{202e}b"), "a\\u{1b}[2J\\u{202e}b");
        assert_eq!(plain_lines("a\nb\u{7}"), "a\nb\\u{7}");
        assert_eq!(unsafe_character("a\nb", true), None);
        assert_eq!(unsafe_character("a\nb", false), Some('\n'));
        assert_eq!(unsafe_character("a\u{e0041}b", true), Some('\u{e0041}'));
    }

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["compensate", "resume", "resolve"];
        assert_eq!(nearest("compensat", known), Some("compensate".into()));
        assert_eq!(nearest("reslove", known), Some("resolve".into()));
        assert_eq!(nearest("shell", known), None);
        assert_eq!(nearest(&"x".repeat(10_000), known), None);
    }
}

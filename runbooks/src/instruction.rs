//! Tells what a person reads in an instruction from what they type.
//!
//! **Invariant:** prose may be flowed to any width; what is typed keeps its line.
//! **What can go wrong:** nothing; every text has parts.
//! **Not here:** how wide a line may be: the pages and the command know.

/// A part of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Sentences: the file's line ends in it mean nothing.
    Prose(String),
    /// A line as it stands: a command, mostly.
    Typed(String),
}

/// The parts of an instruction, in order.
///
/// A line is typed when it is indented, has a column of its own, or begins with the command's name where no
/// sentence is under way.
pub fn parts(text: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let flat = line.trim();
        if flat.is_empty() {
            open = false;
            continue;
        }
        let indented = line.starts_with(char::is_whitespace);
        if indented || flat.contains("   ") || (flat.starts_with("redress ") && !open) {
            parts.push(Part::Typed(flat.to_owned()));
            open = false;
            continue;
        }
        let ended = flat.ends_with(['.', ':']);
        match parts.last_mut() {
            Some(Part::Prose(said)) => {
                said.push(' ');
                said.push_str(flat);
            }
            _ => parts.push(Part::Prose(flat.to_owned())),
        }
        open = !ended;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prose_is_one_and_commands_keep_their_lines() {
        let prose = |text: &str| Part::Prose(text.to_owned());
        let typed = |text: &str| Part::Typed(text.to_owned());
        let text = "Read why it\nis stuck:\n   redress show RUN    the error\nIf records (redress check,\nredress audit verify) differ, stop.\nredress holds";
        assert_eq!(
            parts(text),
            [
                prose("Read why it is stuck:"),
                typed("redress show RUN    the error"),
                prose("If records (redress check, redress audit verify) differ, stop."),
                typed("redress holds"),
            ]
        );
        assert_eq!(parts(""), []);
    }
}

//! Reads a page as its reader does: which files to save, which commands to type, what they are said to print.
//!
//! * ```` ```sh ````: commands, typed one after the other.
//! * ```` ```console ````: commands behind `$ `, and below each what it prints. `…` stands for any text, and alone on a
//!   line for any lines. Nothing below a command means that the page does not say.
//! * A block below a sentence with ``Save as `NAME` `` is that file.
//! * A block below a sentence with "Not tried by the tests" is left alone, and counted.
//! * `# exit N` at the end of a command says its status; without it that is 0.

use std::process::{Command, Stdio};

/// Something that a page asks its reader to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a file.
    Save { name: String, text: String },
    /// Types a command.
    Type {
        command: String,
        exit: i32,
        prints: Vec<String>,
    },
    /// What cannot be done in a test; the first line of it.
    Untried(String),
}

/// A step and the line of the page on which it begins.
pub type Placed = (usize, Step);

/// Everything that a page asks for, in its order.
pub fn steps(page: &str) -> Vec<Placed> {
    blocks(page).into_iter().flat_map(Block::steps).collect()
}

/// Every command line of `redress` that a page shows and does not ask for: in plain blocks, where its words end at two
/// blanks, and between back quotes; each with its line.
pub fn shown(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<bool> = None;
    for (at, line) in page.lines().enumerate() {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            fence = match fence {
                None => Some(info.trim().is_empty()),
                Some(_) => None,
            };
            continue;
        }
        let texts: Vec<&str> = match fence {
            Some(true) => vec![line.trim().trim_start_matches("$ ")],
            Some(false) => Vec::new(),
            None => line.split('`').skip(1).step_by(2).collect(),
        };
        for text in texts {
            let words = text.split("  ").next().unwrap_or_default();
            if words.starts_with("redress ") {
                found.push((at + 1, words.to_owned()));
            }
        }
    }
    found
}

struct Block {
    line: usize,
    lang: String,
    before: String,
    text: String,
}

impl Block {
    fn steps(self) -> Vec<Placed> {
        let runs = matches!(self.lang.as_str(), "sh" | "console");
        if self.before.contains("Not tried by the tests") {
            let first = self.text.lines().next().unwrap_or_default();
            return vec![(self.line, Step::Untried(first.to_owned()))];
        }
        if let Some(name) = saved_as(&self.before) {
            let (name, text) = (name.to_owned(), self.text);
            return vec![(self.line, Step::Save { name, text })];
        }
        match runs {
            true => typed(&self.text, self.line + 1, self.lang == "console"),
            false => Vec::new(),
        }
    }
}

/// The name between back quotes behind "Save as".
fn saved_as(before: &str) -> Option<&str> {
    let (_, behind) = before.rsplit_once("ave as `")?;
    behind.split_once('`').map(|(name, _)| name)
}

/// The fenced blocks, each with the paragraph above it.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut paragraph = String::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let bare = line.trim_start();
        let Some(info) = bare.strip_prefix("```") else {
            // A blank line ends a paragraph, unless the block follows it.
            if bare.is_empty() {
                paragraph.push('\n');
            } else {
                if paragraph.ends_with('\n') {
                    paragraph.clear();
                }
                paragraph.push_str(bare);
                paragraph.push(' ');
            }
            continue;
        };
        let indent = line.len() - bare.len();
        let mut text = String::new();
        for (_, line) in lines.by_ref() {
            if line.trim_start().starts_with("```") {
                break;
            }
            text.push_str(line.get(indent..).unwrap_or_default());
            text.push('\n');
        }
        let lang = info.split([' ', ',']).next().unwrap_or_default().to_owned();
        let before = std::mem::take(&mut paragraph);
        blocks.push(Block {
            line: at + 1,
            lang,
            before,
            text,
        });
    }
    blocks
}

/// The commands of a block.
fn typed(text: &str, first: usize, console: bool) -> Vec<Placed> {
    let mut steps: Vec<Placed> = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let begins = match console {
            true => line.strip_prefix("$ "),
            false => Some(line),
        };
        let Some(begins) = begins else {
            match steps.last_mut() {
                Some((_, Step::Type { prints, .. })) => prints.push(line.to_owned()),
                _ => panic!(
                    "line {}: printed before anything was typed: {line}",
                    first + at
                ),
            }
            continue;
        };
        if begins.trim().is_empty() || begins.trim_start().starts_with('#') {
            continue;
        }
        let mut command = begins.to_owned();
        while !is_whole(&command) {
            let (_, more) = lines.next().unwrap_or_else(|| {
                panic!("line {}: the command has no end: {command}", first + at)
            });
            command.push('\n');
            command.push_str(more);
        }
        let exit = exit_of(&command);
        steps.push((
            first + at,
            Step::Type {
                command,
                exit,
                prints: Vec::new(),
            },
        ));
    }
    steps
}

/// The status that a command is said to end with.
fn exit_of(command: &str) -> i32 {
    let said = command.rsplit_once("# exit ").map(|(_, behind)| behind);
    let digits = said.map(|said| said.split(|c: char| !c.is_ascii_digit()).next());
    digits
        .flatten()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// Whether the shell has all of a command.
fn is_whole(command: &str) -> bool {
    if command.ends_with('\\') {
        return false;
    }
    let output = Command::new("bash")
        .args(["-n", "-c", command])
        .stdin(Stdio::null())
        .output()
        .expect("bash runs");
    output.status.success() && output.stderr.is_empty()
}

/// Whether what was printed is what a page shows.
pub fn is_shown(printed: &str, shown: &[String]) -> bool {
    let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let shown: Vec<&str> = shown.iter().map(|line| line.trim_end()).collect();
    fits(&lines, &shown)
}

fn fits(lines: &[&str], shown: &[&str]) -> bool {
    match shown {
        [] => lines.is_empty(),
        [first, rest @ ..] if first.trim() == "…" => {
            (0..=lines.len()).any(|skipped| fits(&lines[skipped..], rest))
        }
        [first, rest @ ..] => lines
            .split_first()
            .is_some_and(|(line, others)| line_fits(line, first) && fits(others, rest)),
    }
}

fn line_fits(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut left) = parts.next().and_then(|first| line.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return left.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(at) = left.find(part) else {
            return false;
        };
        left = &left[at + part.len()..];
    }
    true
}

#[test]
fn a_page_is_read_as_its_reader_would() {
    let page = "Save as `a.yaml`:\n\n```yaml\nx: 1\n```\n\nThen, as a note.\n\n```console\n$ redress a \\\n    b   # exit 3: held\nheld …\n…\n$ x\n```\nNot tried by the tests: root.\n```sh\napt x\n```\n```\nredress z\n```\n";
    let typed = |command: &str, exit, prints: &[&str]| Step::Type {
        command: command.to_owned(),
        exit,
        prints: prints.iter().map(|line| (*line).to_owned()).collect(),
    };
    let save = Step::Save {
        name: "a.yaml".to_owned(),
        text: "x: 1\n".to_owned(),
    };
    let expected = vec![
        (3, save),
        (
            10,
            typed("redress a \\\n    b   # exit 3: held", 3, &["held …", "…"]),
        ),
        (14, typed("x", 0, &[])),
        (17, Step::Untried("apt x".to_owned())),
    ];
    assert_eq!(steps(page), expected);
    assert_eq!(shown(page), [(21, "redress z".to_owned())]);
}

#[test]
fn what_is_shown_may_leave_text_and_lines_out_and_nothing_else() {
    let check = |printed: &str, shown: &[&str], fits: bool| {
        let lines: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        assert_eq!(is_shown(printed, &lines), fits, "{printed:?} {shown:?}");
    };
    check("run 123 held\n", &["run … held"], true);
    check("run 123 held\n", &["run … done"], false);
    check("a\nb\nc\n", &["a", "…", "c"], true);
    check("a\nb\nc\n", &["a", "…"], true);
    check("a\nb\nc\n", &["a", "c"], false);
    check("a\nb\n", &["a"], false);
    check("a 1 b 2 c\n", &["a … b … c"], true);
    check("a 1 b\n", &["a … b … c"], false);
    check("", &["a"], false);
}

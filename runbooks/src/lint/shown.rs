//! Texts that people read: bounded, and without characters that act, hide or reorder.

use serde_json::Value;

use crate::error::Problem;
use crate::text::unsafe_character;

use super::Judge;

impl Judge<'_> {
    pub(super) fn shown(&mut self) {
        let book = self.runbook;
        if let Ok(tree) = serde_json::to_value(book) {
            self.texts("", &tree, false);
        }
        self.text("/title", &book.title, 1, TITLE_CHARS_MAX);
        self.text("/owner", &book.owner, 1, LINE_CHARS_MAX);
        self.text("/summary", &book.summary, 0, LONG_CHARS_MAX);
        for (at, name) in book.environments.iter().enumerate() {
            self.text(&format!("/environments/{at}"), name, 1, LINE_CHARS_MAX * 3);
        }
        for (name, param) in &book.params {
            self.text(
                &format!("/params/{name}/about"),
                &param.about,
                0,
                WHY_CHARS_MAX,
            );
        }
        for (list, checks) in [("checks", &book.checks), ("after", &book.after)] {
            for (at, check) in checks.iter().enumerate() {
                self.text(&format!("/{list}/{at}/why"), &check.why, 1, WHY_CHARS_MAX);
            }
        }
        for (at, step) in book.steps.iter().enumerate() {
            let path = format!("/steps/{at}");
            self.text(&format!("{path}/why"), &step.why, 0, WHY_CHARS_MAX);
            if let Some(manual) = &step.manual {
                let path = format!("{path}/manual");
                self.text(
                    &format!("{path}/instruction"),
                    &manual.instruction,
                    1,
                    LONG_CHARS_MAX,
                );
                for (name, what) in &manual.evidence {
                    self.text(&format!("{path}/evidence/{name}"), what, 1, WHY_CHARS_MAX);
                }
            }
        }
        for (at, test) in book.tests.iter().enumerate() {
            self.text(
                &format!("/tests/{at}/name"),
                &test.name,
                1,
                TITLE_CHARS_MAX * 2,
            );
        }
    }

    fn text(&mut self, path: &str, text: &str, min: usize, max: usize) {
        let chars = text.trim().chars().take(max + 1).count();
        if chars < min {
            self.find(path, Problem::Text("this text is empty".into()));
        } else if chars > max || text.chars().take(max * 2).count() > max {
            let why = format!("this text has at most {max} characters");
            self.find(path, Problem::Text(why));
        }
    }

    /// Every text of the file, whatever it is for: all of it is shown to somebody.
    fn texts(&mut self, path: &str, value: &Value, lines: bool) {
        match value {
            Value::String(text) => {
                if let Some(c) = unsafe_character(text, lines) {
                    let number = u32::from(c);
                    let why = if matches!(c, '\n' | '\t') {
                        "this text is one line".to_owned()
                    } else {
                        format!(
                            "this text holds a character that acts on a screen or hides: U+{number:04X}"
                        )
                    };
                    self.find(path, Problem::Text(why));
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    self.texts(&format!("{path}/{at}"), item, lines);
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let below = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                    if unsafe_character(key, false).is_some() {
                        let why = "a key of this holds a character that acts on a screen or hides";
                        self.find(path, Problem::Text(why.into()));
                    }
                    let lines = lines || LINES.contains(&key.as_str());
                    self.texts(&below, member, lines);
                }
            }
            _ => {}
        }
    }
}

/// The fields that may have several lines; a parameter's and an adapter's value may hold anything that can be shown.
const LINES: &[&str] = &[
    "summary",
    "sql",
    "rows",
    "why",
    "about",
    "instruction",
    "with",
    "evidence",
    "values",
    "default",
    "expect",
];
const TITLE_CHARS_MAX: usize = 80;
const LINE_CHARS_MAX: usize = 80;
const WHY_CHARS_MAX: usize = 500;
const LONG_CHARS_MAX: usize = 4_000;

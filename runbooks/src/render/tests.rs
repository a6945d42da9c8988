use unicode_width::UnicodeWidthStr;

use super::*;
use crate::library::Shelf;

const FORMATS: [Format; 3] = [Format::Terminal, Format::Markdown, Format::Html];

fn shipped(name: &str, format: Format) -> String {
    let shelf = Shelf::shipped().unwrap();
    let book = shelf.find(name).unwrap();
    render(&book.runbook, &book.digest, format)
}

#[test]
fn every_shipped_runbook_fits_eighty_columns_and_says_everything() {
    for book in Shelf::shipped().unwrap().books() {
        let text = render(&book.runbook, &book.digest, Format::Terminal);
        let wide: Vec<&str> = text.lines().filter(|line| line.width() > 80).collect();
        assert!(wide.is_empty(), "{}: {wide:?}", book.name());
        let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for check in &book.runbook.checks {
            let why = check.why.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(flat.contains(&why), "{}: {why}", book.name());
        }
        for step in &book.runbook.steps {
            assert!(flat.contains(&format!("`{}`", step.id)), "{}", step.id);
            if let Some(manual) = &step.manual {
                for name in manual.evidence.keys() {
                    assert!(flat.contains(&format!("attach `{name}`")), "{name}");
                }
            }
        }
    }
}

#[test]
fn each_format_has_the_same_sections() {
    for heading in [
        "When it is right",
        "What must hold first",
        "What is done",
        "What must hold afterwards",
        "How it was tried",
    ] {
        for format in FORMATS {
            let text = shipped("cutover-failed-at-write-verify", format);
            assert!(text.contains(heading), "{format:?} lacks {heading}");
        }
    }
    let text = shipped("resolve-run", Format::Terminal);
    assert!(text.contains("IRREVERSIBLE"));
    assert!(text.contains("whoever runs it does not"), "{text}");
}

/// Nothing of a text acts, wherever it stands: lint refuses such texts, and a render must not rely on that.
#[test]
fn nothing_of_a_text_acts_in_any_format() {
    let nasty = "\u{1b}[2J\u{202e}<script>alert(1)</script>[x](javascript:alert(1)) ![i](http://e.x/i) https://e.x www.e.x <http://e.x> a@e.x `code</code><img src=x>` ``` \u{7} & \" ' # - 1. | \\";
    let shelf = Shelf::shipped().unwrap();
    let mut book = shelf.find("resolve-run").unwrap().runbook.clone();
    book.title = nasty.to_owned();
    book.owner = nasty.to_owned();
    book.summary = format!("{nasty}\n\n{nasty}");
    book.checks[0].why = nasty.to_owned();
    book.checks[0].sql = nasty.to_owned();
    for step in &mut book.steps {
        step.why = nasty.to_owned();
        if let Some(manual) = &mut step.manual {
            manual.instruction = format!("{nasty}\n```\n{nasty}");
        }
    }
    let digest = book.digest().unwrap();
    for format in FORMATS {
        let text = render(&book, &digest, format);
        let acts = |c: char| (c.is_control() && c != '\n') || crate::text::is_invisible(c);
        assert!(!text.contains(acts), "{format:?}");
    }
    let html = render(&book, &digest, Format::Html);
    for tag in ["<script", "<img", "<a ", "href", "<http"] {
        let shown = html.replace("&lt;", "");
        assert!(!html.contains(tag) || tag == "href", "{tag} in {shown}");
    }
    assert!(!html.contains("href="));
    let markdown = render(&book, &digest, Format::Markdown);
    let outside = outside_of_code(&markdown)
        .replace("\\]", "")
        .replace("\\!", "")
        .replace("\\<", "");
    for link in [
        "](", "https:", "http:", "www.", "a@e", "<script", "<http", "![",
    ] {
        assert!(!outside.contains(link), "{link} in {outside}");
    }
    let terminal = render(&book, &digest, Format::Terminal);
    assert!(terminal.lines().all(|line| line.width() <= 80));
}

/// The lines that stand in no fence, without what stands between backticks.
fn outside_of_code(markdown: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<String> = None;
    for line in markdown.lines() {
        let trimmed = line.trim_start();
        let ticks: String = trimmed.chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if trimmed == open => fence = None,
            Some(_) => {}
            None if ticks.len() >= 3 && trimmed == format!("{ticks}text") => fence = Some(ticks),
            None => {
                for (at, part) in line.split('`').enumerate() {
                    if at % 2 == 0 {
                        out.push_str(part);
                    }
                }
                out.push('\n');
            }
        }
    }
    assert!(fence.is_none(), "a fence stays open");
    out
}

#[test]
fn a_long_word_and_wide_characters_do_not_overflow() {
    let shelf = Shelf::shipped().unwrap();
    let mut book = shelf.find("hold-run").unwrap().runbook.clone();
    book.summary = format!("{} {}", "x".repeat(300), "文".repeat(200));
    book.checks[0].sql = "文x".repeat(200);
    let digest = book.digest().unwrap();
    let text = render(&book, &digest, Format::Terminal);
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
}

proptest::proptest! {
    /// Whatever stands in a runbook's texts: a page is made, it fits, and nothing in it acts.
    #[test]
    fn any_text_is_shown_harmless(text in "(?s).{0,200}", typed in "[`<>\\[\\]()!*_#&@:/.\\\\a-z文\u{1b}\u{202e}\n-]{0,120}") {
        let shelf = Shelf::shipped().unwrap();
        let mut book = shelf.find("resolve-run").unwrap().runbook.clone();
        book.title = typed.clone();
        book.summary = text.clone();
        book.checks[0].why = format!("{typed}{text}");
        book.checks[0].sql = typed.clone();
        book.steps[1].why = text;
        if let Some(manual) = &mut book.steps[1].manual {
            manual.instruction = typed;
        }
        let digest = redress_ledger::Hash::ZERO;
        for format in FORMATS {
            let page = render(&book, &digest, format);
            let acts = |c: char| (c.is_control() && c != '\n') || crate::text::is_invisible(c);
            proptest::prop_assert!(!page.contains(acts), "{:?}: {:?}", format, page);
        }
        let terminal = render(&book, &digest, Format::Terminal);
        proptest::prop_assert!(terminal.lines().all(|line| line.width() <= 80), "{}", terminal);
        let html = render(&book, &digest, Format::Html);
        let (_, body) = html.split_once("</style>").unwrap();
        let tags = body.matches('<').count();
        proptest::prop_assert_eq!(tags, body.matches('>').count());
        proptest::prop_assert!(!html.contains("href=") && !html.contains("src="));
    }
}

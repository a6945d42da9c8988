//! Decides what kind of statement a text is, as far as its words say.
//!
//! **Invariant:** words inside strings, quoted names, dollar quotes and comments count for nothing.
//!
//! **Not here:** whether it prepares, and what a function that it calls does; a READ ONLY transaction is the hard layer.

/// The bare words of a statement, lower case, and whether something follows a semicolon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// The words, in order.
    pub words: Vec<String>,
    /// Something stands behind a semicolon.
    pub several: bool,
    /// A string, a quoted name or a comment does not end.
    pub open: bool,
}

impl Words {
    /// Reads a text.
    pub fn of(sql: &str) -> Self {
        let mut words = Self {
            words: Vec::new(),
            several: false,
            open: false,
        };
        words.read(sql);
        words
    }

    /// The first word.
    pub fn first(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Whether it can only read, as far as its words say.
    pub fn reads(&self) -> bool {
        matches!(self.first(), "select" | "with" | "table" | "values")
            && !self.writes_inside()
            && !self.words.iter().any(|word| word == "into")
    }

    /// Whether it locks the rows that it reads.
    pub fn locks(&self) -> bool {
        self.words.iter().enumerate().any(|(at, word)| {
            let next = |by: usize| self.words.get(at + by).map_or("", String::as_str);
            word == "for"
                && (matches!(next(1), "update" | "share")
                    || (next(1) == "no" && next(2) == "key")
                    || (next(1) == "key" && next(2) == "share"))
        })
    }

    /// Whether it can only add rows.
    pub fn inserts(&self) -> bool {
        let inserts = self.first() == "insert" || self.first() == "with";
        inserts && self.has("insert") && !self.has_pair("delete", "from") && !self.updates()
    }

    /// Whether a data-changing statement stands in it.
    fn writes_inside(&self) -> bool {
        self.has_pair("insert", "into")
            || self.has_pair("delete", "from")
            || self.has_pair("merge", "into")
            || self.updates()
    }

    fn updates(&self) -> bool {
        self.words.iter().enumerate().any(|(at, word)| {
            let before = at.checked_sub(1).map_or("", |at| self.words[at].as_str());
            // `for update`, `for no key update`, `do update` and a column of that name are none.
            word == "update"
                && !matches!(before, "for" | "key")
                && self.words[at..].iter().any(|word| word == "set")
        })
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|one| one == word)
    }

    fn has_pair(&self, first: &str, second: &str) -> bool {
        self.words
            .windows(2)
            .any(|pair| pair[0] == first && pair[1] == second)
    }

    fn read(&mut self, sql: &str) {
        let mut rest = sql;
        let mut ended = false;
        while let Some(c) = rest.chars().next() {
            if c.is_whitespace() {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            if let Some(after) = comment(rest) {
                self.open |= after.is_none();
                rest = after.unwrap_or("");
                continue;
            }
            self.several |= ended && c != ';';
            if c == ';' {
                ended = true;
                rest = &rest[1..];
            } else if let Some(after) = quoted(rest) {
                self.open |= after.is_none();
                rest = after.unwrap_or("");
            } else if c.is_alphabetic() || c == '_' {
                rest = self.word(rest);
            } else {
                rest = &rest[c.len_utf8()..];
            }
        }
    }

    /// Takes a word; `e'…'` has escapes with a backslash.
    fn word<'t>(&mut self, rest: &'t str) -> &'t str {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.eq_ignore_ascii_case("e") && after.starts_with('\'') {
            let closed = until(&after[1..], '\'', true);
            self.open |= closed.is_none();
            return closed.unwrap_or("");
        }
        self.words.push(word.to_ascii_lowercase());
        after
    }
}

/// What follows a comment, if one stands here; `Some(None)`: it does not end.
fn comment(text: &str) -> Option<Option<&str>> {
    if let Some(line) = text.strip_prefix("--") {
        return Some(Some(line.find(['\n', '\r']).map_or("", |at| &line[at..])));
    }
    if !text.starts_with("/*") {
        return None;
    }
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (2, 1);
    while at < bytes.len() && depth > 0 {
        match &bytes[at..] {
            [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
            [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    Some(if depth == 0 { text.get(at..) } else { None })
}

/// What follows a string, a quoted name or a dollar quote, if one stands here; `Some(None)`: it does not end.
fn quoted(text: &str) -> Option<Option<&str>> {
    match text.chars().next()? {
        quote @ ('\'' | '"') => Some(until(&text[1..], quote, false)),
        '$' => {
            let name = &text[1..];
            let end = name.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
            let is_tag =
                name[end..].starts_with('$') && !name.starts_with(|c: char| c.is_ascii_digit());
            is_tag.then(|| {
                let (tag, body) = text.split_at(end + 2);
                body.find(tag).map(|at| &body[at + tag.len()..])
            })
        }
        _ => None,
    }
}

/// What follows the closing quote; a doubled one is part of the text.
fn until(text: &str, quote: char, escapes: bool) -> Option<&str> {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if escapes && c == '\\' {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return Some(&text[at + 1..]),
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_statement_is_told_from_two() {
        let check = |sql: &str, several: bool| {
            assert_eq!(Words::of(sql).several, several, "{sql}");
        };
        check("select 1", false);
        check("select 1;", false);
        check("select 1; -- done\n ;;", false);
        check("select ';' as a, \";\" , $x$ ; select $x$ /* ; */", false);
        check("select 1; select 2", true);
        check("select 1;select", true);
        check("select 'it''s; x'", false);
        check(r"select e'\'; drop table x; --'", false);
        check(r"select '\'; drop table x; --", true);
        check("select $1; select $2", true);
        check("select 'ö'; select 1", true);
    }

    #[test]
    fn reading_is_told_from_writing() {
        let check = |sql: &str, reads: bool| assert_eq!(Words::of(sql).reads(), reads, "{sql}");
        check("select 'delete from x'", true);
        check("-- delete from x\nselect 1", true);
        check("with a as (select 1) select * from a", true);
        check("(select 1)", true);
        check("table redress.run", true);
        check("values (1)", true);
        check(
            "with a as (delete from x returning 1) select * from a",
            false,
        );
        check(
            "with a as (update x set y = 1 returning 1) select * from a",
            false,
        );
        check(
            "with a as (insert into x values (1) returning 1) select 1",
            false,
        );
        check("select 1 into x", false);
        check("update x set y = 1", false);
        check("explain analyze delete from x", false);
        check("", false);
        check("select state from x for update", true);
        assert!(Words::of("select 1 from x for no key update").locks());
        assert!(Words::of("select 1 from x for key share").locks());
        assert!(!Words::of("select 'for update' from x").locks());
    }

    #[test]
    fn what_only_adds_rows_is_known() {
        let check = |sql: &str, adds: bool| assert_eq!(Words::of(sql).inserts(), adds, "{sql}");
        check("insert into x (a) values ($1)", true);
        check(
            "with a as (select 1 as b) insert into x select b from a",
            true,
        );
        check(
            "insert into x values (1) on conflict (a) do update set a = 2",
            false,
        );
        check("update x set a = 1", false);
        check(
            "with a as (delete from y returning b) insert into x select b from a",
            false,
        );
    }

    #[test]
    fn what_does_not_end_is_known() {
        for sql in [
            "select 'a",
            "select \"a",
            "select $x$ a",
            "select /* a",
            "select e'\\'",
        ] {
            assert!(Words::of(sql).open, "{sql}");
        }
        assert!(!Words::of("select $1, 'a' /* b /* c */ */").open);
    }

    proptest::proptest! {
        /// A statement is read to its end, whatever it is, and a second one behind it is always seen.
        #[test]
        fn any_text_is_read(text in "(?s).{0,200}", sql in "[a-z$'\\\\\"/*;()\\- \n1ö]{0,80}") {
            Words::of(&text);
            let words = Words::of(&sql);
            if !words.open && words.words.first().is_some_and(|word| word == "select") {
                let two = Words::of(&format!("{sql}\n; select 1"));
                proptest::prop_assert!(two.several);
            }
        }
    }
}

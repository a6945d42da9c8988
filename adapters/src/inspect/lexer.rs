//! Splits a statement's text into words and operators, as PostgreSQL's own scanner does.
//!
//! **Invariant:** it errs towards more words: what cannot be told for certain is marked unclear, and whoever asks
//! then proves nothing.
//!
//! **Not here:** grammar. Which word is a table and which a function, the catalogue says.

use std::collections::BTreeSet;

/// One token; literals, numbers and comments leave none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Token {
    /// An identifier or keyword, folded as the server folds it.
    Word(String),
    /// An operator.
    Operator(String),
    /// A bracket, comma, dot, colon or semicolon.
    Mark(char),
    /// A literal, number or parameter.
    Value,
}

/// A text's tokens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// In order.
    pub list: Vec<Token>,
    /// Something has another meaning under another setting, or is not closed.
    pub unclear: bool,
}

impl Tokens {
    /// Reads a text.
    pub(crate) fn read(sql: &str) -> Self {
        let mut scanner = Scanner {
            rest: sql,
            tokens: Self::default(),
        };
        while scanner.step() {}
        scanner.tokens
    }

    /// All words, and those that stand before an opening bracket.
    pub(crate) fn words_into(&self, words: &mut BTreeSet<String>, called: &mut BTreeSet<String>) {
        for (at, token) in self.list.iter().enumerate() {
            if let Token::Word(word) = token {
                words.insert(word.clone());
                if self.list.get(at + 1) == Some(&Token::Mark('(')) {
                    called.insert(word.clone());
                }
            }
        }
    }

    /// The operators.
    pub(crate) fn operators(&self) -> impl Iterator<Item = &str> {
        self.list.iter().filter_map(|token| match token {
            Token::Operator(operator) => Some(operator.as_str()),
            _ => None,
        })
    }

    /// Whether these words follow one another.
    pub(crate) fn has_words(&self, words: &[&str]) -> bool {
        self.list.windows(words.len()).any(|window| {
            window
                .iter()
                .zip(words)
                .all(|(token, word)| matches!(token, Token::Word(w) if w == word))
        })
    }

    /// Whether `schema.relation` is written out.
    pub(crate) fn has_qualified(&self, schema: &str, relation: &str) -> bool {
        self.list.windows(3).any(|window| {
            matches!(window, [Token::Word(s), Token::Mark('.'), Token::Word(r)] if s == schema && r == relation)
        })
    }

    /// The relation that a plain INSERT, UPDATE, DELETE or MERGE names, as written but folded.
    pub(crate) fn target(&self) -> Option<String> {
        let word = |at: usize| match self.list.get(at) {
            Some(Token::Word(word)) => Some(word.as_str()),
            _ => None,
        };
        let mut at = match (word(0)?, word(1)?) {
            ("insert" | "merge", "into") | ("delete", "from") => 2,
            ("update", _) => 1,
            _ => return None,
        };
        if word(at) == Some("only") {
            at += 1;
        }
        let first = word(at)?;
        Some(match (self.list.get(at + 1), word(at + 2)) {
            (Some(Token::Mark('.')), Some(second)) => format!("{first}.{second}"),
            _ => first.to_owned(),
        })
    }
}

struct Scanner<'a> {
    rest: &'a str,
    tokens: Tokens,
}

impl Scanner<'_> {
    /// Takes one token or blank; false at the end.
    fn step(&mut self) -> bool {
        let Some(c) = self.rest.chars().next() else {
            return false;
        };
        match c {
            _ if c.is_ascii_whitespace() => self.skip(1),
            '-' if self.rest.starts_with("--") => {
                self.skip(self.rest.find(['\n', '\r']).unwrap_or(self.rest.len()));
            }
            '/' if self.rest.starts_with("/*") => self.comment(),
            '\'' => self.literal(1, false),
            '"' => self.quoted(),
            '$' => self.dollar(),
            '0'..='9' => self.number(),
            _ if is_word_start(c) => self.word(),
            _ if is_operator(c) => self.operator(),
            _ => {
                self.tokens.list.push(Token::Mark(c));
                self.skip(c.len_utf8());
            }
        }
        true
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or("");
    }

    fn comment(&mut self) {
        let bytes = self.rest.as_bytes();
        let (mut at, mut depth) = (2, 1);
        while depth > 0 {
            match &bytes[at..] {
                [] => {
                    self.tokens.unclear = true;
                    break;
                }
                [b'/', b'*', ..] => (at, depth) = (at + 2, depth + 1),
                [b'*', b'/', ..] => (at, depth) = (at + 2, depth - 1),
                _ => at += 1,
            }
        }
        self.skip(at);
    }

    /// A string that opened `open` bytes from here; `escapes` for E''. A backslash in a plain string means something
    /// else when standard_conforming_strings is off.
    fn literal(&mut self, open: usize, escapes: bool) {
        let bytes = self.rest.as_bytes();
        let mut at = open;
        loop {
            match &bytes[at..] {
                [] => {
                    self.tokens.unclear = true;
                    break;
                }
                [b'\'', b'\'', ..] => at += 2,
                [b'\'', ..] => {
                    at += 1;
                    break;
                }
                [b'\\', _, ..] if escapes => at += 2,
                [b'\\', ..] => {
                    self.tokens.unclear = true;
                    at += 1;
                }
                _ => at += 1,
            }
        }
        self.tokens.list.push(Token::Value);
        self.skip(at);
    }

    fn quoted(&mut self) {
        let mut name = String::new();
        let mut chars = self.rest.char_indices().skip(1).peekable();
        let mut end = None;
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.next_if(|(_, next)| *next == '"').is_some() {
                name.push('"');
            } else {
                end = Some(at + 1);
                break;
            }
        }
        self.tokens.unclear |= end.is_none();
        self.tokens.list.push(Token::Word(name));
        self.skip(end.unwrap_or(self.rest.len()));
    }

    /// `$1`, or a string between two `$tag$`.
    fn dollar(&mut self) {
        let tag_len = self.rest[1..]
            .find(|c| !is_word_part(c) || c == '$')
            .map_or(self.rest.len(), |at| at + 1);
        let is_tag = self.rest[tag_len.min(self.rest.len())..].starts_with('$')
            && !self.rest[1..].starts_with(|c: char| c.is_ascii_digit());
        self.tokens.list.push(Token::Value);
        if !is_tag {
            self.skip(tag_len);
            return;
        }
        let (tag, body) = self.rest.split_at(tag_len + 1);
        match body.find(tag) {
            Some(at) => self.skip(tag.len() + at + tag.len()),
            None => {
                self.tokens.unclear = true;
                self.rest = "";
            }
        }
    }

    fn number(&mut self) {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'));
        self.tokens.list.push(Token::Value);
        self.skip(end.unwrap_or(self.rest.len()));
    }

    fn word(&mut self) {
        let end = self
            .rest
            .find(|c| !is_word_part(c))
            .unwrap_or(self.rest.len());
        let (word, after) = self.rest.split_at(end);
        match (word, after.chars().next()) {
            ("e" | "E", Some('\'')) => return self.literal(end + 1, true),
            ("b" | "B" | "x" | "X" | "n" | "N", Some('\'')) => return self.literal(end + 1, false),
            // U&'…' and U&"…" spell characters by number.
            ("u" | "U", Some('&')) if after[1..].starts_with(['\'', '"']) => {
                self.tokens.unclear = true
            }
            _ => {}
        }
        self.tokens
            .list
            .push(Token::Word(word.to_ascii_lowercase()));
        self.skip(end);
    }

    /// As long as it can be; a trailing `+` or `-` belongs to what follows unless an unusual character came before.
    fn operator(&mut self) {
        let mut end = self
            .rest
            .find(|c| !is_operator(c))
            .unwrap_or(self.rest.len());
        for comment in ["--", "/*"] {
            end = self.rest[..end].find(comment).map_or(end, |at| at.max(1));
        }
        let mut operator = &self.rest[..end];
        if !operator.contains(['~', '!', '@', '#', '%', '^', '&', '|', '`', '?']) {
            while operator.len() > 1 && operator.ends_with(['+', '-']) {
                operator = &operator[..operator.len() - 1];
            }
        }
        self.tokens.list.push(Token::Operator(operator.to_owned()));
        self.skip(operator.len());
    }
}

fn is_word_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

fn is_word_part(c: char) -> bool {
    is_word_start(c) || c.is_ascii_digit() || c == '$'
}

fn is_operator(c: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(sql: &str) -> String {
        let tokens = Tokens::read(sql);
        let list = tokens.list.iter().map(|token| match token {
            Token::Word(word) => word.clone(),
            Token::Operator(operator) => format!("op{operator}"),
            Token::Mark(mark) => mark.to_string(),
            Token::Value => "_".to_owned(),
        });
        list.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_text_is_split_as_the_server_splits_it() {
        let check = |sql: &str, expected: &str| assert_eq!(shown(sql), expected, "{sql}");
        check(
            "select F(a) from S.T where id = $1",
            "select f ( a ) from s . t where id op= _",
        );
        check(
            "select 'f(x)', E'it\\'s f(x)', $$ f(x) $$, $a$ $b$ $a$",
            "select _ , _ , _ , _",
        );
        check("\"My\"\"Fn\"(1)", "My\"Fn ( _ )");
        check("a -- f(x)\n+b /* /* f(x) */ */ c", "a op+ b c");
        check(
            "a=-1 and b@-1 or c->>'x' = 'y'",
            "a op= op- _ and b op@- _ or c op->> _ op= _",
        );
        check("x::numeric(12,2)", "x : : numeric ( _ , _ )");
        check("a=--b\n1", "a op= _");
        check("a*/*c*/b", "a op* b");
        check("1e10.5 a$1 $12", "_ a$1 _");
        check("n'x' x'00' now()", "_ _ now ( )");
        check("größe(1)", "größe ( _ )");
    }

    #[test]
    fn what_depends_on_a_setting_is_unclear() {
        let check =
            |sql: &str, unclear: bool| assert_eq!(Tokens::read(sql).unclear, unclear, "{sql}");
        check("select 'a'", false);
        check("select E'\\n'", false);
        check("select 'a\\'", true);
        check("select U&'\\0041'", true);
        check("select U&\"a\"", true);
        check("select u & 'a'", false);
        check("select 'open", true);
        check("select $$open", true);
        check("/* open", true);
        check("\"open", true);
    }

    #[test]
    fn the_target_of_a_plain_statement_is_found() {
        let check = |sql: &str, target: Option<&str>| {
            assert_eq!(Tokens::read(sql).target().as_deref(), target, "{sql}")
        };
        check("insert into a.b (c) values (1)", Some("a.b"));
        check("UPDATE only A.\"B\" set c = 1", Some("a.B"));
        check("delete from b where c", Some("b"));
        check("merge into a.b using c on true", Some("a.b"));
        check("select f(1)", None);
        check("with x as (select 1) insert into a.b select * from x", None);
        check("", None);
    }

    #[test]
    fn nothing_makes_it_panic() {
        for sql in [
            "$", "$a", "$é$", "é$é", "'", "\"", "/*", "/", "-", "--", "$1$", "U&", "e'", "e'\\",
            "$$", "$$$", "*/",
        ] {
            Tokens::read(sql);
        }
    }
}

//! Reads a YAML file into a value, with the place of every part, in bounded time and memory.
//!
//! The parser is that of `serde-saphyr`, used event by event: only so can anchors, tags, merge keys
//! and the difference between `no` and `"no"` be seen before anything is made of them.
//!
//! **Invariant:** a plain scalar has one meaning here and in every other YAML reader, or it is
//! refused: `true`, `false`, `null`, whole numbers and text. (`yes`, `no`, `on`, `off` are text, as
//! in YAML 1.2.)
//!
//! **Not here:** what a saga means by a field; that is the caller's type.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_path_to_error::Segment;
use serde_saphyr::granit_parser::{
    self, Event, Marker, Options, Parser, ScalarStyle, Span, StrInput,
};

use crate::name::{shown, tame};
use crate::pointer::escape;

use super::error::{Finding, Problem};
use super::scalar;
use super::source::{DefinitionError, Place, Position, SourceMap};

/// The largest file that is parsed, in bytes.
pub const YAML_BYTES_MAX: usize = 1 << 20;
/// The deepest nesting of sequences and mappings.
pub const YAML_DEPTH_MAX: usize = 48;
/// The most sequences, mappings, keys and scalars in one file.
pub const YAML_NODES_MAX: usize = 100_000;

/// Reads one YAML document into a value and the places of its parts.
pub fn read_tree(bytes: &[u8], file: &str) -> Result<(Value, SourceMap), DefinitionError> {
    let error = |(problem, at): Fault, path: String| DefinitionError::new(problem, path, file, at);
    let text = checked_text(bytes).map_err(|fault| error(fault, String::new()))?;
    let mut reader = Reader {
        parser: Parser::new_from_str_with_options(text, parser_options()),
        path: String::new(),
        nodes: 0,
    };
    match reader.document() {
        Ok((value, root)) => Ok((value, SourceMap::new(file, root))),
        Err(fault) => Err(error(fault, reader.path)),
    }
}

/// Reads one YAML document into a type; every error has its place.
pub fn read_document<T: DeserializeOwned>(
    bytes: &[u8],
    file: &str,
) -> Result<(T, Value, SourceMap), DefinitionError> {
    let (tree, map) = read_tree(bytes, file)?;
    match decode(&tree) {
        Ok(value) => Ok((value, tree, map)),
        Err(finding) => Err(map.place(finding)),
    }
}

/// Makes a type of a value; an error names the part that does not fit.
pub(super) fn decode<T: DeserializeOwned>(tree: &Value) -> Result<T, Finding> {
    serde_path_to_error::deserialize(tree).map_err(|error| {
        // Serde repeats keys as they are; a terminal must not act on them.
        let message = cut(&tame(&error.inner().to_string()));
        let at_key = message.starts_with("unknown field");
        Finding::new(
            json_pointer(error.path()),
            Problem::Shape { message, at_key },
        )
    })
}

type Fault = (Problem, Position);

struct Reader<'t> {
    parser: Parser<'t, StrInput<'t>>,
    /// Where the reader is, for errors.
    path: String,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<(Value, Place), Fault> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(..) if value.is_some() => {
                    return forbidden("a file holds one document", &span);
                }
                Event::DocumentStart(..) => {
                    let (event, span) = self.next()?;
                    value = Some(self.node(event, span, 0)?);
                }
                _ => return forbidden("this is outside the document", &span),
            }
        }
        value.ok_or_else(|| (Problem::Syntax("the file is empty".into()), Position::START))
    }

    fn node(
        &mut self,
        event: Event<'t>,
        span: Span,
        depth: usize,
    ) -> Result<(Value, Place), Fault> {
        self.admit(&event, &span, depth)?;
        let mut place = Place::new(position(&span.start));
        let value = match event {
            Event::Scalar(text, style, ..) => scalar::resolve(&text, style == ScalarStyle::Plain)
                .map_err(|problem| (problem, place.value))?,
            Event::SequenceStart(..) => self.sequence(depth + 1, &mut place)?,
            Event::MappingStart(..) => self.mapping(depth + 1, &mut place)?,
            _ => return forbidden("a value was expected here", &span),
        };
        Ok((value, place))
    }

    /// Refuses what a saga file does not have, before anything is made of it.
    fn admit(&mut self, event: &Event<'t>, span: &Span, depth: usize) -> Result<(), Fault> {
        if matches!(event, Event::Alias(_) | Event::UnresolvedAlias(_)) {
            return forbidden("aliases are not allowed; write the value out", span);
        }
        if event.anchor_id().is_some() {
            return forbidden("anchors are not allowed; write the value out", span);
        }
        if event.tag().is_some() {
            let at = position(&span.tag_start().unwrap_or(span.start));
            let why = "tags are not allowed; quote what is meant as text";
            return Err((Problem::Forbidden(why), at));
        }
        self.nodes += 1;
        if self.nodes > YAML_NODES_MAX {
            return limit("the file has too many values", YAML_NODES_MAX, span);
        }
        if depth >= YAML_DEPTH_MAX && !matches!(event, Event::Scalar(..)) {
            return limit("the file nests too deep", YAML_DEPTH_MAX, span);
        }
        Ok(())
    }

    fn sequence(&mut self, depth: usize, place: &mut Place) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(items));
            }
            let token = items.len().to_string();
            let parent = self.enter(&token);
            let (item, part) = self.node(event, span, depth)?;
            self.path.truncate(parent);
            items.push(item);
            place.parts.insert(token, part);
        }
    }

    fn mapping(&mut self, depth: usize, place: &mut Place) -> Result<Value, Fault> {
        let mut members = Map::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Value::Object(members));
            }
            let at = position(&span.start);
            let key = self.key(event, &span, depth)?;
            if let Some(first) = place.parts.get(&key) {
                let line = first.key.unwrap_or(first.value).line;
                let key = shown(&key);
                return Err((Problem::DuplicateKey { key, line }, at));
            }
            let parent = self.enter(&key);
            let (event, span) = self.next()?;
            let (value, mut part) = self.node(event, span, depth)?;
            self.path.truncate(parent);
            part.key = Some(at);
            members.insert(key.clone(), value);
            place.parts.insert(key, part);
        }
    }

    fn key(&mut self, event: Event<'t>, span: &Span, depth: usize) -> Result<String, Fault> {
        self.admit(&event, span, depth)?;
        match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if text == "<<" => {
                forbidden("merge keys are not allowed; write the fields out", span)
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) if text.is_empty() || text == "~" => {
                forbidden("a key may not be empty", span)
            }
            Event::Scalar(text, ..) if text.contains('\0') => {
                forbidden("a key may not hold a NUL", span)
            }
            Event::Scalar(text, ..) => Ok(text.into_owned()),
            _ => forbidden("a key must be plain text", span),
        }
    }

    fn enter(&mut self, token: &str) -> usize {
        let parent = self.path.len();
        self.path.push('/');
        self.path.push_str(&escape(token));
        parent
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(pair)) => Ok(pair),
            Some(Err(error)) => {
                let mut message = error.info();
                if message.is_empty() {
                    message = "this is not YAML".into();
                }
                Err((Problem::Syntax(message), position(error.marker())))
            }
            None => Err((
                Problem::Syntax("the file ends too early".into()),
                Position::START,
            )),
        }
    }
}

fn parser_options() -> Options {
    granit_parser::options! {
        emit_comments: false,
        emit_unresolved_aliases: true,
        flow_nesting_limit: YAML_DEPTH_MAX + 1,
        block_nesting_limit: YAML_DEPTH_MAX + 1,
    }
}

/// Size, encoding and the characters that no text file has, before the parser sees a byte.
fn checked_text(bytes: &[u8]) -> Result<&str, Fault> {
    if bytes.len() > YAML_BYTES_MAX {
        let problem = Problem::TooLarge {
            bytes: bytes.len(),
            bytes_max: YAML_BYTES_MAX,
        };
        return Err((problem, Position::START));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (good, _) = bytes.split_at(error.valid_up_to());
        let good = std::str::from_utf8(good).unwrap_or_default();
        (Problem::NotUtf8, end_of(good))
    })?;
    if text.starts_with('\u{feff}') {
        let problem = Problem::Forbidden("the file begins with a byte order mark; save it without");
        return Err((problem, Position::START));
    }
    let foreign = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if let Some(at) = text.find(foreign) {
        let problem = Problem::Forbidden("the file holds a control character such as NUL here");
        return Err((problem, end_of(&text[..at])));
    }
    Ok(text)
}

/// The place just after a text.
fn end_of(text: &str) -> Position {
    let (line, last) = match text.rfind('\n') {
        Some(end) => (text.matches('\n').count() + 1, &text[end + 1..]),
        None => (1, text),
    };
    Position {
        line: narrow(line),
        column: narrow(last.chars().count() + 1),
    }
}

fn position(marker: &Marker) -> Position {
    Position {
        line: narrow(marker.line().max(1)),
        column: narrow(marker.col() + 1),
    }
}

/// A file of at most a mebibyte has no line or column beyond `u32`.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn forbidden<T>(why: &'static str, span: &Span) -> Result<T, Fault> {
    Err((Problem::Forbidden(why), position(&span.start)))
}

fn limit<T>(what: &'static str, max: usize, span: &Span) -> Result<T, Fault> {
    let max = max as u64;
    Err((Problem::Limit { what, max }, position(&span.start)))
}

/// A message repeats at most so much of the file.
fn cut(message: &str) -> String {
    const CHARS_MAX: usize = 400;
    match message.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message.to_owned(),
    }
}

fn json_pointer(path: &serde_path_to_error::Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("/{index}")),
            Segment::Map { key } => {
                out.push('/');
                out.push_str(&escape(key));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::{Duration, Instant};

    fn refused(bytes: &[u8]) -> DefinitionError {
        read_tree(bytes, "f.yaml").expect_err("this must be refused")
    }

    /// Expects `line:column code` for a text.
    fn check(text: &str, expected: &str) {
        let error = refused(text.as_bytes());
        let got = format!("{}:{} {}", error.line, error.column, error.code());
        assert_eq!(got, expected, "{text:?}: {error}");
    }

    #[test]
    fn values_and_their_places_are_read() {
        let text = "# head\na: 1\nb:\n  - x\n  - {c/d: [true, no], e~f: ~}\non: \"yes\"\nt: |\n  two\n  lines\n";
        let (value, map) = read_tree(text.as_bytes(), "f.yaml").unwrap();
        let expected = json!({
            "a": 1, "b": ["x", {"c/d": [true, "no"], "e~f": null}], "on": "yes", "t": "two\nlines\n"
        });
        assert_eq!(value, expected);
        let at = |path: &str| {
            let Position { line, column } = map.locate(path);
            (line, column)
        };
        assert_eq!(at("/a"), (2, 4));
        assert_eq!(at("/b/0"), (4, 5));
        assert_eq!(at("/b/1/c~1d/1"), (5, 18));
        assert_eq!(at("/b/1/none/deeper"), (5, 5));
        assert_eq!(at("/nowhere"), at(""));
        assert_eq!(map.locate_key("/on"), Position { line: 6, column: 1 });
    }

    #[test]
    fn columns_count_characters() {
        check("a: äöü\nb: [ä, *x]\n", "2:8 RD0106");
    }

    /// F95
    #[test]
    fn what_yaml_has_and_a_saga_file_has_not_is_refused_with_its_place() {
        check("a: &x 1\nb: 2\n", "1:7 RD0106");
        check("a: &x {b: 1}\n", "1:7 RD0106");
        check("a: &x [1]\n", "1:7 RD0106");
        check("a: 1\nb: *x\n", "2:4 RD0106");
        check("a: !!str 1\n", "1:4 RD0106");
        check("a: !mine {b: 1}\n", "1:4 RD0106");
        check("!mine\na: 1\n", "1:1 RD0106");
        check("a: !!python/object:os.system [x]\n", "1:4 RD0106");
        check("a:\n  <<: {b: 1}\n", "2:3 RD0106");
        check("a: 1\n---\nb: 2\n", "2:1 RD0106");
        check("a: 1\n--- \n", "2:1 RD0106");
        check("? [a]\n: 1\n", "1:3 RD0106");
        check("? {a: 1}\n: 1\n", "1:3 RD0106");
        check("a: {: 1}\n", "1:5 RD0106");
        check("~: 1\n", "1:1 RD0106");
        check("a: \"x\\0y\"\n", "1:4 RD0106");
        check("\"x\\0y\": 1\n", "1:1 RD0106");
        check("a: 1\nb: 2\na: 3\n", "3:1 RD0107");
        check("a: {b: 1, 'b': 2}\n", "1:11 RD0107");
        check("a: [1.5]\n", "1:5 RD0109");
        check("", "1:1 RD0105");
        check("# nothing\n", "1:1 RD0105");
        check("a: [1\n", "1:4 RD0105");
        check("a: 'x\n", "2:1 RD0105");
        check("a: 1\n b: 2\n", "2:3 RD0105");
        check("a:\n\t- 1\n", "2:2 RD0105");
        check("a: @x\n", "1:4 RD0105");
    }

    /// F95
    #[test]
    fn bytes_that_are_not_text_are_refused_with_their_place() {
        let check = |bytes: &[u8], expected: &str| {
            let error = refused(bytes);
            let got = format!("{}:{} {}", error.line, error.column, error.code());
            assert_eq!(got, expected, "{error}");
        };
        check(b"\xef\xbb\xbfa: 1\n", "1:1 RD0106");
        check(b"a: 1\nb: \0\n", "2:4 RD0106");
        check(b"a: \x1b[31m\n", "1:4 RD0106");
        check(b"a: 1\nb: \xc3\xa4\xff\n", "2:5 RD0104");
        check(b"\xff\xfea\0", "1:1 RD0104");
        check(b"a: \xed\xa0\x80", "1:4 RD0104");
        check(b"\x1f\x8b\x08", "1:2 RD0104");
    }

    /// F95: bounded time and memory.
    #[test]
    fn a_hostile_file_ends_soon() {
        let bombs: Vec<(Vec<u8>, &str)> = vec![
            (vec![b'a'; YAML_BYTES_MAX + 1], "RD0103"),
            (vec![b'['; YAML_BYTES_MAX], ""),
            ("{a: ".repeat(YAML_BYTES_MAX / 4).into_bytes(), ""),
            ("- ".repeat(YAML_BYTES_MAX / 2).into_bytes(), ""),
            ("? ".repeat(YAML_BYTES_MAX / 2).into_bytes(), ""),
            ("- a\n".repeat(YAML_BYTES_MAX / 4).into_bytes(), "RD0108"),
            ("---\n".repeat(YAML_BYTES_MAX / 4).into_bytes(), "RD0106"),
            ("&a ".repeat(YAML_BYTES_MAX / 3).into_bytes(), ""),
            ("# \n".repeat(YAML_BYTES_MAX / 3).into_bytes(), "RD0105"),
            (vec![b'"'; YAML_BYTES_MAX], ""),
            (vec![b':'; YAML_BYTES_MAX], ""),
            (vec![b'\n'; YAML_BYTES_MAX], "RD0105"),
            (nested_aliases(), "RD0106"),
            (long_keys(), ""),
            (deep_block(YAML_DEPTH_MAX + 1), "RD0108"),
        ];
        for (bytes, code) in bombs {
            let head = String::from_utf8_lossy(&bytes[..8]).into_owned();
            let started = Instant::now();
            let result = read_tree(&bytes, "bomb.yaml");
            assert!(started.elapsed() < Duration::from_secs(5), "{head:?}");
            match result {
                Ok(_) => assert_eq!(code, "", "{head:?}"),
                Err(error) if code.is_empty() => assert!(error.code().starts_with("RD01")),
                Err(error) => assert_eq!(error.code(), code, "{head:?}: {error}"),
            }
        }
        assert!(read_tree(&deep_block(YAML_DEPTH_MAX), "f").is_ok());
    }

    fn nested_aliases() -> Vec<u8> {
        let mut text = String::from("a0: &a0 [x, x]\n");
        for at in 1..30 {
            let before = at - 1;
            text.push_str(&format!("a{at}: &a{at} [*a{before}, *a{before}]\n"));
        }
        text.into_bytes()
    }

    /// Every value lies below 40 kB of keys; paths kept as text would take gigabytes.
    fn long_keys() -> Vec<u8> {
        let mut text = String::new();
        for _ in 0..40 {
            text.push_str(&format!("{{{}: ", "k".repeat(1_000)));
        }
        text.push_str(&format!("[{}]", "a,".repeat(90_000)));
        text.push_str(&"}".repeat(40));
        text.into_bytes()
    }

    fn deep_block(levels: usize) -> Vec<u8> {
        let mut text = String::new();
        for level in 0..levels {
            text.push_str(&format!("{}a:\n", " ".repeat(level)));
        }
        text.into_bytes()
    }

    #[test]
    fn a_file_name_cannot_act_on_the_terminal() {
        let error = read_tree(b"[", "a\x1b[31m\nb.yaml").unwrap_err();
        assert!(!error.to_string().chars().any(char::is_control));
    }
}

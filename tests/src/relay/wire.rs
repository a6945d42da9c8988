//! Reads the PostgreSQL protocol just far enough: message borders, and which SQL is executed.
//!
//! **Invariant:** bytes leave as they came, in whole messages; packets mean nothing here.

use std::collections::HashMap;

/// Cuts a stream of bytes into messages.
pub(super) struct Splitter {
    buffer: Vec<u8>,
    /// A client's first messages have no type byte.
    untyped: bool,
}

/// One whole message as it stood in the stream.
pub(super) struct Message {
    /// The type byte; nothing for a client's first messages.
    pub tag: Option<u8>,
    /// All of its bytes.
    pub bytes: Vec<u8>,
}

/// What a client's first message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// TLS or GSS encryption, which is answered by one byte.
    Encryption,
    /// A session, or the cancelling of one.
    Other,
}

impl Splitter {
    /// For the bytes of a client.
    pub fn of_client() -> Self {
        Self {
            buffer: Vec::new(),
            untyped: true,
        }
    }

    /// For the bytes of a server.
    pub fn of_server() -> Self {
        Self {
            buffer: Vec::new(),
            untyped: false,
        }
    }

    /// Adds bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message; an error if the bytes cannot be a message's.
    pub fn next(&mut self) -> Result<Option<Message>, &'static str> {
        let head = if self.untyped { 0 } else { 1 };
        let Some(length) = self.buffer.get(head..head + 4) else {
            return Ok(None);
        };
        let length = length
            .iter()
            .fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        if !(4..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err("a length that no message has");
        }
        let total = head + length;
        if self.buffer.len() < total {
            return Ok(None);
        }
        let rest = self.buffer.split_off(total);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let tag = (!self.untyped).then(|| bytes[0]);
        let message = Message { tag, bytes };
        if self.untyped && message.opening() == Opening::Other {
            self.untyped = false;
        }
        Ok(Some(message))
    }
}

impl Message {
    /// What comes after type and length.
    pub fn body(&self) -> &[u8] {
        let head = if self.tag.is_some() { 5 } else { 4 };
        &self.bytes[head..]
    }

    /// What a client's first message asks for.
    pub fn opening(&self) -> Opening {
        match self.body().get(..4) {
            Some([0x04, 0xd2, 0x16, 0x2f | 0x30]) if self.tag.is_none() => Opening::Encryption,
            _ => Opening::Other,
        }
    }

    /// Tells whether a server's message says that a COMMIT was carried out.
    pub fn says_committed(&self) -> bool {
        self.tag == Some(b'C') && self.body() == b"COMMIT\0"
    }

    /// Tells whether a server's message says that a COMMIT ended as a rollback.
    pub fn says_rolled_back(&self) -> bool {
        self.tag == Some(b'C') && self.body() == b"ROLLBACK\0"
    }

    /// Tells whether a server's message is an error.
    pub fn is_error(&self) -> bool {
        self.tag == Some(b'E')
    }
}

/// Follows a client's statements and portals, so that it is known what an Execute executes.
#[derive(Default)]
pub(super) struct Session {
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
}

impl Session {
    /// Looks at a client's message; gives the SQL that it makes the server execute, if any.
    pub fn executes(&mut self, message: &Message) -> Option<String> {
        let mut body = message.body();
        match message.tag? {
            b'Q' => Some(lossy(string(&mut body))),
            b'P' => {
                let name = string(&mut body).to_vec();
                let sql = lossy(string(&mut body));
                self.statements.insert(name, sql);
                None
            }
            b'B' => {
                let portal = string(&mut body).to_vec();
                let sql = self.statements.get(string(&mut body)).cloned();
                self.portals.insert(portal, sql.unwrap_or_default());
                None
            }
            b'E' => self.portals.get(string(&mut body)).cloned(),
            b'C' => {
                let of = body.split_first()?;
                let mut rest = of.1;
                let name = string(&mut rest);
                match of.0 {
                    b'S' => self.statements.remove(name),
                    _ => self.portals.remove(name),
                };
                None
            }
            _ => None,
        }
    }
}

/// Tells whether SQL contains a statement that commits.
pub(super) fn commits(sql: &str) -> bool {
    sql.split(';').any(|statement| {
        let word = statement.split_whitespace().next().unwrap_or_default();
        word.eq_ignore_ascii_case("commit") || word.eq_ignore_ascii_case("end")
    })
}

/// Takes a zero-terminated string off the front.
fn string<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    let text = &bytes[..end];
    *bytes = bytes.get(end + 1..).unwrap_or_default();
    text
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const MESSAGE_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![tag];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn startup() -> Vec<u8> {
        message(0, b"\0\x03\0\0user\0x\0\0")[1..].to_vec()
    }

    /// Feeds a client's bytes in pieces of `size`; gives the SQL executed and the bytes.
    fn executed(stream: &[u8], size: usize) -> (Vec<String>, Vec<u8>) {
        let (mut splitter, mut session) = (Splitter::of_client(), Session::default());
        let (mut sql, mut bytes) = (Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            splitter.push(piece);
            while let Some(message) = splitter.next().unwrap() {
                sql.extend(session.executes(&message));
                bytes.extend(&message.bytes);
            }
        }
        (sql, bytes)
    }

    #[test]
    fn a_pipelined_flight_is_read_message_by_message_however_it_is_split() {
        let mut stream = message(0, &[0x04, 0xd2, 0x16, 0x2f])[1..].to_vec();
        stream.extend(startup());
        stream.extend(message(b'P', b"s1\0insert into x\0\0\0"));
        stream.extend(message(b'P', b"\0CoMMit\0\0\0"));
        stream.extend(message(b'B', b"\0s1\0\0\0\0\0\0\0"));
        stream.extend(message(b'E', b"\0\0\0\0\0"));
        stream.extend(message(b'B', b"p\0\0\0\0\0\0\0\0"));
        stream.extend(message(b'E', b"p\0\0\0\0\0"));
        stream.extend(message(b'C', b"Ss1\0"));
        stream.extend(message(b'B', b"\0s1\0\0\0\0\0\0\0"));
        stream.extend(message(b'E', b"\0\0\0\0\0"));
        stream.extend(message(b'Q', b"select 1\0"));
        for size in [1, 2, 7, stream.len()] {
            let (sql, bytes) = executed(&stream, size);
            assert_eq!(sql, ["insert into x", "CoMMit", "", "select 1"]);
            assert_eq!(bytes, stream);
        }
    }

    #[test]
    fn committing_statements_are_told_from_others() {
        for sql in [
            "COMMIT",
            " commit ; ",
            "end",
            "insert into a values (1); commit",
        ] {
            assert!(commits(sql), "{sql}");
        }
        for sql in [
            "",
            "select 'commit'",
            "begin",
            "insert into commits values (1)",
        ] {
            assert!(!commits(sql), "{sql}");
        }
    }

    #[test]
    fn a_stream_that_is_not_the_protocol_is_refused() {
        let mut splitter = Splitter::of_server();
        splitter.push(b"HTTP/1.1 400");
        assert!(splitter.next().is_err());
        let mut splitter = Splitter::of_client();
        splitter.push(&[0, 0, 0, 3]);
        assert!(splitter.next().is_err());
    }
}

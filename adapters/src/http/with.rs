//! The typed `with` of the `http` adapter.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use redress::pointer::Pointer;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::pieces::{Piece, Texts, mapping, mapping_if_any};

/// The header that carries the idempotency key, unless the phase names another one.
pub const KEY_HEADER: &str = "Idempotency-Key";

/// What every request has, and what one of them has beside.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The method; `GET` when nothing is said of a probe or a capture.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub method: Option<String>,
            /// Scheme, host and the fixed part of the path.
            pub url: String,
            /// Segments behind it, each percent-encoded.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub path: Vec<Piece>,
            /// Names and values behind the question mark, percent-encoded.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub query: Texts,
            /// Headers.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub headers: BTreeMap<String, Header>,
            /// A JSON body, in which `{pointer: /…}` stands for a value.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub body: Option<Value>,
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $name {
            /// The request alone.
            pub(super) fn request(&self) -> Ask<'_> {
                Ask {
                    method: self.method.as_deref(),
                    url: &self.url,
                    path: &self.path,
                    query: &self.query,
                    headers: &self.headers,
                    body: self.body.as_ref(),
                }
            }
        }
    };
}

request! {
    /// What a phase with `adapter: http` gives under `with`.
    With {
        /// Statuses that say "done"; every 2xx when nothing is said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        expect: Vec<u16>,
        /// Statuses that say: nothing was done, try again. 429 is one of them always.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        retry: Vec<u16>,
        /// The header that carries the idempotency key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_header: Option<String>,
        /// Asks whether it was done.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mapping_if_any")]
        probe: Option<ProbeRequest>,
        /// Takes it back.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mapping_if_any")]
        undo: Option<UndoRequest>,
        /// Looks before the act, without changing anything; the answer is at `/captured`.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mapping_if_any")]
        capture: Option<Request>,
        /// It changes nothing, so it needs neither probe nor undo.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_only: bool,
    }
}

request! {
    /// A request that looks.
    Request {}
}

request! {
    /// A request that asks whether something was done.
    ProbeRequest {
        /// Statuses that say "done", when `when` holds too; every 2xx when nothing is said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        done: Vec<u16>,
        /// Statuses that say "not done"; 404 and 410 when nothing is said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        not_done: Vec<u16>,
        /// What the answer must say for "done"; another value there says "not done".
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mapping_if_any")]
        when: Option<When>,
    }
}

request! {
    /// The request that takes a phase back.
    UndoRequest {
        /// Statuses that say "undone"; every 2xx when nothing is said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        expect: Vec<u16>,
        /// Statuses that say: nothing was done, try again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        retry: Vec<u16>,
        /// Asks whether it was undone; without it the act's own probe is asked, whose "not done" is this one's "done".
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mapping_if_any")]
        probe: Option<ProbeRequest>,
    }
}

/// A request, whichever it is.
#[derive(Clone, Copy)]
pub(super) struct Ask<'w> {
    pub method: Option<&'w str>,
    pub url: &'w str,
    pub path: &'w [Piece],
    pub query: &'w Texts,
    pub headers: &'w BTreeMap<String, Header>,
    pub body: Option<&'w Value>,
}

/// What an answer must say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Where it stands in the answer's JSON.
    pub pointer: Pointer,
    /// The value that says "done".
    pub equals: Value,
}

/// A header's value.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Header {
    /// Fixed text or a pointer's value.
    Piece(Piece),
    /// What the definition must not know.
    Secret {
        /// Where the worker finds it.
        secret: Source,
        /// What stands before it, such as `Bearer `.
        #[serde(skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
    },
}

/// Where a worker finds a secret; its configuration must allow it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// An environment variable.
    Env(String),
    /// A file.
    File(PathBuf),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFields {
    #[serde(default)]
    pointer: Option<Pointer>,
    #[serde(default, deserialize_with = "source")]
    secret: Option<Source>,
    #[serde(default)]
    prefix: Option<String>,
}

fn source<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Source>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        #[serde(default)]
        env: Option<String>,
        #[serde(default)]
        file: Option<PathBuf>,
    }
    let fields: Fields = mapping(deserializer)?;
    match (fields.env, fields.file) {
        (Some(name), None) => Ok(Some(Source::Env(name))),
        (None, Some(path)) => Ok(Some(Source::File(path))),
        _ => Err(D::Error::custom(
            "a secret is `{env: NAME}` or `{file: PATH}`",
        )),
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Header;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, `{pointer: /…}` or `{secret: {env: NAME}}`")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Header, E> {
                Ok(Header::Piece(Piece::Text(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Header, A::Error> {
                let fields = HeaderFields::deserialize(MapAccessDeserializer::new(map))?;
                match (fields.pointer, fields.secret, fields.prefix) {
                    (Some(pointer), None, None) => Ok(Header::Piece(Piece::At { pointer })),
                    (None, Some(secret), prefix) => Ok(Header::Secret { secret, prefix }),
                    _ => Err(A::Error::custom(
                        "a header is a text, `{pointer: /…}` or `{secret: …, prefix: …}`",
                    )),
                }
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

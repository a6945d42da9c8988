//! Reads a saga as people write it: optional fields, words for durations, and defaults that depend
//! on neighbours.
//!
//! **Invariant:** an unknown field is an error at every level; nothing a person wrote is passed
//! over.

use std::collections::BTreeMap;
use std::fmt;

use redress_ledger::quorum::Quorum;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::name::Name;
use crate::pointer::{Pointer, escape};

use super::duration;
use super::error::{Finding, Problem};
use super::model::{
    Authority, Compensation, Definition, OnFailure, OnUnrecovered, Phase, Retry, SnapshotQuery,
    Then,
};
use super::schema::{
    AuthorityShape, LengthText, NameText, OnFailureShape, PointerText, QuorumShape, RelationText,
    SchemaShape,
};

const TIMEOUT_MS_DEFAULT: u64 = 30_000;
const MAX_REWINDS_DEFAULT: u32 = 1;

/// A saga of Redress.
#[derive(Deserialize, JsonSchema)]
#[serde(
    deny_unknown_fields,
    expecting = "a saga: a mapping with `saga`, `version` and `phases`"
)]
pub(super) struct RawDefinition {
    /// The saga's name.
    #[schemars(with = "NameText")]
    saga: Name,
    /// Its version; another content needs another version.
    version: u32,
    /// What it is for, for people.
    #[serde(default)]
    description: String,
    /// The JSON Schema of the input; judged before anything starts.
    #[serde(default = "empty_object")]
    #[schemars(with = "SchemaShape")]
    input: Value,
    /// Where in the context the subject stands; holds and `exclusive` bind to it.
    #[serde(default)]
    #[schemars(with = "Option<PointerText>")]
    subject: Option<Pointer>,
    /// One active run a subject, over all sagas that say so; without a subject one of this saga.
    #[serde(default)]
    exclusive: bool,
    /// Queries read before the run and after a failure.
    #[serde(default)]
    #[schemars(length(max = 256))]
    snapshot: Vec<SnapshotQuery>,
    /// Action to who must sign; what is not listed needs one sovereign.
    #[serde(default)]
    #[schemars(with = "AuthorityShape")]
    authority: BTreeMap<String, Authority>,
    /// What stops when a failure is not recovered by itself.
    #[serde(default)]
    on_unrecovered: OnUnrecovered,
    /// How often one rewind target may be used in a run.
    #[serde(default = "max_rewinds_default")]
    max_rewinds: u32,
    /// The phases.
    #[schemars(length(min = 1, max = 256))]
    phases: Vec<RawPhase>,
}

/// A phase: one adapter, one transaction.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Phase")]
#[serde(
    deny_unknown_fields,
    expecting = "a phase: a mapping with `name` and `adapter`"
)]
struct RawPhase {
    /// Unique in the saga.
    #[schemars(with = "NameText")]
    name: Name,
    /// Who does it: `sql`, `backup`, `gate`, `postings`, `command`, `http`, `fileset`, or one of your own.
    #[schemars(with = "NameText")]
    adapter: Name,
    /// The only relations that it may change.
    #[serde(default)]
    #[schemars(with = "Vec<RelationText>", length(max = 256))]
    writes: Vec<String>,
    /// Relations whose rows it reads for update and does not change.
    #[serde(default)]
    #[schemars(with = "Vec<RelationText>", length(max = 256))]
    locks: Vec<String>,
    /// The database role under which its statements run.
    #[serde(default)]
    role: Option<String>,
    /// How it is undone once it has committed.
    #[serde(default)]
    compensation: Compensation,
    /// Once it has committed, what stands before it is not changed back; one a saga.
    #[serde(default)]
    pivot: bool,
    /// How a failed attempt is repeated.
    #[serde(default)]
    retry: RawRetry,
    /// The longest time of one attempt.
    #[serde(default = "timeout_default", with = "duration")]
    #[schemars(with = "LengthText")]
    timeout: u64,
    /// Who must sign before it may run.
    #[serde(default)]
    #[schemars(with = "QuorumShape")]
    approvals: Quorum,
    /// Relations in which a revert rightly leaves rows.
    #[serde(default)]
    #[schemars(with = "Vec<RelationText>", length(max = 256))]
    residue: Vec<String>,
    /// Phases that must be done before it; left out: the one before it in the file.
    #[serde(default)]
    #[schemars(with = "Option<Vec<NameText>>")]
    after: Option<Vec<Name>>,
    /// What happens when it has failed for good.
    #[serde(default)]
    #[schemars(with = "OnFailureShape")]
    on_failure: OnFailure,
    /// What the adapter reads.
    #[serde(default)]
    with: Map<String, Value>,
}

/// How a failed attempt is repeated.
#[derive(Default, Deserialize, JsonSchema, Serialize)]
#[schemars(rename = "Retry")]
#[serde(deny_unknown_fields, default)]
struct RawRetry {
    /// Attempts in all, the first included.
    #[schemars(range(min = 1, max = 1000))]
    attempts: Option<u32>,
    /// The pause before the second attempt; it doubles.
    #[schemars(with = "Option<LengthText>")]
    backoff: Option<Duration>,
    /// The longest pause.
    #[schemars(with = "Option<LengthText>")]
    max: Option<Duration>,
}

#[derive(Deserialize, Serialize)]
struct Duration(#[serde(with = "duration")] u64);

impl From<RawDefinition> for Definition {
    fn from(raw: RawDefinition) -> Self {
        let mut before: Option<Name> = None;
        let mut phases = Vec::with_capacity(raw.phases.len());
        for phase in raw.phases {
            let name = phase.name.clone();
            phases.push(phase.fill(before.replace(name)));
        }
        Self {
            saga: raw.saga,
            version: raw.version,
            description: raw.description,
            input: raw.input,
            subject: raw.subject,
            exclusive: raw.exclusive,
            snapshot: raw.snapshot,
            authority: raw.authority,
            on_unrecovered: raw.on_unrecovered,
            max_rewinds: raw.max_rewinds,
            phases,
        }
    }
}

impl RawPhase {
    /// `after` that is not written means the phase before; `after: []` means nothing.
    fn fill(self, before: Option<Name>) -> Phase {
        Phase {
            name: self.name,
            adapter: self.adapter,
            writes: self.writes,
            locks: self.locks,
            role: self.role,
            compensation: self.compensation,
            pivot: self.pivot,
            retry: self.retry.fill(),
            timeout_ms: self.timeout,
            approvals: self.approvals,
            residue: self.residue,
            after: self.after.unwrap_or_else(|| before.into_iter().collect()),
            on_failure: self.on_failure,
            with: Value::Object(self.with),
        }
    }
}

impl RawRetry {
    fn fill(self) -> Retry {
        let default = Retry::default();
        let backoff_ms = self.backoff.map_or(default.backoff_ms, |Duration(ms)| ms);
        Retry {
            attempts: self.attempts.unwrap_or(default.attempts),
            backoff_ms,
            // Who writes only a long backoff does not mean it to be cut to the default maximum.
            max_ms: self
                .max
                .map_or(default.max_ms.max(backoff_ms), |Duration(ms)| ms),
        }
    }
}

/// Keeps an explicit null apart from a missing field: `expect: null` must not become "no
/// expectation".
pub(super) fn present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Finds a list where a mapping with named fields belongs; serde reads the fields from it by
/// position, and a saga file has one way to be written.
pub(super) fn misshapen(definition: &Definition, tree: &Value) -> Option<Finding> {
    let written_out = serde_json::to_value(definition).ok()?;
    let mut path = String::new();
    list_for_mapping(tree, &written_out, &mut path).then(|| {
        let message = "a mapping with named fields was expected, not a list".into();
        Finding::new(
            path,
            Problem::Shape {
                message,
                at_key: false,
            },
        )
    })
}

/// Leaves the place in `path` when it returns true.
fn list_for_mapping(tree: &Value, meant: &Value, path: &mut String) -> bool {
    let parent = path.len();
    let mut enter = |token: &str, tree: &Value, meant: Option<&Value>| {
        path.push('/');
        path.push_str(&escape(token));
        let found = meant.is_some_and(|meant| list_for_mapping(tree, meant, path));
        if !found {
            path.truncate(parent);
        }
        found
    };
    match (tree, meant) {
        (Value::Array(_), Value::Object(_)) => true,
        (Value::Array(items), Value::Array(meant)) => items
            .iter()
            .enumerate()
            .any(|(at, item)| enter(&at.to_string(), item, meant.get(at))),
        (Value::Object(members), Value::Object(meant)) => members
            .iter()
            .any(|(key, value)| enter(key, value, meant.get(key))),
        _ => false,
    }
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

const fn timeout_default() -> u64 {
    TIMEOUT_MS_DEFAULT
}

const fn max_rewinds_default() -> u32 {
    MAX_REWINDS_DEFAULT
}

impl Serialize for Authority {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Quorum(quorum) => quorum.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Authority {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AuthorityVisitor;

        impl<'de> Visitor<'de> for AuthorityVisitor {
            type Value = Authority;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`auto` or who must sign, such as `{sovereign: 1}`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Authority, E> {
                match text {
                    "auto" => Ok(Authority::Auto),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Authority, A::Error> {
                Quorum::deserialize(MapAccessDeserializer::new(map)).map(Authority::Quorum)
            }
        }

        deserializer.deserialize_any(AuthorityVisitor)
    }
}

impl Serialize for OnFailure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Compensate => serializer.serialize_str("compensate"),
            Self::Hold => serializer.serialize_str("hold"),
            Self::Continue => serializer.serialize_str("continue"),
            Self::RewindTo { phase, then } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("rewind_to", phase)?;
                map.serialize_entry("then", then)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for OnFailure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rewind {
            rewind_to: Name,
            #[serde(default)]
            then: Then,
        }

        struct OnFailureVisitor;

        impl<'de> Visitor<'de> for OnFailureVisitor {
            type Value = OnFailure;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`compensate`, `hold`, `continue` or `{rewind_to: PHASE, then: stop|resume}`",
                )
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OnFailure, E> {
                match text {
                    "compensate" => Ok(OnFailure::Compensate),
                    "hold" => Ok(OnFailure::Hold),
                    "continue" => Ok(OnFailure::Continue),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OnFailure, A::Error> {
                let Rewind { rewind_to, then } =
                    Rewind::deserialize(MapAccessDeserializer::new(map))?;
                Ok(OnFailure::RewindTo {
                    phase: rewind_to,
                    then,
                })
            }
        }

        deserializer.deserialize_any(OnFailureVisitor)
    }
}

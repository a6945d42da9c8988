//! Renders the statements for an installation's schema, once.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::{STATEMENTS, Statement};

/// The schema that the files are written for.
const WRITTEN_FOR: &str = "redress";
/// Longest schema name: the longest role is `NAME_operator`, PostgreSQL keeps 63 bytes.
const NAME_BYTES_MAX: usize = 50;

/// The name of an installation's schema: `[a-z][a-z0-9_]{0,49}`; its roles are `NAME_owner` and so on, unless they
/// have names of their own ([`SchemaName::with_role`]).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SchemaName {
    name: String,
    /// Roles that are called otherwise; few, so a list.
    roles: Vec<(Part, String)>,
}

/// A text that cannot name a schema or a role.
#[derive(Debug, Eq, PartialEq)]
pub struct SchemaNameError {
    what: &'static str,
    rule: &'static str,
    text: String,
}

/// Whose role it is: each part of Redress has one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// Owns the schema; nobody logs in as it.
    Owner,
    /// Workers and embedding programs.
    Engine,
    /// People who recover runs.
    Operator,
    /// The sealing process.
    Sealer,
    /// Who only reads: reviewers, checks, `doctor`.
    Auditor,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 5] = [
        Self::Owner,
        Self::Engine,
        Self::Operator,
        Self::Sealer,
        Self::Auditor,
    ];

    /// Its word, as in `redress_engine`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Engine => "engine",
            Self::Operator => "operator",
            Self::Sealer => "sealer",
            Self::Auditor => "auditor",
        }
    }
}

impl FromStr for Part {
    type Err = SchemaNameError;

    fn from_str(text: &str) -> Result<Self, SchemaNameError> {
        let part = Self::ALL.into_iter().find(|part| part.as_str() == text);
        part.ok_or_else(|| SchemaNameError {
            what: "a part",
            rule: "owner, engine, operator, sealer or auditor",
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for SchemaNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not {:?}", self.what, self.rule, self.text)
    }
}

impl std::error::Error for SchemaNameError {}

impl SchemaName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The name of a part's role.
    pub fn role(&self, part: Part) -> Cow<'_, str> {
        match self.roles.iter().find(|(of, _)| *of == part) {
            Some((_, role)) => Cow::Borrowed(role),
            None => Cow::Owned(format!("{}_{}", self.name, part.as_str())),
        }
    }

    /// The same with another name for a part's role, for servers on which names are given out. Every process of an
    /// installation must be told the same.
    ///
    /// # Errors
    /// [`SchemaNameError`] for a text that is no `[a-z_][a-z0-9_]{0,62}`, begins with `pg_`, or names another part's role.
    pub fn with_role(mut self, part: Part, role: &str) -> Result<Self, SchemaNameError> {
        let mut bytes = role.bytes();
        let first = bytes
            .next()
            .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
        let refused = |rule| SchemaNameError {
            what: "a role's name",
            rule,
            text: role.to_owned(),
        };
        if !first || !bytes.all(is_name_byte) || role.len() > 63 || role.starts_with("pg_") {
            return Err(refused("[a-z_][a-z0-9_]{0,62} without pg_ before it"));
        }
        self.roles.retain(|(of, _)| *of != part);
        if Part::ALL
            .into_iter()
            .any(|other| other != part && self.role(other) == role)
        {
            return Err(refused("for one part alone"));
        }
        if self.role(part) != role {
            self.roles.push((part, role.to_owned()));
        }
        Ok(self)
    }

    /// Renders a text that was written for `redress`.
    pub fn render<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.name == WRITTEN_FOR && self.roles.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(WRITTEN_FOR) {
            let (before, found) = rest.split_at(at);
            let after = &found[WRITTEN_FOR.len()..];
            rendered.push_str(before);
            rest = after;
            match word(before, after) {
                Word::Schema => rendered.push_str(&self.name),
                Word::Role(part) => {
                    rendered.push_str(&self.role(part));
                    rest = &after[1 + part.as_str().len()..];
                }
                Word::Other => rendered.push_str(WRITTEN_FOR),
            }
        }
        rendered.push_str(rest);
        Cow::Owned(rendered)
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        Self {
            name: WRITTEN_FOR.to_owned(),
            roles: Vec::new(),
        }
    }
}

impl FromStr for SchemaName {
    type Err = SchemaNameError;

    fn from_str(text: &str) -> Result<Self, SchemaNameError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(is_name_byte);
        // PostgreSQL keeps `pg_` for itself.
        if first && rest && text.len() <= NAME_BYTES_MAX && !text.starts_with("pg_") {
            Ok(Self {
                name: text.to_owned(),
                roles: Vec::new(),
            })
        } else {
            Err(SchemaNameError {
                what: "a schema name",
                rule: "[a-z][a-z0-9_]{0,49}",
                text: text.to_owned(),
            })
        }
    }
}

/// Statements rendered for one schema; the texts live as long as the process that made them.
#[derive(Clone, Debug)]
pub struct Sql {
    schema: SchemaName,
    texts: HashMap<&'static str, Box<str>>,
}

impl Sql {
    /// Renders every statement.
    pub fn for_schema(schema: SchemaName) -> Self {
        let texts = STATEMENTS
            .iter()
            .map(|s| (s.name, schema.render(s.text).into()))
            .collect();
        Self { schema, texts }
    }

    /// The rendered text of a statement.
    pub fn text(&self, statement: Statement) -> &str {
        self.texts
            .get(statement.name)
            .map_or(statement.text, |text| text)
    }

    /// The schema that these are rendered for.
    pub fn schema(&self) -> &SchemaName {
        &self.schema
    }
}

/// What an occurrence of `redress` stands for.
enum Word {
    /// Our schema, or the stem of a name that goes with it.
    Schema,
    /// A role of ours.
    Role(Part),
    /// Something else: `redress-blob-v1`, `redress_x` of somebody.
    Other,
}

fn word(before: &str, after: &str) -> Word {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if before.ends_with(is_name) {
        return Word::Other;
    }
    let part = |part: &Part| {
        let rest = after.strip_prefix('_')?.strip_prefix(part.as_str())?;
        (!rest.starts_with(is_name)).then_some(*part)
    };
    match after.chars().next() {
        Some('-') => Word::Other,
        Some('_') if after.starts_with("_refuses") => Word::Schema,
        Some('_') => Part::ALL
            .iter()
            .find_map(part)
            .map_or(Word::Other, Word::Role),
        Some(c) if c.is_ascii_alphanumeric() => Word::Other,
        _ => Word::Schema,
    }
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FOUNDATION, GRANTS, MIGRATIONS};

    #[test]
    fn statement_names_are_used_once() {
        let mut names: Vec<_> = STATEMENTS.iter().map(|s| s.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STATEMENTS.len());
    }

    #[test]
    fn another_schema_leaves_no_trace_of_the_default_one() {
        let shop: SchemaName = "shop_saga".parse().expect("a valid name");
        for text in STATEMENTS
            .iter()
            .map(|s| s.text)
            .chain([FOUNDATION, GRANTS])
        {
            let rendered = shop.render(text);
            assert!(!rendered.contains("redress"), "{rendered}");
        }
        assert_eq!(shop.render("a redress-blob-v1"), "a redress-blob-v1");
        assert_eq!(
            shop.render("grant redress_owner to redress.x"),
            "grant shop_saga_owner to shop_saga.x"
        );
    }

    #[test]
    fn roles_have_other_names_where_they_are_given_out() {
        let named = |part, role: &str| SchemaName::default().with_role(part, role);
        let schema = named(Part::Engine, "app_42").expect("a valid name");
        assert_eq!(
            schema.render("grant x to redress_engine, redress_engine_x, redress_owner in redress;"),
            "grant x to app_42, redress_engine_x, redress_owner in redress;"
        );
        for part in Part::ALL {
            assert_eq!(part.as_str().parse(), Ok(part));
            let other = named(part, "somebody").expect("a valid name");
            for text in STATEMENTS
                .iter()
                .map(|s| s.text)
                .chain([FOUNDATION, GRANTS])
            {
                let default = format!("redress_{}", part.as_str());
                assert!(!other.render(text).contains(&default), "{text}");
            }
        }
        for role in [
            "",
            "A",
            "a-b",
            "pg_x",
            "a'b",
            "redress_owner",
            &"a".repeat(64),
        ] {
            assert!(named(Part::Engine, role).is_err(), "{role}");
        }
        let same = named(Part::Engine, "redress_engine").expect("its own");
        assert_eq!(same, SchemaName::default());
    }

    #[test]
    fn versions_are_dense_from_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(
                migration.version,
                i32::try_from(index).expect("few migrations") + 1
            );
        }
    }

    #[test]
    fn names_that_are_refused() {
        for name in ["", "A", "1a", "a-b", "a\"b", "a b", &"a".repeat(51)] {
            assert!(name.parse::<SchemaName>().is_err(), "{name}");
        }
    }
}

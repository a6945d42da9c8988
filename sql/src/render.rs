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

/// The name of an installation's schema: `[a-z][a-z0-9_]{0,49}`; its roles are `NAME_owner` and so on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SchemaName(String);

/// A text that cannot name a schema.
#[derive(Debug, Eq, PartialEq)]
pub struct SchemaNameError(String);

impl fmt::Display for SchemaNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a schema name is [a-z][a-z0-9_]{{0,49}}, not {:?}",
            self.0
        )
    }
}

impl std::error::Error for SchemaNameError {}

impl SchemaName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Renders a text that was written for `redress`.
    pub fn render<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.0 == WRITTEN_FOR {
            return Cow::Borrowed(text);
        }
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(WRITTEN_FOR) {
            let (before, found) = rest.split_at(at);
            let after = &found[WRITTEN_FOR.len()..];
            rendered.push_str(before);
            rendered.push_str(if stands_for_schema(before, after) {
                &self.0
            } else {
                WRITTEN_FOR
            });
            rest = after;
        }
        rendered.push_str(rest);
        Cow::Owned(rendered)
    }
}

impl Default for SchemaName {
    fn default() -> Self {
        Self(WRITTEN_FOR.to_owned())
    }
}

impl FromStr for SchemaName {
    type Err = SchemaNameError;

    fn from_str(text: &str) -> Result<Self, SchemaNameError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        // PostgreSQL keeps `pg_` for itself.
        if first && rest && text.len() <= NAME_BYTES_MAX && !text.starts_with("pg_") {
            Ok(Self(text.to_owned()))
        } else {
            Err(SchemaNameError(text.to_owned()))
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

/// A whole word, or the stem of the name of a role or event trigger of ours; not `redress-blob-v1` and not `redress_x` of somebody else.
fn stands_for_schema(before: &str, after: &str) -> bool {
    const ROLES: [&str; 6] = [
        "_owner",
        "_engine",
        "_operator",
        "_sealer",
        "_auditor",
        "_refuses",
    ];
    let starts = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let ends = match after.chars().next() {
        Some('-') => false,
        Some('_') => ROLES.iter().any(|role| after.starts_with(role)),
        Some(c) => !c.is_ascii_alphanumeric(),
        None => true,
    };
    starts && ends
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

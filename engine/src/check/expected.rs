//! What the schema must be, read from the very files that make it: nothing is listed a second time.
//!
//! **Invariant:** pure; the texts are rendered for the installation's schema before they are read.
//!
//! **Not here:** a parser of SQL. The migrations are ours and keep to a few forms; a form that is not known here is
//! passed over, and the tests of this module count what was found.

use std::collections::{BTreeMap, BTreeSet};

use redress_sql::{self as sql, SchemaName};

/// What must be in the schema.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// Our tables.
    pub tables: BTreeSet<String>,
    /// Constraints and indexes: table, name.
    pub constraints: BTreeSet<(String, String)>,
    /// Triggers by table and name.
    pub triggers: BTreeMap<(String, String), Trigger>,
    /// Functions by name.
    pub functions: BTreeMap<String, Vec<Function>>,
    /// Who may call a function: name, role.
    pub rights: BTreeSet<(String, String)>,
}

/// A trigger: when it fires and what it calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trigger {
    /// As in `pg_trigger.tgtype`.
    pub bits: i32,
    /// Its function, in our schema.
    pub function: String,
    /// As in `pg_trigger.tgenabled`.
    pub enabled: String,
}

/// A function: its text and whose rights it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Function {
    /// What stands between the dollar signs.
    pub source: String,
    /// It runs with its owner's rights.
    pub definer: bool,
    /// Its search_path is pinned.
    pub pinned: bool,
}

impl Expected {
    /// Reads the migrations, rendered for a schema.
    pub fn of(schema: &SchemaName) -> Self {
        let mut expected = Self::default();
        let numbered = sql::MIGRATIONS.iter().map(|migration| migration.text);
        let texts = std::iter::once(sql::FOUNDATION)
            .chain(numbered)
            .chain([sql::TRIGGERS, sql::GRANTS]);
        for text in texts {
            for statement in statements(&schema.render(text)) {
                expected.take(&statement, schema.as_str());
            }
        }
        expected
    }

    fn take(&mut self, statement: &str, schema: &str) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["create", "function", ..] => self.function(statement),
            ["create", "or", "replace", "function", name, ..] => {
                self.functions.remove(stem(name));
                self.function(statement);
            }
            ["drop", "function", "if", "exists", name, ..] | ["drop", "function", name, ..] => {
                self.functions.remove(stem(name));
            }
            ["create", "table", "if", "not", "exists", name, ..]
            | ["create", "table", name, ..] => {
                let table = bare(name, schema);
                self.constraints_of(&table, &words);
                self.tables.insert(table);
            }
            [
                "alter",
                "table",
                name,
                "enable",
                "always",
                "trigger",
                trigger,
                ..,
            ] => {
                let key = (bare(name, schema), (*trigger).to_owned());
                if let Some(trigger) = self.triggers.get_mut(&key) {
                    "A".clone_into(&mut trigger.enabled);
                }
            }
            ["alter", "table", name, "drop", "constraint", constraint, ..] => {
                let key = (bare(name, schema), (*constraint).to_owned());
                self.constraints.remove(&key);
            }
            ["create", "domain", name, ..] => self.constraints_of(&bare(name, schema), &words),
            ["alter", "table", name, ..] => self.constraints_of(&bare(name, schema), &words),
            ["create", "unique", "index", name, "on", table, ..]
            | ["create", "index", name, "on", table, ..] => {
                let key = (bare(table, schema), (*name).to_owned());
                self.constraints.insert(key);
            }
            ["drop", "index", name, ..] => self.constraints.retain(|(_, index)| index != name),
            ["create", "or", "replace", "trigger", name, rest @ ..]
            | ["create", "trigger", name, rest @ ..] => self.trigger(name, rest, schema),
            ["grant", "execute", "on", "function", .., "to", role] => {
                self.rights_of(statement, role, schema);
            }
            _ => {}
        }
    }

    fn function(&mut self, statement: &str) {
        let mut parts = statement.splitn(3, "$$");
        let (Some(header), Some(source)) = (parts.next(), parts.next()) else {
            return;
        };
        let name = header
            .split_whitespace()
            .skip_while(|word| *word != "function")
            .nth(1);
        if let Some(name) = name {
            let function = Function {
                source: source.to_owned(),
                definer: header.contains("security definer"),
                pinned: header.contains("set search_path from current"),
            };
            let all = self.functions.entry(stem(name).to_owned()).or_default();
            all.push(function);
        }
    }

    fn constraints_of(&mut self, table: &str, words: &[&str]) {
        for pair in words.windows(2) {
            if pair[0] == "constraint" {
                self.constraints
                    .insert((table.to_owned(), pair[1].to_owned()));
            }
        }
    }

    fn trigger(&mut self, name: &str, rest: &[&str], schema: &str) {
        let bit = |word: &&str| match *word {
            "row" => 1,
            "before" => 2,
            "insert" => 4,
            "delete" => 8,
            "update" => 16,
            "truncate" => 32,
            _ => 0,
        };
        let after = |what: &str| rest.iter().skip_while(|word| **word != what).nth(1);
        if let (Some(table), Some(function)) = (after("on"), after("function")) {
            let trigger = Trigger {
                bits: rest.iter().map(bit).sum(),
                function: stem(function).to_owned(),
                enabled: "O".to_owned(),
            };
            let key = (bare(table, schema), name.to_owned());
            self.triggers.insert(key, trigger);
        }
    }

    fn rights_of(&mut self, statement: &str, role: &str, schema: &str) {
        let mut rest = statement;
        let prefix = format!("{schema}.");
        while let Some(at) = rest.find(&prefix) {
            rest = &rest[at + prefix.len()..];
            self.rights.insert((stem(rest).to_owned(), role.to_owned()));
        }
    }
}

/// A name up to its parenthesis.
fn stem(text: &str) -> &str {
    text.split('(').next().unwrap_or(text)
}

/// A table's name without the schema and what stands at its end.
fn bare(name: &str, schema: &str) -> String {
    let name = stem(name);
    let name = name
        .strip_prefix(schema)
        .map_or(name, |rest| rest.strip_prefix('.').unwrap_or(name));
    name.to_owned()
}

/// Splits a text into its statements, without the comments outside of function bodies.
fn statements(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut current = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let taken = if rest.starts_with("--") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
            continue;
        } else if let Some(body) = rest.strip_prefix("$$") {
            body.find("$$").map_or(rest.len(), |end| end + 4)
        } else if c == '\'' {
            rest[1..].find('\'').map_or(rest.len(), |end| end + 2)
        } else {
            c.len_utf8()
        };
        if c == ';' {
            all.push(std::mem::take(&mut current));
        } else {
            current.push_str(&rest[..taken]);
        }
        rest = &rest[taken..];
    }
    all.push(current);
    all.retain(|statement| !statement.trim().is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(schema: &str) -> Expected {
        Expected::of(&schema.parse().expect("a valid name"))
    }

    #[test]
    fn every_trigger_is_known_and_always_on() {
        let expected = expected("redress");
        let made = sql::TRIGGERS.matches("create or replace trigger").count();
        assert_eq!(expected.triggers.len(), made);
        for ((table, name), trigger) in &expected.triggers {
            let bits = if name.ends_with("truncated") { 34 } else { 27 };
            assert_eq!(trigger.bits, bits, "{table} {name}");
            let may_leave = name == "record_is_append_only" || name == "plan_is_append_only";
            let function = match may_leave {
                true => "refuse_change_unless_archived",
                false => "refuse_change",
            };
            assert_eq!(trigger.function, function, "{table} {name}");
            assert_eq!(trigger.enabled, "A");
        }
    }

    #[test]
    fn every_function_table_and_constraint_is_known() {
        let texts: String = std::iter::once(sql::FOUNDATION)
            .chain(sql::MIGRATIONS.iter().map(|m| m.text))
            .collect();
        let expected = expected("redress");
        let functions: usize = expected.functions.values().map(Vec::len).sum();
        assert_eq!(
            functions,
            texts.matches("create function").count()
                + sql::TRIGGERS.matches("create or replace function").count()
        );
        assert_eq!(
            expected.tables.len(),
            texts.matches("\ncreate table").count()
        );
        let index = |c: &&(String, String)| texts.contains(&format!("index {} on", c.1));
        assert_eq!(
            expected.constraints.iter().filter(index).count(),
            texts.matches("create index").count() + texts.matches("create unique index").count()
        );
        for name in ["append", "enter_phase", "lift_hold"] {
            assert!(expected.functions[name][0].definer, "{name}");
        }
        for (name, function) in expected
            .functions
            .iter()
            .flat_map(|(n, all)| all.iter().map(move |f| (n, f)))
        {
            assert!(function.pinned || !function.definer, "{name}");
        }
        for (of, name) in [
            ("run", "run_key_is_used_once"),
            ("transition", "transition_is_legal"),
        ] {
            let key = (of.to_owned(), name.to_owned());
            assert!(expected.constraints.contains(&key), "{name}");
        }
    }

    #[test]
    fn only_the_operator_may_lift_a_hold() {
        let expected = expected("shop");
        let who: Vec<&str> = expected
            .rights
            .iter()
            .filter(|(name, _)| name == "lift_hold")
            .map(|(_, role)| role.as_str())
            .collect();
        assert_eq!(who, ["shop_operator"]);
        for (name, _) in &expected.rights {
            assert!(expected.functions.contains_key(name), "{name}");
        }
    }

    #[test]
    fn bodies_and_strings_do_not_end_a_statement() {
        let text = "-- a; comment\ncreate function f() returns text as $$ select ';' -- x\n $$; select ';', 1;";
        let split = statements(text);
        assert_eq!(split.len(), 2, "{split:?}");
        assert!(split[0].contains("-- x"), "{split:?}");
    }
}

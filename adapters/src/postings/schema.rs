//! The tables: in which schema they are, of which version, and the statements that use them.
//!
//! **Invariant:** the adapter works with exactly one version of the tables; there is no setting that lets it pass another.
//!
//! **Not here:** changing tables of an older version. Version 1 is the first; the next one brings its bundle.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use redress::phase_tx::PhaseTx;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::error::PostingsError;
use super::with::With;

/// The version of the tables that this program works with.
pub const STORAGE_VERSION: i32 = 1;
/// The schema that the files are written for.
const WRITTEN_FOR: &str = "postings";
const NAME_BYTES_MAX: usize = 63;

/// A statement as its file has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statement {
    pub name: &'static str,
    text: &'static str,
}

const fn statement(name: &'static str, text: &'static str) -> Statement {
    Statement { name, text }
}

pub(super) const ADD_BALANCES: Statement = statement(
    "add_balances",
    include_str!("../../statements/postings/add_balances.sql"),
);
pub(super) const CHANGE_METADATA: Statement = statement(
    "change_metadata",
    include_str!("../../statements/postings/change_metadata.sql"),
);
pub(super) const HOLD_METADATA: Statement = statement(
    "hold_metadata",
    include_str!("../../statements/postings/hold_metadata.sql"),
);
pub(super) const LOCK_ACCOUNTS: Statement = statement(
    "lock_accounts",
    include_str!("../../statements/postings/lock_accounts.sql"),
);
pub(super) const LOCK_METADATA: Statement = statement(
    "lock_metadata",
    include_str!("../../statements/postings/lock_metadata.sql"),
);
pub(super) const OPEN_ACCOUNTS: Statement = statement(
    "open_accounts",
    include_str!("../../statements/postings/open_accounts.sql"),
);
pub(super) const PUT_POSTINGS: Statement = statement(
    "put_postings",
    include_str!("../../statements/postings/put_postings.sql"),
);
pub(super) const PUT_RECEIPTS: Statement = statement(
    "put_receipts",
    include_str!("../../statements/postings/put_receipts.sql"),
);
pub(super) const PUT_TRANSACTIONS: Statement = statement(
    "put_transactions",
    include_str!("../../statements/postings/put_transactions.sql"),
);
pub(super) const READ_BALANCES: Statement = statement(
    "read_balances",
    include_str!("../../statements/postings/read_balances.sql"),
);
pub(super) const REPLAY_BALANCES: Statement = statement(
    "replay_balances",
    include_str!("../../statements/postings/replay_balances.sql"),
);
pub(super) const REPLAY_COUNTS: Statement = statement(
    "replay_counts",
    include_str!("../../statements/postings/replay_counts.sql"),
);
pub(super) const REPLAY_OVERDRAWN: Statement = statement(
    "replay_overdrawn",
    include_str!("../../statements/postings/replay_overdrawn.sql"),
);
pub(super) const REPLAY_PAGE: Statement = statement(
    "replay_page",
    include_str!("../../statements/postings/replay_page.sql"),
);
pub(super) const REPLAY_REVERSALS: Statement = statement(
    "replay_reversals",
    include_str!("../../statements/postings/replay_reversals.sql"),
);
pub(super) const REPLAY_TRANSACTIONS: Statement = statement(
    "replay_transactions",
    include_str!("../../statements/postings/replay_transactions.sql"),
);
pub(super) const STORAGE_THERE: Statement = statement(
    "storage_there",
    include_str!("../../statements/postings/storage_there.sql"),
);
pub(super) const STORAGE_VERSION_FOUND: Statement = statement(
    "storage_version",
    include_str!("../../statements/postings/storage_version.sql"),
);
pub(super) const TRANSACTIONS_BY_ID: Statement = statement(
    "transactions_by_id",
    include_str!("../../statements/postings/transactions_by_id.sql"),
);
pub(super) const TRANSACTIONS_BY_REFERENCE: Statement = statement(
    "transactions_by_reference",
    include_str!("../../statements/postings/transactions_by_reference.sql"),
);

/// The statements that a phase with this `with` may send, going forward or back.
pub(super) fn used(with: &With) -> Vec<Statement> {
    let moves = !with.transactions.is_empty() || !with.reverts.is_empty();
    let knows = super::check::tables(with).contains(&with.schema.table("metadata"));
    let mut used = vec![STORAGE_VERSION_FOUND];
    if moves || !with.open.is_empty() {
        used.push(OPEN_ACCOUNTS);
    }
    if moves || !with.open.is_empty() || !with.expect.is_empty() {
        used.extend([LOCK_ACCOUNTS, READ_BALANCES]);
    }
    if moves {
        used.extend([
            ADD_BALANCES,
            PUT_TRANSACTIONS,
            PUT_POSTINGS,
            TRANSACTIONS_BY_ID,
        ]);
        used.push(TRANSACTIONS_BY_REFERENCE);
    }
    if knows {
        used.extend([HOLD_METADATA, LOCK_METADATA, CHANGE_METADATA]);
    }
    if with.reverts.iter().any(|r| r.receipt.is_some()) {
        used.push(PUT_RECEIPTS);
    }
    used
}

/// Every statement that a phase or a compensation may send.
const STATEMENTS: [Statement; 13] = [
    ADD_BALANCES,
    CHANGE_METADATA,
    HOLD_METADATA,
    LOCK_ACCOUNTS,
    LOCK_METADATA,
    OPEN_ACCOUNTS,
    PUT_POSTINGS,
    PUT_RECEIPTS,
    PUT_TRANSACTIONS,
    READ_BALANCES,
    STORAGE_VERSION_FOUND,
    TRANSACTIONS_BY_ID,
    TRANSACTIONS_BY_REFERENCE,
];

/// Every statement of the replay.
pub(super) const REPLAY: [Statement; 7] = [
    STORAGE_THERE,
    REPLAY_PAGE,
    REPLAY_BALANCES,
    REPLAY_COUNTS,
    REPLAY_OVERDRAWN,
    REPLAY_REVERSALS,
    REPLAY_TRANSACTIONS,
];

/// What makes the tables and what takes them away, in the order of their application.
const BUNDLES: [(&str, &str); 1] = [(
    include_str!("../../bundles/postings/0001_postings.up.sql"),
    include_str!("../../bundles/postings/0001_postings.down.sql"),
)];

/// The name of the schema that has the tables: `[a-z][a-z0-9_]{0,62}`; `postings` unless the installer chose another.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Schema(String);

impl Schema {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_default(&self) -> bool {
        self.0 == WRITTEN_FOR
    }

    /// A table of it, as `writes` names it.
    pub fn table(&self, name: &str) -> String {
        format!("{self}.{name}")
    }

    /// The scripts that make the tables, in order; each is run in one transaction.
    pub fn up(&self) -> Vec<String> {
        BUNDLES.iter().map(|(up, _)| self.render(up)).collect()
    }

    /// The scripts that take the tables away, in order.
    pub fn down(&self) -> Vec<String> {
        BUNDLES
            .iter()
            .rev()
            .map(|(_, down)| self.render(down))
            .collect()
    }

    /// Puts the schema's name where the files have `postings` as a schema: before a dot, and behind the word `schema`.
    fn render(&self, text: &str) -> String {
        let mut rendered = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find(WRITTEN_FOR) {
            let (before, found) = rest.split_at(at);
            let after = &found[WRITTEN_FOR.len()..];
            rendered.push_str(before);
            let starts = !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let dotted =
                after.starts_with('.') && after[1..].starts_with(|c: char| c.is_ascii_lowercase());
            let named = before.ends_with("schema ") && after.starts_with(';');
            rendered.push_str(if starts && (dotted || named) {
                &self.0
            } else {
                WRITTEN_FOR
            });
            rest = after;
        }
        rendered.push_str(rest);
        rendered
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self(WRITTEN_FOR.to_owned())
    }
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Schema {
    type Err = PostingsError;

    fn from_str(text: &str) -> Result<Self, PostingsError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_lowercase());
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        // PostgreSQL keeps `pg_` for itself.
        if first && rest && text.len() <= NAME_BYTES_MAX && !text.starts_with("pg_") {
            Ok(Self(text.to_owned()))
        } else {
            Err(PostingsError::Malformed {
                what: "a schema of postings is named [a-z][a-z0-9_]{0,62}",
                found: super::value::shown(text),
            })
        }
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The statements, rendered for one schema.
#[derive(Debug)]
pub struct Statements {
    schema: Schema,
    texts: HashMap<&'static str, String>,
}

impl Statements {
    /// Renders them.
    pub fn new(schema: &Schema) -> Self {
        let all = STATEMENTS.iter().chain(&REPLAY);
        Self {
            schema: schema.clone(),
            texts: all.map(|s| (s.name, schema.render(s.text))).collect(),
        }
    }

    pub(super) fn text(&self, statement: Statement) -> &str {
        self.texts
            .get(statement.name)
            .map_or(statement.text, String::as_str)
    }

    /// Runs a statement; its rows by name.
    pub(super) async fn rows(
        &self,
        tx: &PhaseTx<'_>,
        statement: Statement,
        params: &[Value],
    ) -> Result<Vec<Value>, PostingsError> {
        let rows = tx.query_values(self.text(statement), params).await;
        let place = statement.name;
        rows.map(|rows| rows.rows)
            .map_err(|source| PostingsError::Statement { place, source })
    }

    /// Runs a statement that gives no rows; how many it touched.
    pub(super) async fn touch(
        &self,
        tx: &PhaseTx<'_>,
        statement: Statement,
        params: &[Value],
    ) -> Result<u64, PostingsError> {
        let place = statement.name;
        let bound: Vec<redress::db::TextParam<'_>> =
            params.iter().map(redress::db::TextParam).collect();
        let refs: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = bound
            .iter()
            .map(|p| p as &(dyn tokio_postgres::types::ToSql + Sync))
            .collect();
        tx.execute(self.text(statement), &refs)
            .await
            .map_err(|source| PostingsError::Statement { place, source })
    }

    /// Refuses tables of another version, or none.
    pub(super) async fn prove_version(&self, tx: &PhaseTx<'_>) -> Result<(), PostingsError> {
        let rows = self.rows(tx, STORAGE_VERSION_FOUND, &[]).await?;
        let found = rows.first().and_then(|row| row["version"].as_i64());
        if found == Some(i64::from(STORAGE_VERSION)) {
            return Ok(());
        }
        Err(PostingsError::StorageVersion {
            schema: self.schema.to_string(),
            found: found.map_or_else(|| "none".to_owned(), |v| v.to_string()),
            wanted: STORAGE_VERSION,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_schema_leaves_no_table_in_the_default_one() {
        let shop: Schema = "shop_book".parse().expect("a name");
        let sql = Statements::new(&shop);
        let texts = STATEMENTS
            .iter()
            .chain(&REPLAY)
            .map(|s| sql.text(*s).to_owned());
        for text in texts.chain(shop.up()).chain(shop.down()) {
            assert!(
                !text.contains("postings.p") && !text.contains("postings.a"),
                "{text}"
            );
            assert!(!text.contains("schema postings;"), "{text}");
        }
        assert!(shop.up()[0].contains("create schema shop_book;"));
        assert!(shop.up()[0].contains("on shop_book.posting "));
        assert_eq!(Schema::default().up()[0], BUNDLES[0].0);
    }

    #[test]
    fn names_that_are_refused() {
        for name in ["", "A", "1a", "a-b", "a\"b", "pg_x", &"a".repeat(64)] {
            assert!(name.parse::<Schema>().is_err(), "{name}");
        }
    }
}

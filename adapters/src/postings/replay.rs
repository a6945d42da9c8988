//! Recomputes balances and transactions from the postings, both ways, and says where the tables differ.
//!
//! **Invariant:** it only reads, in one REPEATABLE READ READ ONLY transaction; payments go on meanwhile.
//!
//! **Invariant:** a transaction of an older format, which captured nothing, is `legacy` and no fault.

use redress::db::{DbError, Session, TextParam, row_to_value};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::ToSql;

use super::STORAGE_VERSION;
use super::error::PostingsError;
use super::schema::{
    REPLAY_BALANCES, REPLAY_COUNTS, REPLAY_OVERDRAWN, REPLAY_REVERSALS, REPLAY_TRANSACTIONS,
    STORAGE_VERSION_FOUND, Schema, Sql, Statement,
};

/// Findings of one kind that are named.
const FINDINGS_MAX: i64 = 1_000;
/// A balance or a transaction that is not what the postings say.
const DIFFERS: &str = "RD0361";

/// What a replay found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The schema.
    pub schema: Schema,
    /// Nothing differs.
    pub ok: bool,
    /// How many transactions were replayed.
    pub transactions: u64,
    /// How many postings.
    pub postings: u64,
    /// Transactions of an older format, which cannot be reversed without a receipt.
    pub legacy: Vec<String>,
    /// What differs.
    pub findings: Vec<Finding>,
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: &'static str,
    /// What it is about: `postings.balance`, `postings.transaction`, `postings.reversal`, `postings.overdrawn`.
    pub what: &'static str,
    /// In words.
    pub message: String,
}

/// Replays the postings of a schema.
///
/// # Errors
/// [`PostingsError::StorageVersion`] for tables of another version; the database's own answer.
pub async fn replay(session: &Session, schema: &Schema) -> Result<Report, PostingsError> {
    let begin = "begin isolation level repeatable read read only";
    session
        .batch_execute(begin)
        .await
        .map_err(|e| failed("begin", e.into()))?;
    let report = Reader {
        session,
        sql: Sql::new(schema),
    }
    .report(schema)
    .await;
    // A read-only transaction leaves nothing, however it ends.
    let _ = session.batch_execute("rollback").await;
    report
}

fn failed(place: &'static str, error: DbError) -> PostingsError {
    PostingsError::Statement {
        place,
        source: error.into(),
    }
}

struct Reader<'a> {
    session: &'a Session,
    sql: Sql,
}

impl Reader<'_> {
    async fn rows(
        &self,
        statement: Statement,
        limit: Option<i64>,
    ) -> Result<Vec<Value>, PostingsError> {
        let name = statement.name;
        let limit = limit.map(Value::from);
        let bound: Vec<TextParam<'_>> = limit.iter().map(TextParam).collect();
        let params: Vec<&(dyn ToSql + Sync)> =
            bound.iter().map(|p| p as &(dyn ToSql + Sync)).collect();
        let rows = self.session.query(self.sql.text(statement), &params).await;
        let rows = rows.map_err(|error| failed(name, error.into()))?;
        rows.iter()
            .map(row_to_value)
            .collect::<Result<_, _>>()
            .map_err(|source| PostingsError::Statement {
                place: name,
                source: source.into(),
            })
    }

    async fn report(&self, schema: &Schema) -> Result<Report, PostingsError> {
        let version = self.rows(STORAGE_VERSION_FOUND, None).await?;
        let found = version.first().and_then(|row| row["version"].as_i64());
        if found != Some(i64::from(STORAGE_VERSION)) {
            return Err(PostingsError::StorageVersion {
                schema: schema.to_string(),
                found: found.map_or_else(|| "none".to_owned(), |v| v.to_string()),
                wanted: STORAGE_VERSION,
            });
        }
        let counts = self.rows(REPLAY_COUNTS, None).await?;
        let count = |name: &str| {
            let text = counts.first().and_then(|row| row[name].as_str());
            text.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let mut report = Report {
            schema: schema.clone(),
            ok: true,
            transactions: count("transactions"),
            postings: count("postings"),
            legacy: Vec::new(),
            findings: Vec::new(),
        };
        self.balances(&mut report).await?;
        self.transactions(&mut report).await?;
        report.ok = report.findings.is_empty();
        Ok(report)
    }

    async fn balances(&self, report: &mut Report) -> Result<(), PostingsError> {
        for row in self.rows(REPLAY_BALANCES, Some(FINDINGS_MAX)).await? {
            let (account, asset) = (word(&row, "account"), word(&row, "asset"));
            let message = match (row["stored_input"].as_str(), row["input"].as_str()) {
                (None, _) => format!("account {account} has postings in {asset} and no balance"),
                (_, None) => format!("account {account} has a balance in {asset} and no postings"),
                _ => format!(
                    "account {account} has {asset} in {} and out {}, its postings add up to in {} and out {}",
                    word(&row, "stored_input"),
                    word(&row, "stored_output"),
                    word(&row, "input"),
                    word(&row, "output")
                ),
            };
            report.add("postings.balance", message);
        }
        for row in self.rows(REPLAY_OVERDRAWN, Some(FINDINGS_MAX)).await? {
            let message = format!(
                "account {} is at {} {} and may not be below nothing; nobody forced it",
                word(&row, "account"),
                word(&row, "balance"),
                word(&row, "asset")
            );
            report.add("postings.overdrawn", message);
        }
        Ok(())
    }

    async fn transactions(&self, report: &mut Report) -> Result<(), PostingsError> {
        for row in self.rows(REPLAY_TRANSACTIONS, Some(FINDINGS_MAX)).await? {
            let id = word(&row, "id").to_owned();
            if row["legacy"].as_bool() == Some(true) {
                report.legacy.push(id);
            } else {
                let message = format!("transaction {id} captured other postings than it has");
                report.add("postings.transaction", message);
            }
        }
        for row in self.rows(REPLAY_REVERSALS, Some(FINDINGS_MAX)).await? {
            let id = word(&row, "id");
            let message = match row["reverses"].as_str() {
                Some(reversed) => format!("transaction {id} is not the mirror of {reversed}"),
                None => format!("transaction {id} has no posting"),
            };
            report.add("postings.reversal", message);
        }
        Ok(())
    }
}

impl Report {
    fn add(&mut self, what: &'static str, message: String) {
        self.findings.push(Finding {
            code: DIFFERS,
            what,
            message,
        });
    }
}

fn word<'r>(row: &'r Value, column: &str) -> &'r str {
    row[column].as_str().unwrap_or("nothing")
}

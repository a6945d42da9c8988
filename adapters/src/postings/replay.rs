//! Recomputes balances from the postings and compares the transactions with the ledger's records, both ways.
//!
//! **Invariant:** it only reads, in one REPEATABLE READ READ ONLY transaction; payments go on meanwhile.
//!
//! **Invariant:** a transaction of an older format, which captured nothing, is `legacy` and no fault.

use std::collections::{BTreeMap, BTreeSet};

use redress::Engine;
use redress::committed::CommittedPhase;
use redress::db::{DbError, Session, TextParam, row_to_value};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::STORAGE_VERSION;
use super::error::PostingsError;
use super::format::{Posting, Undo};
use super::schema::{
    REPLAY_BALANCES, REPLAY_COUNTS, REPLAY_OVERDRAWN, REPLAY_PAGE, REPLAY_REVERSALS,
    REPLAY_TRANSACTIONS, STORAGE_THERE, STORAGE_VERSION_FOUND, Schema, Statement, Statements,
};

/// Transactions that are read at a time.
const PAGE: i64 = 5_000;
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
    /// Records of an older format, which captured no postings: run and record.
    pub legacy_records: Vec<String>,
    /// What differs.
    pub findings: Vec<Finding>,
}

/// What the ledger says: every committed phase of this adapter.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    phases: Vec<CommittedPhase>,
    complete: bool,
}

impl Ledger {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Engine::committed_by`].
    pub async fn read(engine: &Engine) -> Result<Self, redress::Error> {
        let mut phases = Vec::new();
        let complete = engine
            .committed_by(super::NAME, |phase| phases.push(phase))
            .await?;
        Ok(Self { phases, complete })
    }

    /// The schemas that its records are about.
    pub fn schemas(&self) -> BTreeSet<Schema> {
        let named = self
            .phases
            .iter()
            .filter_map(|phase| phase.undo.get("schema")?.as_str());
        named.filter_map(|name| name.parse().ok()).collect()
    }
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

/// Whether a schema has the tables.
///
/// # Errors
/// The database's own answer.
pub async fn is_there(session: &Session, schema: &Schema) -> Result<bool, PostingsError> {
    let sql = Statements::new(schema);
    let rows = Reader { session, sql }.rows(STORAGE_THERE, None).await?;
    Ok(rows.first().is_some_and(|row| row["there"] == true))
}

/// Whether a schema has the tables, and of the version that this program works with.
///
/// # Errors
/// [`PostingsError::StorageVersion`] for tables of another version; the database's own answer.
pub async fn stands(session: &Session, schema: &Schema) -> Result<bool, PostingsError> {
    if !is_there(session, schema).await? {
        return Ok(false);
    }
    let sql = Statements::new(schema);
    Reader { session, sql }.expect_version(schema).await?;
    Ok(true)
}

/// Replays the postings of a schema.
///
/// # Errors
/// [`PostingsError::StorageVersion`] for tables of another version; the database's own answer.
pub async fn replay(
    session: &Session,
    schema: &Schema,
    ledger: &Ledger,
) -> Result<Report, PostingsError> {
    let begin = "begin isolation level repeatable read read only";
    session
        .batch_execute(begin)
        .await
        .map_err(|e| failed("begin", e.into()))?;
    let report = Reader {
        session,
        sql: Statements::new(schema),
    }
    .report(schema, ledger)
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
    sql: Statements,
}

impl Reader<'_> {
    async fn rows(
        &self,
        statement: Statement,
        limit: Option<i64>,
    ) -> Result<Vec<Value>, PostingsError> {
        let limit: Vec<Value> = limit.map(Value::from).into_iter().collect();
        self.rows_of(statement, &limit).await
    }

    async fn rows_of(
        &self,
        statement: Statement,
        values: &[Value],
    ) -> Result<Vec<Value>, PostingsError> {
        let name = statement.name;
        let bound: Vec<TextParam<'_>> = values.iter().map(TextParam).collect();
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

    async fn expect_version(&self, schema: &Schema) -> Result<(), PostingsError> {
        let version = self.rows(STORAGE_VERSION_FOUND, None).await?;
        let found = version.first().and_then(|row| row["version"].as_i64());
        if found == Some(i64::from(STORAGE_VERSION)) {
            return Ok(());
        }
        Err(PostingsError::StorageVersion {
            schema: schema.to_string(),
            found: found.map_or_else(|| "none".to_owned(), |v| v.to_string()),
            wanted: STORAGE_VERSION,
        })
    }

    async fn report(&self, schema: &Schema, ledger: &Ledger) -> Result<Report, PostingsError> {
        self.expect_version(schema).await?;
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
            legacy_records: Vec::new(),
            findings: Vec::new(),
        };
        self.balances(&mut report).await?;
        self.transactions(&mut report).await?;
        self.against(ledger, &mut report).await?;
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

/// A transaction as its row has it.
struct Stored {
    run: String,
    reverses: Option<String>,
    captured: Option<String>,
}

impl Reader<'_> {
    /// Compares the ledger with the transactions, both ways.
    async fn against(&self, ledger: &Ledger, report: &mut Report) -> Result<(), PostingsError> {
        let mut rows = self.stored().await?;
        let reversals: BTreeMap<String, String> = rows
            .iter()
            .filter_map(|(id, row)| Some((row.reverses.clone()?, id.clone())))
            .collect();
        for phase in &ledger.phases {
            let place = format!("record {} of run {}", phase.seq, phase.run);
            let undo = match Undo::read(&phase.undo, &place) {
                Ok(undo) if undo.schema == report.schema => undo,
                Ok(_) => continue,
                Err(PostingsError::LegacyRecord(_)) => {
                    report.legacy_records.push(place);
                    continue;
                }
                Err(error) => {
                    report.add("postings.record", error.to_string());
                    continue;
                }
            };
            for captured in &undo.transactions {
                let id = captured.id.to_string();
                let back = reversals.get(&id).and_then(|by| rows.get(by));
                let own = back.is_some_and(|by| by.run == phase.run.to_string());
                let reversed = phase.taken_back.as_deref() == Some("soft_revert");
                if reversed && !own {
                    let text =
                        format!("{place} was taken back, and nothing of its run reverses {id}");
                    report.add("postings.reversal", text);
                }
                if reversed && own {
                    rows.remove(&reversals[&id]);
                }
                match rows.remove(&id) {
                    None => {
                        let text =
                            format!("{place} committed transaction {id}, which is not there");
                        report.add("postings.transaction", text);
                    }
                    Some(row) => {
                        let kept = row
                            .captured
                            .as_deref()
                            .map(serde_json::from_str::<Vec<Posting>>);
                        let same = match kept {
                            None => true,
                            Some(kept) => kept.is_ok_and(|kept| kept == captured.postings),
                        };
                        if !same || row.run != phase.run.to_string() {
                            let text = format!("transaction {id} is not what {place} says");
                            report.add("postings.transaction", text);
                        }
                    }
                }
            }
        }
        // What is left was committed by nobody, unless the runs that did are archived, or wrote older records.
        if ledger.complete && report.legacy_records.is_empty() {
            for id in rows.keys() {
                report.add(
                    "postings.transaction",
                    format!("no record committed transaction {id}"),
                );
            }
        }
        Ok(())
    }

    /// Every transaction, page by page.
    async fn stored(&self) -> Result<BTreeMap<String, Stored>, PostingsError> {
        let mut all = BTreeMap::new();
        let mut after = Uuid::nil().to_string();
        loop {
            let page = [Value::from(after.as_str()), Value::from(PAGE)];
            let rows = self.rows_of(REPLAY_PAGE, &page).await?;
            for row in &rows {
                let own = |column: &str| row[column].as_str().map(str::to_owned);
                after = word(row, "id").to_owned();
                let stored = Stored {
                    run: word(row, "run").to_owned(),
                    reverses: own("reverses"),
                    captured: own("captured"),
                };
                all.insert(after.clone(), stored);
            }
            if rows.is_empty() {
                return Ok(all);
            }
        }
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

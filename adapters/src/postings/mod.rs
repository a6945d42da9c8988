//! The `postings` adapter: double-entry transactions that balance, reversed by new transactions and never edited.
//!
//! * [`With`] is what a saga file gives; [`with`] has its shape.
//! * Amounts are whole numbers of an asset's smallest unit, as strings of digits.
//! * A reversal mirrors the postings that were captured when the transaction committed: they stand in the phase's record
//!   and in the transaction's row. The log of postings is never read for it. A signed receipt with its record will do too.
//! * What a phase may lock, move, set or delete, it declares (`accounts`, `keys`); the rest is `CoverageMiss` (RD0302).
//! * Deleting metadata leaves a tombstone; [`Kept`] is how a reader keeps metadata without bringing a deleted key back.
//! * The tables come with [`Schema::up`] (`redress postings up`); [`replay`] recomputes them.
//!
//! From Rust the same phase is built with [`With`] and the typed builder, or an adapter of one's own calls
//! [`Book::work`] on its transaction.
//!
//! **Invariant:** what is committed never changes. A second reversal is refused by a constraint, a used reference by
//! another, whatever the program thinks.
//!
//! **Not here:** rates and rounding between assets; a posting moves one asset.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use redress::adapter::{Adapter, AdapterError, Applied, Call, Finding, Survey};
use redress::definition::Phase;
use redress::phase_tx::{PhaseTx, TxError};
use redress::plan::Action;
use redress_ledger::Vkey;
use serde_json::{Map, Value, json};
use uuid::Uuid;

mod book;
mod check;
mod error;
mod facts;
pub mod format;
mod keys;
mod receipt;
pub mod replay;
mod resolve;
mod schema;
mod value;
pub mod with;

pub use book::{Book, Done, Job, Posted, Wanted};
pub use error::PostingsError;
pub use facts::{Changed, FactChange, Kept, Place};
pub use keys::Keys;
pub use receipt::Proof;
pub use schema::{STORAGE_VERSION, Schema, Statements};
pub use value::{Address, Amount, Asset, Key, Words};
pub use with::With;

use crate::finding::{NOT_ACCEPTED, finding, read_with};
use crate::inspect::plan::explain;
use crate::inspect::proof::modified;
use crate::inspect::refused;
use crate::inspect::rights::Needs;
use format::{Captured, FORMAT, Posting, Undo};
use resolve::{Asked, Scope};

/// The name that saga files use.
pub const NAME: &str = "postings";
/// When the statements of so many schemas are rendered, the cache starts anew.
const SCHEMAS_MAX: usize = 256;

/// Commits and reverses double-entry transactions.
#[derive(Debug, Default)]
pub struct PostingsAdapter {
    engines: Vec<Vkey>,
    rendered: RwLock<HashMap<Schema, Arc<Statements>>>,
}

impl PostingsAdapter {
    /// One that takes receipts which one of these engines signed.
    pub fn trusting(engines: Vec<Vkey>) -> Self {
        Self {
            engines,
            ..Self::default()
        }
    }

    fn sql(&self, schema: &Schema) -> Arc<Statements> {
        let found = self
            .rendered
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(schema)
            .map(Arc::clone);
        if let Some(sql) = found {
            return sql;
        }
        let sql = Arc::new(Statements::new(schema));
        let mut all = self
            .rendered
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SCHEMAS_MAX {
            all.clear();
        }
        all.insert(schema.clone(), Arc::clone(&sql));
        sql
    }

    /// What is reversed, with the postings that were captured for it.
    async fn look_up(
        &self,
        book: &Book<'_>,
        asked: Vec<Asked>,
    ) -> Result<Vec<Wanted>, PostingsError> {
        let mut all = Vec::with_capacity(asked.len());
        for one in asked {
            let proven = match &one.receipt {
                Some((note, record)) => Some(receipt::captured(
                    &self.engines,
                    note,
                    record,
                    one.transaction,
                )?),
                None => None,
            };
            let (captured, proof) = match proven {
                Some((captured, proof)) => {
                    agree(book, &captured).await?;
                    (captured, Some(proof))
                }
                None => (
                    stored(book, one.transaction.unwrap_or_default()).await?,
                    None,
                ),
            };
            all.push(mirror(
                &captured,
                Wanted {
                    proof,
                    ..one.wanted
                },
                one.at_original,
            ));
        }
        Ok(all)
    }

    /// The job that takes a phase back: its transactions reversed, last one first, and its metadata put back.
    fn job_back(with: &With, scope: Scope<'_>, undo: &Undo) -> Result<Job, PostingsError> {
        let back = &with.compensation;
        let (effective, at_original) = scope.when(back.effective.as_ref())?;
        let wanted = Wanted {
            effective,
            metadata: scope.facts(&back.metadata)?,
            force: scope.force(back.force.as_ref())?,
            ..Wanted::default()
        };
        let own: Vec<String> = undo.transactions.iter().map(|t| t.id.to_string()).collect();
        let mut facts = Vec::new();
        for fact in &undo.metadata {
            // What is known about a transaction stays known about it when it is reversed.
            if fact.kind == "transaction" && own.contains(&fact.target) {
                continue;
            }
            facts.push(put_back(fact)?);
        }
        let reversals = undo.transactions.iter().rev();
        Ok(Job {
            wanted: reversals
                .map(|t| mirror(t, wanted.clone(), at_original))
                .collect(),
            facts,
            ..Job::default()
        })
    }

    async fn back(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        judge_only: bool,
    ) -> Result<(With, Done), PostingsError> {
        let with = read(call.phase)?;
        let place = format!("the record of phase {}", call.phase.name);
        let undo = Undo::read(call.undo, &place)?;
        if undo.schema != with.schema {
            return Err(PostingsError::Inconsistent(format!(
                "{place} is about schema {}, the phase about {}",
                undo.schema, with.schema
            )));
        }
        let scope = Scope(call.context);
        let mut job = Self::job_back(&with, scope, &undo)?;
        job.judge_only = judge_only;
        let keys = scope.keys(&with)?;
        let sql = self.sql(&with.schema);
        let book = book(tx, &sql, &keys, call)?;
        let done = book.work(&job).await?;
        Ok((with, done))
    }
}

fn read(phase: &Phase) -> Result<With, PostingsError> {
    read_with(&phase.with).map_err(|finding| {
        PostingsError::Inconsistent(format!("`with{}`: {}", finding.path, finding.message))
    })
}

fn book<'a>(
    tx: &'a PhaseTx<'a>,
    sql: &'a Statements,
    keys: &'a Keys,
    call: &'a Call<'_>,
) -> Result<Book<'a>, PostingsError> {
    let run = call.context.pointer("/run/id").and_then(Value::as_str);
    let run = run.and_then(|run| run.parse::<Uuid>().ok());
    Ok(Book {
        tx,
        sql,
        keys,
        run: run.ok_or_else(|| PostingsError::Pointer("/run/id".to_owned()))?,
        phase: call.phase.name.as_str(),
    })
}

/// The reversal of a transaction.
fn mirror(captured: &Captured, wanted: Wanted, at_original: bool) -> Wanted {
    let effective = if at_original {
        Some(captured.effective.clone())
    } else {
        wanted.effective
    };
    Wanted {
        effective,
        postings: captured
            .postings
            .iter()
            .rev()
            .map(Posting::mirrored)
            .collect(),
        reverses: Some(captured.id),
        ..wanted
    }
}

fn put_back(fact: &format::Fact) -> Result<FactChange, PostingsError> {
    let is_account = fact.kind == "account";
    let broken =
        || PostingsError::Inconsistent(format!("metadata of {} {}", fact.kind, fact.target));
    let transaction = if is_account {
        None
    } else {
        Some(fact.target.parse().map_err(|_| broken())?)
    };
    Ok(FactChange {
        account: is_account.then(|| fact.target.parse()).transpose()?,
        transaction,
        key: fact.key.parse()?,
        value: fact.was.as_deref().map(str::parse).transpose()?,
        at: Some(fact.revision),
    })
}

/// The captured postings of a transaction, from its row.
async fn stored(book: &Book<'_>, id: Uuid) -> Result<Captured, PostingsError> {
    let rows = book
        .sql
        .rows(book.tx, schema::TRANSACTIONS_BY_ID, &[json!([id])])
        .await?;
    let row = rows.first().ok_or(PostingsError::NotFound(id))?;
    let captured = row["captured"].as_str();
    let captured =
        captured.ok_or_else(|| PostingsError::LegacyRecord(format!("transaction {id}")))?;
    let postings: Vec<Posting> = serde_json::from_str(captured)
        .map_err(|error| PostingsError::Inconsistent(format!("transaction {id}: {error}")))?;
    if postings.is_empty() {
        return Err(PostingsError::Inconsistent(format!(
            "transaction {id} captured no posting"
        )));
    }
    Ok(Captured {
        id,
        effective: book::text(row, "effective")?.to_owned(),
        postings,
    })
}

/// What a receipt proves must be what stands here; a row of an older format says nothing against it.
async fn agree(book: &Book<'_>, proven: &Captured) -> Result<(), PostingsError> {
    match stored(book, proven.id).await {
        Ok(stored) if stored.postings == proven.postings => Ok(()),
        Ok(_) => Err(PostingsError::Inconsistent(format!(
            "the receipt's record and transaction {} disagree",
            proven.id
        ))),
        Err(PostingsError::LegacyRecord(_)) => Ok(()),
        Err(PostingsError::NotFound(id)) => Err(PostingsError::Inconsistent(format!(
            "a signed receipt says that transaction {id} was committed, and its row is gone"
        ))),
        Err(other) => Err(other),
    }
}

/// What people read: how many rows of each table.
fn touched(with: &With, done: &Done) -> Map<String, Value> {
    let new = || done.posted.iter().filter(|p| !p.existing && !p.dry_run);
    let lines: usize = new().map(|p| p.captured.postings.len()).sum();
    let changed = done.changed.iter().filter(|c| c.done != "absent").count();
    let counts = [
        ("transaction", new().count()),
        ("posting", lines),
        ("metadata", changed),
    ];
    counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(table, count)| (with.schema.table(table), json!(count)))
        .collect()
}

/// A transaction as later phases see it.
fn shown(posted: &Posted) -> Value {
    json!({
        "id": posted.captured.id,
        "effective": posted.captured.effective,
        "reference": posted.reference,
        "reverses": posted.reverses,
        "forced_by": posted.forced_by,
        "existing": posted.existing,
        "dry_run": posted.dry_run,
        "postings": posted.captured.postings,
    })
}

fn applied(with: &With, done: &Done) -> Applied {
    let names = with.transactions.iter().map(|t| &t.keep_as);
    let names = names.chain(with.reverts.iter().map(|r| &r.keep_as));
    let mut output = Map::new();
    for (name, posted) in names.zip(&done.posted) {
        if let Some(name) = name {
            output.insert(name.to_string(), json!([shown(posted)]));
        }
    }
    // The metadata that the file asked for comes first; what belongs to transactions follows it.
    if !with.metadata.is_empty() {
        let rows: Vec<Value> = done.changed.iter().map(|c| json!(c)).collect();
        output.insert(check::METADATA.to_owned(), json!(rows));
    }
    let own = done.posted.iter().filter(|p| !p.existing && !p.dry_run);
    let undo = Undo {
        format: FORMAT,
        schema: with.schema.clone(),
        transactions: own.map(|p| p.captured.clone()).collect(),
        metadata: done
            .changed
            .iter()
            .filter(|c| c.done != "absent")
            .map(|c| c.fact.clone())
            .collect(),
    };
    Applied {
        output,
        undo: undo.to_value(),
        touched: touched(with, done),
    }
}

#[async_trait]
impl Adapter for PostingsAdapter {
    fn name(&self) -> &str {
        NAME
    }

    fn check(&self, phase: &Phase) -> Vec<Finding> {
        check::check(phase)
    }

    async fn survey(&self, tx: &PhaseTx<'_>, phase: &Phase) -> Result<Survey, AdapterError> {
        let mut survey = Survey::default();
        let with = match read_with::<With>(&phase.with) {
            Ok(with) => with,
            Err(finding) => {
                survey.findings.push(finding);
                return Ok(survey);
            }
        };
        let sql = self.sql(&with.schema);
        match sql.prove_version(tx).await {
            Ok(()) => {}
            Err(PostingsError::Statement { source, .. }) => {
                let found = refused("/schema", source)?;
                let message = format!(
                    "{}; `redress postings up --schema {}` makes the tables",
                    found.message, with.schema
                );
                survey
                    .findings
                    .push(finding("/schema", NOT_ACCEPTED, message));
            }
            Err(error) => {
                survey
                    .findings
                    .push(finding("/schema", error.code(), error.to_string()));
            }
        }
        if !survey.findings.is_empty() {
            return Ok(survey);
        }
        let mut needs = Needs::default();
        for statement in schema::used(&with) {
            let planned = plan(tx, sql.text(statement), &mut needs).await;
            if let Err(error) = planned {
                survey.findings.push(refused("/schema", error)?);
                return Ok(survey);
            }
        }
        survey.rights = needs.rights(tx).await?;
        Ok(survey)
    }

    async fn apply(&self, tx: &PhaseTx<'_>, call: &Call<'_>) -> Result<Applied, AdapterError> {
        let with = read(call.phase)?;
        let scope = Scope(call.context);
        let keys = scope.keys(&with)?;
        let sql = self.sql(&with.schema);
        let book = book(tx, &sql, &keys, call)?;
        sql.prove_version(tx).await?;
        let (mut job, asked) = scope.job(&with)?;
        job.wanted.extend(self.look_up(&book, asked).await?);
        let done = book.work(&job).await?;
        Ok(applied(&with, &done))
    }

    async fn guard(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<(), AdapterError> {
        match action {
            Action::Nothing => Ok(()),
            Action::SoftRevert => Ok(self.back(tx, call, true).await.map(|_| ())?),
            _ => Err(unsupported(action)),
        }
    }

    async fn revert(
        &self,
        tx: &PhaseTx<'_>,
        call: &Call<'_>,
        action: Action,
    ) -> Result<Map<String, Value>, AdapterError> {
        match action {
            Action::Nothing => Ok(Map::new()),
            Action::SoftRevert => {
                let (with, done) = self.back(tx, call, false).await?;
                Ok(touched(&with, &done))
            }
            _ => Err(unsupported(action)),
        }
    }
}

/// Prepares and plans one of our own statements, and notes what it needs.
async fn plan(tx: &PhaseTx<'_>, sql: &str, needs: &mut Needs) -> Result<(), TxError> {
    tx.prepare(sql).await?;
    let plan = explain(tx, sql).await?;
    let modified = modified(tx, &plan).await?;
    needs.add(sql, &plan, &modified);
    Ok(())
}

fn unsupported(action: Action) -> AdapterError {
    AdapterError::Unsupported {
        adapter: NAME.to_owned(),
        action: action.as_str(),
    }
}

//! Moves amounts between accounts inside a phase's transaction: everything locked in one order, judged under lock, written.
//!
//! **Invariant:** accounts are locked before any balance is read, all of a job's at once and in the order of their
//! addresses; so two jobs never wait for each other, and what was judged is what is written.
//!
//! **Invariant:** a transaction moves from one account to another, so it balances by its form. A reversal is a new
//! transaction with the captured postings mirrored; the log of postings is never read for it.
//!
//! **What can go wrong:** a plan that compensates several phases in one transaction locks them one after the other; two
//! such plans over the same accounts can wait for each other. PostgreSQL ends one (40P01), which is tried again.

use std::collections::{BTreeMap, BTreeSet};

use redress::db::DbError;
use redress::phase_tx::{PhaseTx, TxError};
use redress_ledger::Hash;
use redress_ledger::canonical::to_canonical;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::PostingsError;
use super::facts::{self, Changed, FactChange};
use super::format::{Captured, Posting};
use super::keys::Keys;
use super::receipt::Proof;
use super::schema::{self, Statements};
use super::value::{Address, Asset, Key, Words, add, balance};
use super::with::Mode;

/// A transaction to commit.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Used once; again with the same content: the same transaction.
    pub reference: Option<Words>,
    /// When it counts, RFC 3339; `None`: now.
    pub effective: Option<String>,
    /// What it moves.
    pub postings: Vec<Posting>,
    /// What is known about it.
    pub metadata: BTreeMap<Key, Words>,
    /// What it reverses; then `postings` are the mirrored ones.
    pub reverses: Option<Uuid>,
    /// Who lets it overdraw.
    pub force: Option<Words>,
    /// The receipt that it was made from.
    pub proof: Option<Proof>,
    /// Judge and report, move nothing.
    pub dry_run: bool,
}

impl Wanted {
    /// What a reference stands for.
    fn digest(&self) -> Result<Hash, PostingsError> {
        let content = json!({
            "postings": self.postings,
            "effective": self.effective,
            "metadata": self.metadata.iter().map(|(k, v)| (k.to_string(), json!(v))).collect::<serde_json::Map<_, _>>(),
            "reverses": self.reverses,
        });
        let bytes = to_canonical(&content)
            .map_err(|error| PostingsError::Inconsistent(format!("no canonical form: {error}")))?;
        Ok(Hash::of(&bytes))
    }
}

/// What became of a wanted transaction.
#[derive(Clone, Debug)]
pub struct Posted {
    /// As it was committed.
    pub captured: Captured,
    /// Its reference.
    pub reference: Option<Words>,
    /// What it reverses.
    pub reverses: Option<Uuid>,
    /// Who forced it, when it had to be forced.
    pub forced_by: Option<Words>,
    /// It was there already, under its reference.
    pub existing: bool,
    /// Nothing was moved.
    pub dry_run: bool,
}

/// Everything that one call does.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Accounts to open, and whether they may be overdrawn.
    pub open: Vec<(Address, bool)>,
    /// Balances that must be there.
    pub expect: Vec<(Address, Asset, i128)>,
    /// Transactions, in order.
    pub wanted: Vec<Wanted>,
    /// Metadata to change.
    pub facts: Vec<FactChange>,
    /// What deleting an absent key means.
    pub mode: Mode,
    /// Judge everything, write nothing.
    pub judge_only: bool,
}

/// What a job did.
#[derive(Debug, Default)]
pub struct Done {
    /// The transactions, in the order in which they were wanted.
    pub posted: Vec<Posted>,
    /// What became of each change of metadata.
    pub changed: Vec<Changed>,
}

/// Postings of one phase, on its transaction.
pub struct Book<'a> {
    pub(super) tx: &'a PhaseTx<'a>,
    pub(super) sql: &'a Statements,
    /// What the phase declares.
    pub(super) keys: &'a Keys,
    /// Who is noted as the maker.
    pub(super) run: Uuid,
    pub(super) phase: &'a str,
}

type Place = (Address, Asset);

/// What the accounts of a job have, as they are locked.
#[derive(Default)]
struct Locked {
    overdraft: BTreeMap<Address, bool>,
    balances: BTreeMap<Place, i128>,
    moved: BTreeMap<Place, (i128, i128)>,
}

impl<'a> Book<'a> {
    /// A book for an adapter of one's own: the statements of a schema, what its phase declares, and who is noted as the maker.
    pub fn new(
        tx: &'a PhaseTx<'a>,
        statements: &'a Statements,
        keys: &'a Keys,
        run: Uuid,
        phase: &'a str,
    ) -> Self {
        Self {
            tx,
            sql: statements,
            keys,
            run,
            phase,
        }
    }
}

impl Book<'_> {
    /// Does a job, or refuses it as a whole.
    ///
    /// # Errors
    /// [`PostingsError`]; the transaction is to be rolled back.
    pub async fn work(&self, job: &Job) -> Result<Done, PostingsError> {
        self.sql.prove_version(self.tx).await?;
        self.admit(job)?;
        let mut locked = self.lock(job).await?;
        for (account, asset, min) in &job.expect {
            locked.expect(account, asset, *min)?;
        }
        let posted = self.judge(job, &mut locked).await?;
        let new = || posted.iter().filter(|p| !p.existing && !p.dry_run);
        let mut changes = job.facts.clone();
        for (posted, wanted) in posted.iter().zip(&job.wanted) {
            if !posted.existing && !posted.dry_run {
                changes.extend(facts::of_transaction(posted.captured.id, &wanted.metadata));
            }
        }
        let mut posted = posted.clone();
        if !job.judge_only && new().next().is_some() {
            self.write(job, &mut posted, &locked).await?;
        }
        let changed = facts::change(self, &changes, job.mode, job.judge_only).await?;
        Ok(Done { posted, changed })
    }

    fn admit(&self, job: &Job) -> Result<(), PostingsError> {
        let named = job.facts.iter().filter_map(|fact| fact.account.as_ref());
        self.keys
            .admit_accounts(accounts(job).iter().chain(named))?;
        let of_wanted = job.wanted.iter().flat_map(|w| w.metadata.keys());
        self.keys
            .admit_keys(job.facts.iter().map(|f| &f.key).chain(of_wanted))
    }

    /// Opens what is new and locks everything that is touched, in one order.
    async fn lock(&self, job: &Job) -> Result<Locked, PostingsError> {
        let accounts = accounts(job);
        let mut locked = Locked::default();
        if accounts.is_empty() {
            return Ok(locked);
        }
        let declared: BTreeMap<&Address, bool> = job
            .open
            .iter()
            .map(|(account, overdraft)| (account, *overdraft))
            .collect();
        let forward = job.wanted.iter().filter(|w| w.reverses.is_none());
        let mut new: BTreeSet<&Address> = declared.keys().copied().collect();
        new.extend(
            forward
                .flat_map(|w| &w.postings)
                .flat_map(|p| [&p.source, &p.destination]),
        );
        if !job.judge_only && !new.is_empty() {
            let opened: Vec<Value> = new
                .iter()
                .map(|a| json!({"address": a, "overdraft": declared.get(a).copied().unwrap_or(false)}))
                .collect();
            self.sql
                .touch(self.tx, schema::OPEN_ACCOUNTS, &[json!(opened)])
                .await?;
        }
        let rows = self
            .sql
            .rows(self.tx, schema::LOCK_ACCOUNTS, &[json!(accounts)])
            .await?;
        for row in &rows {
            let account: Address = text(row, "address")?.parse()?;
            let overdraft = row["overdraft"].as_bool().unwrap_or(false);
            if declared
                .get(&account)
                .is_some_and(|asked| *asked != overdraft)
            {
                return Err(PostingsError::OpenedOtherwise(account.to_string()));
            }
            locked.overdraft.insert(account, overdraft);
        }
        let assets: BTreeSet<&Asset> = job
            .wanted
            .iter()
            .flat_map(|w| w.postings.iter().map(|p| &p.asset))
            .chain(job.expect.iter().map(|(_, asset, _)| asset))
            .collect();
        let params = [json!(accounts), json!(assets)];
        for row in &self
            .sql
            .rows(self.tx, schema::READ_BALANCES, &params)
            .await?
        {
            let place = (text(row, "account")?.parse()?, text(row, "asset")?.parse()?);
            locked
                .balances
                .insert(place, balance(text(row, "balance")?)?);
        }
        Ok(locked)
    }

    /// Judges every wanted transaction against what is locked, in order.
    async fn judge(&self, job: &Job, locked: &mut Locked) -> Result<Vec<Posted>, PostingsError> {
        let mut taken = self.references(job).await?;
        let mut reversed = self.reversed(job).await?;
        let mut posted = Vec::with_capacity(job.wanted.len());
        for wanted in &job.wanted {
            let digest = wanted.digest()?;
            let mut made = Posted {
                captured: Captured {
                    id: Uuid::now_v7(),
                    effective: wanted.effective.clone().unwrap_or_default(),
                    postings: wanted.postings.clone(),
                },
                reference: wanted.reference.clone(),
                reverses: wanted.reverses,
                forced_by: None,
                existing: false,
                dry_run: wanted.dry_run || job.judge_only,
            };
            if let Some(reference) = &wanted.reference {
                if let Some((id, of)) = taken.get(reference) {
                    if *of != digest {
                        return Err(PostingsError::Conflict {
                            reference: reference.to_string(),
                            transaction: id.to_string(),
                        });
                    }
                    made.captured.id = *id;
                    made.existing = true;
                    posted.push(made);
                    continue;
                }
                taken.insert(reference.clone(), (made.captured.id, digest));
            }
            if let Some(target) = wanted.reverses {
                match reversed.insert(target, Some(made.captured.id)) {
                    Some(None) => {}
                    Some(Some(by)) => {
                        return Err(PostingsError::AlreadyReversed {
                            transaction: target.to_string(),
                            by: by.to_string(),
                        });
                    }
                    None => {
                        return Err(PostingsError::Inconsistent(format!(
                            "transaction {target} was committed, and its row is gone"
                        )));
                    }
                }
            }
            if locked.take(wanted)? {
                made.forced_by.clone_from(&wanted.force);
            }
            posted.push(made);
        }
        Ok(posted)
    }

    /// The references of a job that are used already.
    async fn references(&self, job: &Job) -> Result<BTreeMap<Words, (Uuid, Hash)>, PostingsError> {
        let asked: Vec<&Words> = job
            .wanted
            .iter()
            .filter_map(|w| w.reference.as_ref())
            .collect();
        let mut taken = BTreeMap::new();
        if asked.is_empty() {
            return Ok(taken);
        }
        let params = [json!(asked)];
        let rows = self
            .sql
            .rows(self.tx, schema::TRANSACTIONS_BY_REFERENCE, &params)
            .await?;
        for row in &rows {
            let digest = text(row, "digest")?.parse::<Hash>();
            let digest = digest.map_err(|e| PostingsError::Inconsistent(e.to_string()))?;
            taken.insert(text(row, "reference")?.parse()?, (uuid(row, "id")?, digest));
        }
        Ok(taken)
    }

    /// What a job reverses, each with what reversed it already. The accounts are locked: nobody else reverses it now.
    async fn reversed(&self, job: &Job) -> Result<BTreeMap<Uuid, Option<Uuid>>, PostingsError> {
        let targets: Vec<Uuid> = job.wanted.iter().filter_map(|w| w.reverses).collect();
        let mut found = BTreeMap::new();
        if targets.is_empty() {
            return Ok(found);
        }
        let params = [json!(targets)];
        let rows = self
            .sql
            .rows(self.tx, schema::TRANSACTIONS_BY_ID, &params)
            .await?;
        for row in &rows {
            let by = match &row["reversed_by"] {
                Value::Null => None,
                _ => Some(uuid(row, "reversed_by")?),
            };
            found.insert(uuid(row, "id")?, by);
        }
        Ok(found)
    }

    async fn write(
        &self,
        job: &Job,
        posted: &mut [Posted],
        locked: &Locked,
    ) -> Result<(), PostingsError> {
        let (mut rows, mut lines, mut proofs) = (Vec::new(), Vec::new(), Vec::new());
        for (made, wanted) in posted.iter().zip(&job.wanted) {
            if made.existing || made.dry_run {
                continue;
            }
            let id = made.captured.id;
            rows.push(json!({
                "id": id, "run": self.run, "phase": self.phase, "reference": made.reference,
                "digest": wanted.digest()?.to_string(), "reverses": made.reverses, "effective": wanted.effective,
                "forced_by": made.forced_by, "captured": made.captured.postings,
            }));
            lines.extend((1..).zip(&made.captured.postings).map(|(number, posting)| {
                let mut line = json!(posting);
                line["transaction"] = json!(id);
                line["number"] = json!(number);
                line
            }));
            proofs.extend(wanted.proof.iter().map(|proof| {
                json!({"transaction": id, "record_sha256": proof.record.to_string(), "note": proof.note})
            }));
        }
        let put = self
            .sql
            .rows(self.tx, schema::PUT_TRANSACTIONS, &[json!(rows)])
            .await;
        for row in &put.map_err(|error| raced(error, posted))? {
            let id = uuid(row, "id")?;
            if let Some(made) = posted.iter_mut().find(|made| made.captured.id == id) {
                made.captured.effective = text(row, "effective")?.to_owned();
            }
        }
        self.sql
            .touch(self.tx, schema::PUT_POSTINGS, &[json!(lines)])
            .await?;
        self.sql
            .touch(self.tx, schema::ADD_BALANCES, &[locked.sums()])
            .await?;
        if !proofs.is_empty() {
            self.sql
                .touch(self.tx, schema::PUT_RECEIPTS, &[json!(proofs)])
                .await?;
        }
        Ok(())
    }
}

impl Locked {
    fn balance(&self, place: &Place) -> i128 {
        self.balances.get(place).copied().unwrap_or(0)
    }

    fn expect(&self, account: &Address, asset: &Asset, min: i128) -> Result<(), PostingsError> {
        let has = self.balance(&(account.clone(), asset.clone()));
        if has >= min {
            return Ok(());
        }
        Err(PostingsError::Insufficient {
            account: account.to_string(),
            asset: asset.to_string(),
            balance: has.to_string(),
            needed: format!("at least {min} is expected"),
        })
    }

    /// Takes a transaction into the balances; true when it overdraws and is forced.
    fn take(&mut self, wanted: &Wanted) -> Result<bool, PostingsError> {
        let too_large = || PostingsError::Malformed {
            what: "a balance has at most 38 digits",
            found: "more".to_owned(),
        };
        let before = self.balances.clone();
        for posting in &wanted.postings {
            let amount = posting.amount.get();
            for (account, by) in [(&posting.source, -amount), (&posting.destination, amount)] {
                if !self.overdraft.contains_key(account) {
                    return Err(PostingsError::Inconsistent(format!(
                        "account {account} is gone"
                    )));
                }
                let place = (account.clone(), posting.asset.clone());
                let sum = add(self.balance(&place), by).ok_or_else(too_large)?;
                self.balances.insert(place.clone(), sum);
                // What is only tried is not written.
                if !wanted.dry_run {
                    let moved = self.moved.entry(place).or_default();
                    let side = if by < 0 { &mut moved.1 } else { &mut moved.0 };
                    *side = add(*side, amount).ok_or_else(too_large)?;
                }
            }
        }
        let mut forced = false;
        for (place, now) in &self.balances {
            let was = before.get(place).copied().unwrap_or(0);
            let allowed = self.overdraft.get(&place.0).copied().unwrap_or(false);
            if *now >= was || *now >= 0 || allowed {
                continue;
            }
            if wanted.force.is_none() {
                return Err(PostingsError::Insufficient {
                    account: place.0.to_string(),
                    asset: place.1.to_string(),
                    balance: was.to_string(),
                    needed: format!("{} is needed", was - now),
                });
            }
            forced = true;
        }
        if wanted.dry_run {
            self.balances = before;
        }
        Ok(forced)
    }

    fn sums(&self) -> Value {
        let sums = self.moved.iter().map(|((account, asset), (input, output))| {
            json!({"account": account, "asset": asset, "input": input.to_string(), "output": output.to_string()})
        });
        sums.collect()
    }
}

/// Every account that a job locks.
fn accounts(job: &Job) -> BTreeSet<Address> {
    let mut accounts: BTreeSet<Address> = job
        .open
        .iter()
        .map(|(account, _)| account.clone())
        .collect();
    accounts.extend(job.expect.iter().map(|(account, _, _)| account.clone()));
    for posting in job.wanted.iter().flat_map(|w| &w.postings) {
        accounts.extend([posting.source.clone(), posting.destination.clone()]);
    }
    accounts
}

/// What a constraint means that another transaction reached first.
fn raced(error: PostingsError, posted: &[Posted]) -> PostingsError {
    let PostingsError::Statement {
        source:
            TxError::Db(DbError::Server {
                constraint: Some(name),
                ..
            }),
        ..
    } = &error
    else {
        return error;
    };
    let named = |of: Vec<String>| of.join(", ");
    match name.as_str() {
        "transaction_reference" => PostingsError::Raced(named(
            posted
                .iter()
                .filter_map(|p| Some(p.reference.as_ref()?.to_string()))
                .collect(),
        )),
        "transaction_reversed_once" => PostingsError::AlreadyReversed {
            transaction: named(
                posted
                    .iter()
                    .filter_map(|p| Some(p.reverses?.to_string()))
                    .collect(),
            ),
            by: "another transaction".to_owned(),
        },
        _ => error,
    }
}

/// A column that is text.
pub(super) fn text<'r>(row: &'r Value, column: &str) -> Result<&'r str, PostingsError> {
    row[column]
        .as_str()
        .ok_or_else(|| PostingsError::Inconsistent(format!("column {column} is no text")))
}

/// A column that is an id.
pub(super) fn uuid(row: &Value, column: &str) -> Result<Uuid, PostingsError> {
    text(row, column)?
        .parse()
        .map_err(|_| PostingsError::Inconsistent(format!("column {column} is no id")))
}

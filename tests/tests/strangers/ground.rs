//! One ledger with everything in it, made once: sagas ran, it was sealed twice and exported; then only files are left.

use std::fs::File;
use std::path::PathBuf;
use std::sync::OnceLock;

use redress::archive::Archives;
use redress::ledger::key::Vkey;
use redress::ledger::trust::Trust;
use redress::ledger::{Envelope, Hash, TlogProof, bundle};
use redress::{Engine, Outcome};
use redress_runbooks::execute;
use redress_tests::{Lab, Vault};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::find::{alone, kept};

/// Records of the ledger at least.
const RECORDS: u64 = 300;
const RECORDS_LONG: u64 = 100_000;
/// Sagas at once while it is made.
const IN_FLIGHT: usize = 16;
/// Records of which a proof is kept.
const PROOFS: usize = 12;

/// A saga of one phase.
const SAGA: &str = "
saga: note
version: 1
input: {type: object}
authority: {soft_revert: auto}
phases:
  - name: only
    adapter: sql
    writes: [shop.audit]
    compensation: soft_revert
    residue: [shop.audit]
    with:
      apply:
        - sql: insert into shop.audit (note) values ($1)
          params: [/run/id]
          rows: 1
      revert:
        - sql: insert into shop.audit (note) values ($1)
          params: [/run/id]";

/// Its second phase fails, and a sovereign must sign before the first one is undone.
const ASKING: &str = "
  - name: never
    adapter: sql
    writes: [shop.audit]
    compensation: soft_revert
    residue: [shop.audit]
    retry: {attempts: 1}
    with:
      apply:
        - sql: select 1 / 0
      revert:
        - sql: select 1";

/// A record with what shows that it is in the log.
pub struct Kept {
    pub record: Vec<u8>,
    pub proof: TlogProof,
}

/// What strangers are asked about.
pub struct Ground {
    /// The log's key.
    pub log: Vkey,
    /// What a reviewer trusts.
    pub trust: Trust,
    /// The key that signed the envelope.
    pub signer: Vkey,
    /// The head of the first half, and the newest one.
    pub old: Vec<u8>,
    pub new: Vec<u8>,
    /// Records all over the log.
    pub kept: Vec<Kept>,
    /// That the newest head continues the older one.
    pub consistency: Vec<Hash>,
    /// A decision as its record has it.
    pub envelope: Envelope,
    /// The exported ledger.
    pub export: PathBuf,
    /// The folder of the export is of this process, as long as it lives.
    _owner: File,
}

/// The ledger; the first test that asks makes it.
pub fn ground() -> &'static Ground {
    static GROUND: OnceLock<Ground> = OnceLock::new();
    GROUND.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(make())
    })
}

/// The saga of which a sovereign must decide.
pub fn asking(authority: &str) -> String {
    let saga = SAGA.replace("saga: note", "saga: asking");
    saga.replace("soft_revert: auto", authority) + ASKING
}

async fn make() -> Ground {
    let lab = Lab::new().await;
    lab.sql("create table shop.audit (note text not null)");
    let engine = lab.engine().await;
    for saga in [SAGA, &asking("soft_revert: {sovereign: 1}")] {
        engine.register(&Lab::read(saga)).await.expect("registered");
    }
    let vault = Vault::open(&lab, &engine).await;
    let mut sealer = vault.sealer(&engine);
    let most = match std::env::var_os("REDRESS_LONG") {
        Some(_) => RECORDS_LONG,
        None => RECORDS,
    };
    fill(&lab, &engine, most / 2).await;
    let old = sealer.seal().await.expect("sealed").head;
    let old_note = vault.published().expect("a head");
    let envelope = decided(&lab, &engine).await;
    by_runbook(&lab, &engine).await;
    fill(&lab, &engine, most).await;
    let new = sealer.seal().await.expect("sealed").head;
    let owner = alone("strangers-export");
    let export = kept("strangers-export");
    // Of an earlier process: what is left lying is one ledger, and not one for each time.
    let _ = std::fs::remove_dir_all(&export);
    let exported = engine
        .export(&export, None, &vault.log, &mut Archives::none())
        .await;
    assert_eq!(exported.expect("exported").head, new);
    let report = bundle::verify(&export, &vault.trust, &[]).expect("read");
    assert_eq!(report.verdict, bundle::Verdict::Verified, "{report:?}");
    let consistency = engine.consistency(old.size, new.size).await;
    Ground {
        log: vault.log.vkey().clone(),
        trust: vault.trust.clone(),
        signer: lab.sovereign.vkey().clone(),
        old: old_note,
        new: vault.published().expect("a head"),
        kept: proofs(&lab, &engine).await,
        consistency: consistency.expect("a proof").hashes,
        envelope,
        export,
        _owner: owner,
    }
}

/// Runs sagas until the ledger has so many records.
async fn fill(lab: &Lab, engine: &Engine, records: u64) {
    let count = || -> u64 {
        let count = lab.sql("select count(*) from redress.record");
        count.parse().expect("a number")
    };
    loop {
        let missing = records.saturating_sub(count());
        if missing == 0 {
            return;
        }
        // A run has at least two records; what that is too many, the next round makes up for.
        let each = missing / 4 / IN_FLIGHT as u64 + 1;
        let tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let engine = engine.clone();
                tokio::spawn(async move {
                    let driver = engine.driver().await.expect("a driver");
                    for _ in 0..each {
                        let start = engine.start("note", json!({}));
                        driver.start(start).await.expect("driven");
                    }
                    driver.leave().await;
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    }
}

/// A run fails, is planned for, and a sovereign approves; gives the envelope as the record has it.
async fn decided(lab: &Lab, engine: &Engine) -> Envelope {
    let run = held(engine).await;
    let stored = engine.plan(run, Default::default(), "a test").await;
    let stored = stored.expect("planned");
    let approved = engine.approve(&stored, &lab.sovereign, "so be it").await;
    approved.expect("approved");
    let outcome = engine.apply(&stored).await.expect("applied");
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    let record = lab.sql(&format!(
        "select convert_from(bytes, 'UTF8') from redress.record where run = '{run}' and kind = 'plan.approved'"
    ));
    let record: Value = serde_json::from_str(&record).expect("a record");
    Envelope::from_value(&record["body"]["envelope"]).expect("an envelope")
}

/// A run that a runbook takes back, approved by a second person: every step is a signed record.
async fn by_runbook(lab: &Lab, engine: &Engine) {
    let book = "
runbook: take-back
version: 1
title: Take it back
owner: the shop
risk: reversible
match: {saga: asking, states: [failed]}
approvals: {reviewer: 1, distinct: true}
steps: [{id: undo, compensate: {}}, {id: go, release: {holds: own}}]
tests: [{name: t, fixture: nothing, expect: {outcome: done, state: compensated}}]";
    let (book, _) = redress_runbooks::read::read_yaml(book.as_bytes(), "t").expect("a runbook");
    let operator = execute::Operator {
        engine,
        key: &lab.sovereign,
        person: lab.sovereign.vkey().name().to_string(),
        host: "here".to_owned(),
    };
    let request = execute::Request {
        runbook: book,
        run: Some(held(engine).await),
        params: Default::default(),
        reason: "a test".to_owned(),
    };
    let (execution, _) = execute::plan(&operator, &request).await.expect("planned");
    let decision = engine.decision_on_execution(&execution, "so be it").await;
    let envelope = redress::ledger::sign(&decision.expect("a decision"), &lab.reviewer);
    let approved = engine
        .approve_execution(&execution, envelope.expect("signed"))
        .await;
    approved.expect("approved");
    let given = execute::Given::default();
    let applied = execute::apply(&operator, &execution.id.to_string(), &given, &|_, _| {}).await;
    applied.expect("carried out");
}

/// A run that failed and waits for a person.
pub async fn held(engine: &Engine) -> Uuid {
    let start = engine.start("asking", json!({}));
    let (_, outcome) = engine.start_and_drive(start).await.expect("driven");
    assert!(matches!(outcome, Outcome::Held(_)), "{outcome:?}");
    outcome.run().id
}

/// Proofs for records all over the log: the last ones of runs at equal distances.
async fn proofs(lab: &Lab, engine: &Engine) -> Vec<Kept> {
    let runs = lab.sql(&format!(
        "select distinct run from redress.leaf, (select max(position) as last from redress.leaf) m
         where position in (select last * n / {PROOFS} from generate_series(0, {PROOFS}) n)"
    ));
    let mut kept = Vec::new();
    for run in runs.lines() {
        let run = run.parse().expect("a run");
        let receipt = engine
            .receipt(run, None, &mut Archives::none())
            .await
            .expect("a receipt");
        kept.push(Kept {
            record: receipt.record,
            proof: receipt.proof,
        });
    }
    kept
}

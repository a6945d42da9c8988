//! The acts of a demo, in their order; each insists on what it promises.

use std::fs;

use redress::db::{DbError, Session};
use redress_examples::cutover::{SAGA_YAML, UP};
use serde_json::Value;
use uuid::Uuid;

use super::document::Document;
use super::sealed;
use super::stage::{Ran, Stage, broken};
use crate::cluster::PrivateCluster;
use crate::fail::Fail;
use crate::place::{open, private_target};

/// Plays everything; the private server runs.
///
/// # Errors
/// RD0922 when something is not as promised; [`Fail`] when it cannot be shown.
pub async fn play(
    stage: &mut Stage,
    document: &Document,
    server: &PrivateCluster,
) -> Result<(), Fail> {
    let session = open(&private_target(&server.url("redress", "redress"))?).await?;
    prepare(stage, &session).await?;
    let units = enact(stage, document, &session).await?;
    let run = fail(stage, document, &session, units).await?;
    compensate(stage, &session, run, units).await?;
    release(stage, run).await?;
    kill(stage).await?;
    verify(stage).await?;
    tamper(stage, server, run).await?;
    sealed::give_away(stage).await?;
    sealed::tamper(stage).await
}

async fn prepare(stage: &mut Stage, session: &Session) -> Result<(), Fail> {
    stage.scene("A database, a schema of documents, a saga and a key")?;
    for (name, bundle) in UP {
        stage.tell(&format!("applying the example's bundle {name}"))?;
        let whole = format!("begin;\n{bundle}\ncommit;");
        session
            .batch_execute(&whole)
            .await
            .map_err(|error| redress::Error::from(DbError::from(error)))?;
    }
    stage.write("saga.yaml", SAGA_YAML)?;
    stage.run(&["saga", "register", "saga.yaml"], 0).await?;
    stage
        .run(&["key", "new", "sovereign", "--role", "sovereign"], 0)
        .await?;
    Ok(())
}

async fn enact(stage: &mut Stage, document: &Document, session: &Session) -> Result<u64, Fail> {
    stage.scene(&format!(
        "{} is cut into units, recorded, verified and enacted",
        document.file
    ))?;
    stage.write("input.json", &format!("{:#}\n", document.input(None)))?;
    let ran = stage
        .run(&["start", "cutover", "--input", "@input.json", "--wait"], 0)
        .await?;
    stage.insist(ran.out.contains("completed"), "the run completes")?;
    let rows = stage.query(session, UNITS).await?;
    let [row] = rows.as_slice() else {
        return Err(broken("all units are in one state"));
    };
    stage.insist(row[0] == "enacted", "every unit is enacted")?;
    let units: u64 = row[1]
        .parse()
        .map_err(|_| broken("the units can be counted"))?;
    stage.tell("An enacted unit cannot be changed, whoever asks:")?;
    let update = "update public.information_unit set heading = 'x' where ordinal = 1";
    stage.tell(&format!("sql> {update}"))?;
    match session.batch_execute(update).await {
        Ok(()) => return Err(broken("an enacted unit cannot be changed")),
        Err(error) => stage.tell(&format!("  refused: {}", DbError::from(error)))?,
    }
    Ok(units)
}

async fn fail(
    stage: &mut Stage,
    document: &Document,
    session: &Session,
    units: u64,
) -> Result<Uuid, Fail> {
    stage.scene("The same document again, with a wrong count: it fails at write_verify")?;
    let miscounted = document.input(Some(units + 1));
    stage.write("input-miscounted.json", &format!("{miscounted:#}\n"))?;
    stage
        .run(
            &[
                "start",
                "cutover",
                "--input",
                "@input-miscounted.json",
                "--wait",
            ],
            3,
        )
        .await?;
    let failed = stage.ask(&["runs", "--state", "failed"]).await?;
    let run: Uuid = text_at(&failed, "/runs/0/run")?
        .parse()
        .map_err(|_| broken("the failed run has an id"))?;
    let view = stage.ask(&["show", &run.to_string()]).await?;
    stage.insist(
        text_at(&view, "/error/phase")? == "write_verify",
        "it failed at write_verify",
    )?;

    stage.scene("What stands, and what was stopped")?;
    stage.tell("Three phases have committed; the fourth rolled back, so it left nothing:")?;
    stage.query(session, UNITS).await?;
    let counts = stage.query(session, GOVERNANCE).await?;
    stage.insist(
        counts.len() == 1 && counts[0][1] == "1",
        "the failed verification left no row",
    )?;
    stage.tell("Execution is disabled and the document is held, in the database and as a file:")?;
    stage.run(&["holds"], 0).await?;
    show_files(stage, "state/hold", 1)?;
    stage.tell("Both snapshots lie beside it, and the alert names them:")?;
    show_files(stage, &format!("state/runs/{run}"), 2)?;
    let alerts = fs::read_to_string(stage.state().join("alerts.jsonl")).unwrap_or_default();
    stage.insist(alerts.contains(&run.to_string()), "the alert names the run")?;
    stage.tell("Nobody can start anything, and there is no automatic retry:")?;
    stage
        .run(&["start", "cutover", "--input", "@input.json"], 3)
        .await?;
    stage.run(&["status"], 3).await?;
    Ok(run)
}

async fn compensate(
    stage: &mut Stage,
    session: &Session,
    run: Uuid,
    units: u64,
) -> Result<(), Fail> {
    stage.scene("The plan: chosen by rules, stored, with a digest")?;
    let id = run.to_string();
    stage.run(&["plan", &id, "--out", "plan.json"], 0).await?;
    let plan = stage.ask(&["plan", &id]).await?;
    let actions: Vec<String> = plan["plan"]["actions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|one| {
            format!(
                "{}={}",
                one["phase"].as_str().unwrap_or("?"),
                one["action"].as_str().unwrap_or("?")
            )
        })
        .collect();
    stage.insist(
        actions == MATRIX,
        &format!("the plan of the matrix, not {actions:?}"),
    )?;
    let digest = &text_at(&plan, "/digest")?[..12];
    stage.tell("Without a signature it does not run:")?;
    stage.run(&["apply", digest], 5).await?;

    stage.scene("A sovereign signs exactly this plan")?;
    let reason = "the count was wrong, the text is right";
    let approve = [
        "approve",
        "plan.json",
        "--as",
        "sovereign",
        "--reason",
        reason,
        "--non-interactive",
    ];
    stage.run(&approve, 0).await?;

    stage.scene("The unwind: one transaction, or nothing")?;
    stage.run(&["apply", digest], 0).await?;
    let rows = stage.query(session, UNITS).await?;
    let states: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    stage.insist(
        states == ["enacted", "withdrawn"],
        "the units of the failed cut are withdrawn, the others enacted",
    )?;
    stage.insist(
        rows.iter().all(|row| row[1] == units.to_string()),
        "no unit is lost",
    )?;
    stage.tell("Governance rows are never changed: the decision is one more row beside them.")?;
    let rows = stage.query(session, DECISIONS).await?;
    stage.insist(
        rows.len() == 1 && rows[0][2] == "sovereign",
        "one decision, signed by the sovereign",
    )?;
    stage.tell("A second application finds that the run has moved on:")?;
    stage.run(&["apply", digest], 6).await?;
    stage.run(&["log", &id], 0).await?;
    Ok(())
}

async fn release(stage: &mut Stage, run: Uuid) -> Result<(), Fail> {
    stage.scene("The release: signed too, bound to this hold and this kill")?;
    let view = stage.ask(&["show", &run.to_string()]).await?;
    let hold = text_at(&view, "/held/0/id")?.to_owned();
    for what in [hold.as_str(), "kill"] {
        let release = [
            "release",
            what,
            "--as",
            "sovereign",
            "--reason",
            "recounted",
            "--non-interactive",
        ];
        stage.run(&release, 0).await?;
    }
    stage.run(&["status"], 0).await?;
    show_files(stage, "state/hold", 0)
}

async fn kill(stage: &mut Stage) -> Result<(), Fail> {
    stage.scene("The kill switch by hand: published, drained, released")?;
    stage.run(&["kill", "--reason", "an exercise"], 0).await?;
    stage
        .run(&["start", "cutover", "--input", "@input.json"], 3)
        .await?;
    let release = [
        "release",
        "kill",
        "--as",
        "sovereign",
        "--reason",
        "exercise over",
        "--non-interactive",
    ];
    stage.run(&release, 0).await?;
    Ok(())
}

async fn verify(stage: &mut Stage) -> Result<(), Fail> {
    stage.scene("The ledger is verified, and replayed against the tables")?;
    stage.run(&["audit", "verify"], 0).await?;
    stage.run(&["check"], 0).await?;
    Ok(())
}

/// In a copy of the database, so that the folder keeps a sound ledger to look at.
async fn tamper(stage: &mut Stage, server: &PrivateCluster, run: Uuid) -> Result<(), Fail> {
    stage.scene("One byte of it is changed, in a copy, by the server's own superuser")?;
    let admin = open(&private_target(&server.url("postgres", "postgres"))?).await?;
    let copy = "create database tampered template redress owner redress strategy file_copy";
    let ended =
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = 'redress'";
    for sql in [ended, copy] {
        admin
            .batch_execute(sql)
            .await
            .map_err(|error| redress::Error::from(DbError::from(error)))?;
    }
    let copied = open(&private_target(&server.url("postgres", "tampered"))?).await?;
    let refused =
        format!("update redress.record set bytes = bytes where run = '{run}' and seq = 5");
    stage.tell(&format!("sql> {refused}"))?;
    match copied.batch_execute(&refused).await {
        Ok(()) => return Err(broken("a record cannot be updated")),
        Err(error) => stage.tell(&format!("  refused: {}", DbError::from(error)))?,
    }
    stage.tell(
        "So the superuser takes the protection away first, then moves the failure by a year:",
    )?;
    for sql in [
        "alter table redress.record disable trigger all".to_owned(),
        format!("{TURN_A_DIGIT} where run = '{run}' and seq = 5"),
    ] {
        stage.tell(&format!("sql> {sql}"))?;
        copied
            .batch_execute(&sql)
            .await
            .map_err(|error| redress::Error::from(DbError::from(error)))?;
    }
    drop(copied);
    let url = server.url("redress", "tampered");
    let ran = stage
        .run(&["audit", "verify", "--database", &url], 7)
        .await?;
    stage.insist(names(&ran, run), "the verifier names the record")?;
    stage.tell("The ledger that was not touched still holds:")?;
    stage.run(&["audit", "verify"], 0).await?;
    Ok(())
}

fn names(ran: &Ran, run: Uuid) -> bool {
    let said = format!("{}{}", ran.out, ran.err);
    said.contains(&run.to_string()) && said.contains('5')
}

fn show_files(stage: &Stage, folder: &str, expected: usize) -> Result<(), Fail> {
    let mut names: Vec<String> = fs::read_dir(stage.folder.join(folder))
        .map(|entries| {
            entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect()
        })
        .unwrap_or_default();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    stage.tell(&format!("$ ls {folder}"))?;
    for name in &names {
        stage.tell(&format!("  {name}"))?;
    }
    stage.insist(
        names.len() == expected,
        &format!("{expected} file(s) in {folder}"),
    )
}

fn text_at<'v>(value: &'v Value, path: &str) -> Result<&'v str, Fail> {
    value
        .pointer(path)
        .and_then(Value::as_str)
        .ok_or_else(|| broken(&format!("{path} is told")))
}

/// What the design says of a failure at `write_verify`, last phase first.
const MATRIX: [&str; 3] = [
    "leg_b_record=decide",
    "cut_leg_a=soft_revert",
    "pre_write_backup=discard",
];
const UNITS: &str =
    "select state, count(*) from public.information_unit group by state order by state";
const GOVERNANCE: &str = "select (select count(*) from cutter_governance.cut_change_set) as change_sets, \
(select count(*) from cutter_governance.verify_result) as verifications, \
(select count(*) from cutter_governance.review_decision) as decisions";
const DECISIONS: &str = "select verdict, reason, principal from cutter_governance.review_decision";
/// The last digit of the year in `"at":"2026-…`.
const TURN_A_DIGIT: &str = "update redress.record set bytes = set_byte(bytes, \
position('\"at\":\"'::bytea in bytes) + 8, get_byte(bytes, position('\"at\":\"'::bytea in bytes) + 8) # 1)";

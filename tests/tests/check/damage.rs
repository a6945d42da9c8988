//! What is wrong in a database is found and named: each damage by its own code, and by nothing else.

use redress::ledger::verify::Verdict;
use redress::{Engine, SchemaName};
use serde_json::json;

use crate::history::Copy;

/// Damages a copy and compares the codes of what is found; `$name` stands for a run's id.
async fn found(damage: &str, expected: &[&str]) {
    let copy = Copy::new().await;
    let mut damage = damage.replace("$hold", &copy.ground.hold.to_string());
    for (name, run) in &copy.ground.runs {
        damage = damage.replace(&format!("${name}"), &run.to_string());
    }
    copy.damage(&damage);
    let report = copy.engine().await.check().await.expect("checked");
    let mut codes: Vec<&str> = report.findings.iter().map(|f| f.code).collect();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes, expected, "{damage}: {report:#?}");
    assert!(!report.ok, "{damage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_database_is_green_and_its_ledger_verifies() {
    let copy = Copy::new().await;
    let engine = copy.engine().await;
    let report = engine.check().await.expect("checked");
    assert!(report.ok, "{report:#?}");
    assert_eq!(report.runs, 6);
    let records: u64 = copy
        .sql("select count(*) from redress.record")
        .parse()
        .expect("a number");
    assert_eq!(report.records, records);
    let audit = engine.audit_verify().await.expect("verified");
    assert_eq!(audit.verdict, Verdict::Verified, "{audit:?}");
    assert_eq!((audit.runs, audit.records), (7, records));
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["schema"], 1);
    assert_eq!(json["findings"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_schema_is_checked_as_well() {
    let database = redress_tests::fresh_database();
    let schema: SchemaName = "shop_saga".parse().expect("a valid name");
    let config = database.url().parse().expect("a URL that parses");
    let session = redress::db::connect(&config).await.expect("a connection");
    redress::schema::migrate(&session, &schema, "test.example/other")
        .await
        .expect("migrated");
    let pool = redress::db::pool(database.url(), 2).expect("a URL that parses");
    let engine = Engine::builder(pool)
        .schema(schema)
        .build()
        .await
        .expect("an engine");
    let report = engine.check().await.expect("checked");
    assert!(report.ok, "{report:#?}");
    database.query_text("grant update on shop_saga.run to shop_saga_engine");
    let report = engine.check().await.expect("checked");
    assert_eq!(report.findings[0].code, "RD0696", "{report:#?}");
    let audit = engine.audit_verify().await.expect("verified");
    assert!(
        matches!(audit.verdict, Verdict::Incomplete { .. }),
        "{audit:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_names_the_first_fault() {
    let check = async |damage: &str, name: &str, expected: &str| {
        let copy = Copy::new().await;
        let run = match name {
            "system" => copy.sql("select run from redress.system_log where name = 'system'"),
            name => copy.run(name).to_string(),
        };
        copy.damage(&damage.replace("$run", &run));
        let report = copy.engine().await.audit_verify().await.expect("audited");
        let Verdict::Failed {
            run: found, code, ..
        } = &report.verdict
        else {
            panic!("{damage}: {report:?}")
        };
        assert_eq!(
            (*code, found.to_string()),
            (expected, run),
            "{damage}: {report:?}"
        );
    };
    check(
        "update redress.record set switch_no = 7 where run = '$run' and seq = 1",
        "failed",
        "RD0675",
    )
    .await;
    check(
        "delete from redress.record where run = '$run' and seq = 3",
        "completed",
        "RD0631",
    )
    .await;
    check(
        "delete from redress.record where run = '$run' and seq > 5",
        "compensated",
        "RD0652",
    )
    .await;
    check(
        "delete from redress.record where run = '$run'",
        "running",
        "RD0676",
    )
    .await;
    check(
        "delete from redress.record where run = '$run'",
        "resolved",
        "RD0676",
    )
    .await;
    check(
        "delete from redress.record where run = '$run'",
        "system",
        "RD0697",
    )
    .await;
    check(
        "delete from redress.record where run = '$run' and seq = 5",
        "system",
        "RD0652",
    )
    .await;
    check(
        "delete from redress.run where id = '$run'",
        "applied",
        "RD0677",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_without_roots_or_with_others_does_not_verify() {
    let copy = Copy::new().await;
    let pool = || redress::db::pool(&copy.url(), 2).expect("a URL that parses");
    let engine = Engine::builder(pool()).build().await.expect("an engine");
    let report = engine.audit_verify().await.expect("audited");
    assert!(
        matches!(report.verdict, Verdict::Incomplete { .. }),
        "{report:?}"
    );
    let nobody = redress::ledger::trust::Trust::new();
    let engine = Engine::builder(pool())
        .trust(nobody)
        .build()
        .await
        .expect("an engine");
    let report = engine.audit_verify().await.expect("audited");
    assert!(
        matches!(report.verdict, Verdict::Failed { code: "RD0547", .. }),
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_records_are_named() {
    // Columns beside the bytes.
    found(
        "update redress.record set kind = 'phase.failed' where run = '$completed' and seq = 2",
        &["RD0675"],
    )
    .await;
    found(
        "update redress.record set epoch = 99 where run = '$failed' and seq = 1",
        &["RD0675"],
    )
    .await;
    found(
        "update redress.record set phase = 'other' where run = '$compensated' and seq = 2",
        &["RD0675"],
    )
    .await;
    // A record that is gone: the last one, one in the middle, all of a run, all of the system log.
    let last = "delete from redress.record r where run = '$compensated' and seq = (select seq from redress.run where id = r.run)";
    found(last, &["RD0679"]).await;
    found(
        "delete from redress.record where run = '$completed' and seq = 2",
        &["RD0631"],
    )
    .await;
    found(
        "delete from redress.record where run = '$running'",
        &["RD0676"],
    )
    .await;
    let system = "delete from redress.record where run = (select run from redress.system_log where name = 'system')";
    found(system, &["RD0684", "RD0687", "RD0691", "RD0697"]).await;
    // A record that was added behind the last one, and one that was moved to another run.
    let copied = "insert into redress.record select run, seq + 1, hash, kind, phase, epoch, switch_no, xid, transition, bytes
        from redress.record where run = '$running'";
    found(copied, &["RD0631", "RD0675"]).await;
    let moved = "update redress.record set run = gen_random_uuid() where run = '$running'";
    found(moved, &["RD0630", "RD0675", "RD0676", "RD0677"]).await;
    // One byte, and a hash that was made to fit.
    let flip = "update redress.record set bytes = overlay(bytes placing 'x' from position('sku' in bytes) for 1)
        where run = '$running'";
    found(flip, &["RD0650", "RD0679", "RD0681"]).await;
    let hashed = format!(
        "{flip};
         update redress.record set hash = sha256('\\x00'::bytea || bytes) where run = '$running'"
    );
    found(&hashed, &["RD0679", "RD0681"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_runs_are_named() {
    found(
        "update redress.run set state = 'stuck' where id = '$failed'",
        &["RD0678"],
    )
    .await;
    let ended = "update redress.run set state = 'completed', ended_at = now(), phase = null where id = '$running'";
    found(ended, &["RD0678", "RD0683"]).await;
    found(
        "update redress.run set seq = seq - 1 where id = '$completed'",
        &["RD0679"],
    )
    .await;
    found(
        "update redress.run set epoch = 1 where id = '$applied'",
        &["RD0680"],
    )
    .await;
    found(
        "update redress.run set basis_seq = 1 where id = '$failed'",
        &["RD0681"],
    )
    .await;
    found(
        "update redress.run set subject = 'other' where id = '$failed'",
        &["RD0682"],
    )
    .await;
    found(
        "update redress.run set exclusive = false where id = '$failed'",
        &["RD0682"],
    )
    .await;
    found(
        "update redress.run set phase = 'book' where id = '$running'",
        &["RD0683"],
    )
    .await;
    found(
        "update redress.run set attempts = 2 where id = '$running'",
        &["RD0683"],
    )
    .await;
    found(
        "update redress.run set error = 'nothing' where id = '$failed'",
        &["RD0683"],
    )
    .await;
    found(
        "update redress.run set plan = null where id = '$failed'",
        &["RD0683"],
    )
    .await;
    found("delete from redress.run where id = '$running'", &["RD0677"]).await;
    found(
        "delete from redress.run where id = '$failed'",
        &["RD0677", "RD0688"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_beside_the_records_is_named() {
    // Holds.
    let put = "insert into redress.hold (id, scope, reason, code, by, at) values (gen_random_uuid(), 'all', 'x', 'manual', 'x', now())";
    found(put, &["RD0684"]).await;
    found("delete from redress.hold where id = '$hold'", &["RD0685"]).await;
    found(
        "update redress.hold set target = 'other' where id = '$hold'",
        &["RD0686"],
    )
    .await;
    let lift = "update redress.hold set released_at = now(), released_by = 'x' where id = '$hold'";
    found(lift, &["RD0686"]).await;
    let again =
        "update redress.hold set released_at = null, released_by = null where target = 'B9'";
    found(again, &["RD0686"]).await;
    // The switch.
    found("update redress.switch set state = 'killed'", &["RD0687"]).await;
    found(
        "update redress.switch set switch_no = switch_no - 1",
        &["RD0687"],
    )
    .await;
    found("delete from redress.switch", &["RD0687"]).await;
    found(
        "update redress.system_log set seq = seq - 1 where name = 'system'",
        &["RD0697"],
    )
    .await;
    // Plans.
    found(
        "delete from redress.plan where run = '$failed'",
        &["RD0688"],
    )
    .await;
    found(
        "update redress.plan set basis_seq = 1 where run = '$failed'",
        &["RD0688"],
    )
    .await;
    let forged = "insert into redress.plan (digest, run, basis_seq, canonical) values (sha256('x'), '$running', 1, 'x')";
    found(forged, &["RD0688"]).await;
    // Blobs.
    found("delete from redress.blob", &["RD0689"]).await;
    let other = "update redress.blob set content = 'x', commitment = sha256('redress-blob-v1'::bytea || '\\x00'::bytea || salt || 'x')";
    found(other, &["RD0689"]).await;
    let added = "insert into redress.blob select gen_random_uuid(), run, salt, content, commitment from redress.blob";
    found(added, &["RD0690"]).await;
    // Used decisions: forgotten, invented, moved.
    found(
        "delete from redress.decision_used where run = '$applied'",
        &["RD0691"],
    )
    .await;
    found(
        "insert into redress.decision_used values (gen_random_uuid(), '$failed', 1)",
        &["RD0691"],
    )
    .await;
    found(
        "update redress.decision_used set seq = 1 where run = '$applied'",
        &["RD0691"],
    )
    .await;
    // Definitions.
    found(
        "delete from redress.definition where saga = 'order'",
        &["RD0692"],
    )
    .await;
    found(
        "update redress.definition set version = 9 where saga = 'order'",
        &["RD0692"],
    )
    .await;
    // Refusals.
    found("delete from redress.refusal", &["RD0693"]).await;
    found(
        "insert into redress.refusal values ('$failed', 'x', 'RD0501', '\\x00')",
        &["RD0693"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_of_the_schema_is_named() {
    let check = async |damage: &str, expected: &str| {
        let copy = Copy::new().await;
        copy.sql(damage);
        let report = copy.engine().await.check().await.expect("checked");
        let mut codes: Vec<&str> = report.findings.iter().map(|f| f.code).collect();
        codes.dedup();
        assert_eq!(codes, [expected], "{damage}: {report:#?}");
    };
    for (damage, code) in [
        (
            "alter table redress.record disable trigger record_is_append_only",
            "RD0694",
        ),
        (
            "alter table redress.record enable trigger record_is_append_only",
            "RD0694",
        ),
        (
            "drop trigger plan_is_not_truncated on redress.plan",
            "RD0694",
        ),
        (
            "create trigger extra before insert on redress.run for each row execute function redress.refuse_change()",
            "RD0694",
        ),
        ("drop function redress.lift_hold(uuid, text)", "RD0695"),
        (
            "alter function redress.append_system(text, bigint, bytea[]) security invoker",
            "RD0695",
        ),
        (
            "alter function redress.append_system(text, bigint, bytea[]) set search_path = public",
            "RD0695",
        ),
        (
            "create or replace function redress.refuse_change() returns trigger language plpgsql set search_path = redress, pg_temp as $$ begin return new; end $$",
            "RD0695",
        ),
        (
            "create function redress.lift_hold(uuid) returns int language sql set search_path = redress, pg_temp as 'select 1'; revoke all on function redress.lift_hold(uuid) from public; alter function redress.lift_hold(uuid) owner to redress_owner",
            "RD0695",
        ),
        ("grant update on redress.run to redress_engine", "RD0696"),
        ("grant insert on redress.record to public", "RD0696"),
        (
            "grant truncate on redress.blob to redress_auditor",
            "RD0696",
        ),
        (
            "grant update (state) on redress.run to redress_operator",
            "RD0696",
        ),
        ("grant create on schema redress to redress_engine", "RD0696"),
        (
            "grant execute on function redress.lift_hold(uuid, text) to redress_engine",
            "RD0696",
        ),
        (
            "revoke execute on function redress.lift_hold(uuid, text) from redress_operator",
            "RD0696",
        ),
        (
            "alter table redress.run drop constraint run_ends_when_terminal",
            "RD0698",
        ),
        ("drop index redress.subject_has_one_active_run", "RD0698"),
        (
            "alter domain redress.transition drop constraint transition_is_legal",
            "RD0698",
        ),
        (
            "alter table redress.plan drop constraint plan_digest_is_of_its_bytes; \
             alter table redress.plan add constraint plan_digest_is_of_its_bytes check (true)",
            "RD0698",
        ),
        (
            "drop index redress.subject_has_one_active_run; \
             create unique index subject_has_one_active_run on redress.run (subject, id)",
            "RD0698",
        ),
        (
            "alter table redress.run add constraint never check (seq >= 0)",
            "RD0698",
        ),
        ("alter table redress.record add column note text", "RD0698"),
        ("alter table redress.hold drop column by", "RD0698"),
        (
            "alter table redress.worker alter column name drop not null",
            "RD0698",
        ),
        (
            "alter table redress.run alter column claims set default 7",
            "RD0698",
        ),
        ("grant select on redress.record to public", "RD0696"),
        ("grant select (content) on redress.blob to public", "RD0696"),
        (
            "revoke usage on schema redress from redress_engine",
            "RD0696",
        ),
        (
            "revoke select on redress.record from redress_auditor",
            "RD0696",
        ),
        (
            "alter default privileges in schema redress grant insert on tables to redress_engine",
            "RD0696",
        ),
        (
            "create function redress.evil() returns int language sql security definer as 'select 1'; \
             alter function redress.evil() owner to redress_owner",
            "RD0695",
        ),
        (
            "create view redress.quiet as select 1 as one; alter view redress.quiet owner to redress_owner",
            "RD0699",
        ),
        ("drop event trigger redress_refuses_ddl", "RD0694"),
        ("alter event trigger redress_refuses_drop disable", "RD0694"),
        (
            "create or replace function redress.refuse_ddl() returns event_trigger language plpgsql security definer as $$ begin end $$",
            "RD0694",
        ),
        ("alter table redress.hold owner to postgres", "RD0699"),
        (
            "alter table redress.hold enable row level security",
            "RD0699",
        ),
        (
            "create rule quiet as on delete to redress.hold do instead nothing",
            "RD0699",
        ),
        ("alter table redress.refusal set unlogged", "RD0699"),
        ("drop table redress.refusal", "RD0699"),
    ] {
        check(damage, code).await;
    }
}

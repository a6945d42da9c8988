//! The schema is exactly ours, or nothing is written: versions, texts, servers, names, and a restored copy.

use futures_util::future::join_all;
use redress::schema::{SCHEMA_VERSION, migrate};
use redress::{Engine, Error, Outcome, Part, SchemaName};
use redress_tests::{Lab, TestCluster, fresh_database, query_text};
use serde_json::json;
use tokio::sync::watch;

use crate::common::*;

async fn session(url: &str) -> redress::db::Session {
    redress::db::connect(&url.parse().unwrap())
        .await
        .expect("a connection")
}

async fn build(url: &str) -> Result<Engine, Error> {
    Engine::builder(redress::db::pool(url, 4).unwrap())
        .actor("test")
        .build()
        .await
}

fn said(result: Result<Engine, Error>) -> &'static str {
    match result {
        Ok(_) => "built",
        Err(error) => error.code(),
    }
}

/// F106
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_version_or_text_is_refused_and_not_touched() {
    let empty = fresh_database();
    assert_eq!(said(build(empty.url()).await), "RD0701");
    empty.query_text("create schema redress");
    assert_eq!(said(build(empty.url()).await), "RD0701");
    for (damage, named, migrates) in [
        (
            format!(
                "insert into redress.migration (version, name, sha256) values ({}, 'later', '')",
                SCHEMA_VERSION + 1
            ),
            "RD0703",
            false,
        ),
        (
            format!("delete from redress.migration where version = {SCHEMA_VERSION}"),
            "RD0702",
            false,
        ),
        (
            "update redress.migration set sha256 = '\\x00' where version = 1".to_owned(),
            "RD0704",
            false,
        ),
        (
            "update redress.installation set system_identifier = '1'".to_owned(),
            "RD0705",
            true,
        ),
        (
            "delete from redress.installation".to_owned(),
            "RD0701",
            false,
        ),
    ] {
        let lab = Lab::new().await;
        assert_eq!(said(build(lab.url()).await), "built");
        lab.sql(&damage);
        let everything = "select (select string_agg(m::text, ',' order by version) from redress.migration m), \
                          (select count(*) from redress.record), (select string_agg(i::text, ',') from redress.installation i)";
        let before = lab.sql(everything);
        assert_eq!(said(build(lab.url()).await), named, "{damage}");
        assert_eq!(lab.sql(everything), before, "{damage}");
        let session = session(lab.url()).await;
        let migrated = migrate(&session, &SchemaName::default(), "test.example/lab").await;
        assert_eq!(migrated.is_ok(), migrates, "{damage}: {migrated:?}");
        if !migrates {
            assert_eq!(lab.sql(everything), before, "{damage}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_does_nothing_the_second_time() {
    let lab = Lab::new().await;
    lab.sql(MARKS);
    let engine = lab.engine().await;
    let Outcome::Completed(_) = run(&engine, &saga("line", marks(1), json!({}))).await else {
        panic!()
    };
    let all = "select (select string_agg(i::text, ',') from redress.installation i), (select string_agg(s::text, ',') from redress.system_log s), \
               (select string_agg(m::text, ',' order by version) from redress.migration m), (select count(*) from redress.record)";
    let before = lab.sql(all);
    let session = session(lab.url()).await;
    for _ in 0..2 {
        let done = migrate(&session, &SchemaName::default(), "another.example/name")
            .await
            .expect("migrated");
        assert!(done.is_empty(), "{done:?}");
    }
    assert_eq!(lab.sql(all), before);
    sound(&engine).await;
}

/// F14 of migrations: two at once, in one database and in several.
#[tokio::test(flavor = "multi_thread")]
async fn migrators_at_once_install_one_schema() {
    let database = fresh_database();
    let all = join_all((0..6).map(|_| async {
        let session = session(database.url()).await;
        migrate(&session, &SchemaName::default(), "test.example/lab").await
    }))
    .await;
    let mut applied: Vec<i32> = all
        .into_iter()
        .flat_map(|done| done.expect("migrated"))
        .collect();
    applied.sort_unstable();
    assert_eq!(
        applied,
        (1..=SCHEMA_VERSION).collect::<Vec<_>>(),
        "each once"
    );
    assert_eq!(
        database.query_text("select count(*) from redress.installation"),
        "1"
    );
    assert_eq!(said(build(database.url()).await), "built");
}

/// An installation of another name, beside one of the usual name.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_of_another_name_works_from_end_to_end() {
    // Its roles are the server's: a server of its own keeps them apart.
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let lab = Lab::at(database.url()).await;
    lab.sql(MARKS);
    lab.sql("alter table shop.mark add constraint bad_fails check (phase <> 'bad')");
    let name = "shop_saga".parse::<SchemaName>().expect("a name");
    let session = session(lab.url()).await;
    migrate(&session, &name, "test.example/shop")
        .await
        .expect("migrated");
    let engine = lab
        .builder(lab.url())
        .schema(name)
        .build()
        .await
        .expect("an engine");
    let good = saga(
        "good",
        marks(3),
        json!({"authority": {"soft_revert": {"sovereign": 1}}}),
    );
    let Outcome::Completed(row) = run(&engine, &good).await else {
        panic!()
    };
    let plan = engine
        .plan(row.id, Default::default(), "undo")
        .await
        .expect("planned");
    engine
        .approve(&plan, &lab.sovereign, "yes")
        .await
        .expect("approved");
    assert!(matches!(
        engine.apply(&plan).await,
        Ok(Outcome::Compensated(_))
    ));
    let undone = saga(
        "undone",
        vec![mark("p1", json!({})), mark("bad", json!({}))],
        json!({}),
    );
    assert!(matches!(
        run(&engine, &undone).await,
        Outcome::Compensated(_)
    ));
    engine
        .kill("stop", std::time::Duration::from_secs(5), false)
        .await
        .expect("killed");
    assert_eq!(
        refused(engine.start("good", json!({})).open().await),
        "RD0203"
    );
    engine
        .release_kill(&lab.sovereign, "over")
        .await
        .expect("released");
    engine
        .start("good", json!({}))
        .open()
        .await
        .expect("opened");
    let (_stop, stop) = watch::channel(false);
    within(LIMIT, "idle", engine.worker().until_idle().run(stop))
        .await
        .expect("idle");
    assert_eq!(
        lab.sql("select count(*) from shop_saga.run where state = 'completed'"),
        "1"
    );
    assert_eq!(lab.sql("select count(*) from redress.run"), "0");
    sound(&engine).await;
    for bad in [
        "",
        "Redress",
        "a b",
        "x\"; drop schema shop; --",
        "pg_x",
        &"a".repeat(64),
    ] {
        assert!(bad.parse::<SchemaName>().is_err(), "{bad}");
    }
}

/// A server on which an administrator gives out the names of roles: the installer may make none, and each part logs in
/// with its own rights alone.
#[tokio::test(flavor = "multi_thread")]
async fn roles_that_an_administrator_made_under_other_names_serve_as_well() {
    let cluster = TestCluster::own();
    let database = cluster.fresh_database();
    let name = Part::ALL
        .into_iter()
        .try_fold(SchemaName::default(), |name, part| {
            name.with_role(part, &format!("app_{}_7", part.as_str()))
        })
        .expect("valid names");
    database.query_text(&format!(
        "create role app_owner_7; create role app_engine_7; create role app_operator_7; create role app_sealer_7; create role app_auditor_7;
         create role installer login in role app_owner_7; create role worker login in role app_engine_7, app_auditor_7;
         grant create on database {} to app_owner_7, installer;",
        database.name()
    ));
    database.query_text("create schema shop");
    database.query_text(&MARKS.replace("create schema shop;", ""));
    database.query_text(
        "grant usage on schema shop to worker; grant all on all tables in schema shop to worker",
    );
    let url = |role: &str| cluster.url_as(role, database.name());
    let install = session(&url("installer")).await;
    let done = migrate(&install, &name, "test.example/app").await;
    assert_eq!(done.expect("migrated").len(), SCHEMA_VERSION as usize);
    let engine = Engine::builder(redress::db::pool(&url("worker"), 8).expect("a pool"))
        .adapters(redress_adapters::standard())
        .schema(name.clone())
        .actor("test")
        .build()
        .await
        .expect("an engine");
    let line = saga("line", marks(2), json!({}));
    assert!(matches!(run(&engine, &line).await, Outcome::Completed(_)));
    let ours = "select string_agg(rolname, ',') from pg_roles where rolname like 'redress%'";
    assert_eq!(database.query_text(ours), "");
    // What drifts is seen under the other names too.
    let checker = Engine::builder(redress::db::pool(database.url(), 8).expect("a pool"))
        .adapters(redress_adapters::standard())
        .schema(name)
        .actor("test");
    let checker = checker.build().await.expect("an engine");
    sound(&checker).await;
    database.query_text("set role app_owner_7; grant delete on redress.record to app_engine_7");
    let found = checker.check().await.expect("checked");
    assert!(
        format!("{found:?}").contains("app_engine_7 has DELETE on record"),
        "{found:?}"
    );
    // Roles of an installation that may act as each other are found; whoever installs may act as the owner, and is named.
    database.query_text(
        "revoke delete on redress.record from app_engine_7; grant app_sealer_7 to app_engine_7",
    );
    let found = checker.check().await.expect("checked");
    let told: Vec<&str> = found.findings.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(told, ["app_engine_7 can do what only app_sealer_7 may"]);
    assert!(
        found
            .notes
            .iter()
            .any(|note| note == "installer can do what only app_owner_7 may"),
        "{found:?}"
    );
}

/// F39
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_is_refused() {
    let lab = Lab::new().await;
    let join = if lab.url().contains('?') { '&' } else { '?' };
    let url = format!(
        "{}{join}options=-c%20default_transaction_read_only%3Don",
        lab.url()
    );
    assert_eq!(query_text(&url, "show transaction_read_only"), "on");
    assert_eq!(said(build(&url).await), "RD0804");
    let migrated = migrate(
        &session(&url).await,
        &SchemaName::default(),
        "test.example/lab",
    )
    .await;
    assert_eq!(migrated.map_err(|error| error.code()), Err("RD0804"));
}

/// What is ours is changed by a migration only, where a superuser has installed it; what is not ours is nobody's business.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_alters_or_drops_the_ledger_by_accident() {
    let lab = Lab::new().await;
    let config = lab.url().parse().expect("a URL that parses");
    let session = redress::db::connect(&config).await.expect("a connection");
    for refused in [
        "alter table redress.record disable trigger user",
        "alter table redress.record add column note text",
        "alter table redress.record alter column seq type numeric",
        "alter table redress.run drop constraint run_ends_when_terminal",
        "drop table redress.refusal",
        "drop index redress.subject_has_one_active_run",
        "drop trigger record_is_append_only on redress.record",
        "create trigger quiet before insert on redress.record for each row execute function redress.refuse_change()",
        "create rule quiet as on delete to redress.hold do instead nothing",
        "create policy quiet on redress.record",
        "drop function redress.lift_hold(uuid, text)",
        "alter function redress.append_system(text, bigint, bytea[]) security invoker",
        "create or replace function redress.leave_seal(p_owner uuid) returns void language sql as ''",
        "alter domain redress.transition drop constraint transition_is_legal",
        "drop schema redress cascade",
        "drop owned by redress_owner cascade",
    ] {
        let error = session.batch_execute(refused).await.expect_err(refused);
        let code = error.code().map(|code| code.code().to_owned());
        assert_eq!(code.as_deref(), Some("RDA02"), "{refused}: {error:?}");
    }
    for allowed in [
        "create table redress.theirs (id int)",
        "alter table redress.theirs add column note text",
        "drop table redress.theirs",
        "create temp table redress_like (id int)",
        "comment on table redress.record is 'the saga log'",
        "reindex table redress.record",
        "analyze redress.record",
        "grant select on redress.run to redress_auditor",
    ] {
        session.batch_execute(allowed).await.expect(allowed);
    }
    // A migration may, and leaves everything as it was.
    migrate(&session, &SchemaName::default(), "test.example/lab")
        .await
        .expect("migrated again");
    session
        .batch_execute("set redress.migrating = on; drop schema redress cascade")
        .await
        .expect("somebody means it");
}

//! A backup that is restored: verified before and after; and the artefacts that nobody needs are collected.

use redress::definition::Definition;
use redress::{Engine, Outcome};
use redress_adapters::backup::collect::{Named, collect};
use redress_tests::Lab;
use serde_json::{Value, json};

use crate::{phase, saga};

const TABLES: &str = "
    create schema r;
    create table r.item (id bigint primary key, t text, n numeric(9, 2), at timestamptz, b bytea, doc jsonb);
    insert into r.item values (1, E'two\\nlines', 1.50, '2026-01-02 03:04:05+00', '\\x00ff', '{\"a\": [1, null]}'), (2, null, null, null, null, null);
    insert into r.item (id, t) select n, 'many' from generate_series(10, 12009) n;";

/// The backup and its way back; `put` is the statement that puts rows back.
fn backup(put: &str) -> Value {
    json!({"name": "keep", "adapter": "backup", "writes": ["r.item"], "residue": ["r.item"], "compensation": "restore",
           "retry": {"attempts": 1}, "with": {"rows": [
        {"name": "item", "sql": "select id, t, n, at, b, doc from r.item order by id", "restore": [
            {"sql": "delete from r.item"},
            {"sql": put, "params": ["/artefact/rows"]}]},
        {"name": "count", "sql": "select count(*) as n from r.item"}]}})
}

const PUT: &str = "insert into r.item (id, t, n, at, b, doc) \
    select w.id, w.t, w.n, w.at, w.b, w.doc::jsonb \
    from jsonb_to_recordset($1::jsonb) as w (id bigint, t text, n numeric, at timestamptz, b bytea, doc text)";

fn damaging(put: &str) -> Definition {
    let damage = json!({"apply": [
        {"sql": "update r.item set t = 'gone', n = 0, at = null, b = null, doc = null"},
        {"sql": "delete from r.item where id > 11000"},
        {"sql": "insert into r.item (id) values (99999)"}]});
    let fail = phase(
        "fail",
        &[],
        "none",
        json!({"apply": [{"sql": "select 1 / 0"}]}),
    );
    saga(json!([
        backup(put),
        phase("damage", &["r.item"], "none", damage),
        fail
    ]))
}

async fn run(engine: &Engine, definition: &Definition) -> Outcome {
    engine.register(definition).await.expect("registered");
    let start = engine.start("try", json!({}));
    engine.start_and_drive(start).await.expect("driven").1
}

fn content(lab: &Lab) -> String {
    lab.sql("select md5(string_agg(i::text, E'\\n' order by id)), count(*) from r.item i")
}

/// Every row is as it was, in chunks, and the hash says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_puts_every_row_back_and_proves_it() {
    let lab = Lab::new().await;
    lab.sql(TABLES);
    let before = content(&lab);
    let engine = lab.engine().await;
    let outcome = run(&engine, &damaging(PUT)).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    assert_eq!(content(&lab), before);
}

/// A statement that does not put back what was there: found before COMMIT, and nothing is restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_does_not_match_the_artefact_is_rolled_back() {
    let lab = Lab::new().await;
    lab.sql(TABLES);
    let engine = lab.engine().await;
    // The document comes back as a JSON string instead of a document.
    let wrong = PUT.replace("w.doc::jsonb", "to_jsonb(w.doc)");
    let outcome = run(&engine, &damaging(&wrong)).await;
    assert!(matches!(outcome, Outcome::Stuck(_)), "{outcome:?}");
    assert!(
        format!("{outcome:?}").contains("after the restore"),
        "{outcome:?}"
    );
    assert_eq!(
        lab.sql("select count(*) from r.item where t = 'gone'"),
        "10993"
    );
}

/// An artefact that somebody changed or took away is refused before anything is begun.
#[tokio::test(flavor = "multi_thread")]
async fn an_artefact_that_is_changed_or_gone_restores_nothing() {
    for gone in [true, false] {
        let lab = Lab::new().await;
        lab.sql(TABLES);
        let engine = lab.engine().await;
        let mut definition = damaging(PUT);
        definition.authority.remove("restore");
        let outcome = run(&engine, &definition).await;
        let row = outcome.run().clone();
        let file = std::fs::read_dir(lab.path("artefacts"))
            .expect("a folder")
            .next()
            .expect("one")
            .expect("a file")
            .path();
        if gone {
            std::fs::remove_file(&file).expect("removed");
        } else {
            let mut bytes = std::fs::read(&file).expect("read");
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0xff;
            std::fs::write(&file, bytes).expect("written");
        }
        let plan = engine
            .plan(row.id, std::collections::BTreeMap::new(), "back")
            .await
            .expect("planned");
        engine
            .approve(&plan, &lab.sovereign, "back")
            .await
            .expect("approved");
        let error = engine.apply(&plan).await.expect_err("refused");
        let codes = ["RD0960", "RD0961"];
        assert!(
            codes.contains(&error.code()) && matches!(error, redress::Error::GuardRefused { .. }),
            "{error}"
        );
        assert_eq!(
            lab.sql("select count(*) from r.item where t = 'gone'"),
            "10993"
        );
    }
}

/// A backup that cannot be restored says so when it is registered.
#[tokio::test(flavor = "multi_thread")]
async fn a_restore_without_statements_is_refused_at_registration() {
    let lab = Lab::new().await;
    lab.sql(TABLES);
    let engine = lab.engine().await;
    let check = async |change: &dyn Fn(&mut Value), path: &str, code: &str| {
        let mut keep = backup(PUT);
        change(&mut keep);
        let findings = engine
            .check_definition(&saga(json!([keep])))
            .await
            .expect("judged");
        let found: Vec<_> = findings.iter().map(|f| (f.path.as_str(), f.code)).collect();
        assert_eq!(found, [(path, code)], "{findings:?}");
    };
    let back = "/phases/0/with/rows/0/restore";
    check(
        &|k| k["with"]["rows"][0]["restore"] = json!([]),
        "/phases/0/with",
        "RD0116",
    )
    .await;
    check(
        &|k| k["compensation"] = json!("soft_revert"),
        "/phases/0/with",
        "RD0116",
    )
    .await;
    check(
        &|k| k["with"]["rows"][0]["restore"][0]["sql"] = json!("delete from r.nothing"),
        &format!("{back}/0/sql"),
        "RD0140",
    )
    .await;
    check(
        &|k| k["with"]["rows"][0]["restore"][1]["params"] = json!(["/artefact/x"]),
        &format!("{back}/1/params/0"),
        "RD0123",
    )
    .await;
    check(
        &|k| {
            (k["writes"], k["residue"]) = (json!([]), json!([]));
            k["with"]["rows"][0]["restore"] = json!([{"sql": "delete from r.item"}]);
        },
        &format!("{back}/0/sql"),
        "RD0302",
    )
    .await;
}

/// What a committed phase needs stays; what was discarded goes.
#[tokio::test(flavor = "multi_thread")]
async fn discarded_artefacts_are_collected_and_needed_ones_stay() {
    let lab = Lab::new().await;
    lab.sql("create schema a; create table a.item (id int); insert into a.item values (1)");
    let engine = lab.engine().await;
    let keep = json!({"name": "keep", "adapter": "backup", "compensation": "none",
                      "with": {"rows": [{"name": "item", "sql": "select id from a.item order by id"}]}});
    let fail = phase(
        "fail",
        &[],
        "none",
        json!({"apply": [{"sql": "select 1 / $1::int", "params": ["/input/n"]}]}),
    );
    let definition = saga(json!([keep, fail]));
    engine.register(&definition).await.expect("registered");
    let mut hashes = Vec::new();
    for n in [0, 1] {
        lab.sql("update a.item set id = id + 1");
        let start = engine.start("try", json!({"n": n}));
        engine.start_and_drive(start).await.expect("driven");
        let sql = "select convert_from(bytes, 'UTF8')::jsonb #>> '{body,undo,artefact,0}' from redress.record \
                   where kind = 'phase.committed' and phase = 'keep' order by run desc limit 1";
        hashes.push(lab.sql(sql));
    }
    let mut named = Named::default();
    named.complete = engine
        .committed_by("backup", |phase| {
            let hash = phase.undo["artefact"][0]
                .as_str()
                .expect("a hash")
                .parse()
                .expect("a hash");
            match phase.taken_back.as_deref() {
                Some(action) => {
                    assert_eq!(action, "discard");
                    named.discarded.insert(hash);
                }
                None => _ = named.needed.insert(hash),
            }
        })
        .await
        .expect("read");
    let collected = collect(&lab.path("artefacts"), &named, true).expect("collected");
    let file = |hash: &String| format!("{hash}.jsonl.gz");
    assert_eq!(
        (collected.unneeded, collected.kept),
        (vec![file(&hashes[0])], vec![file(&hashes[1])])
    );
    assert_eq!(
        std::fs::read_dir(lab.path("artefacts"))
            .expect("a folder")
            .count(),
        1
    );
}

//! Reading for update what is not written: declared as `locks`, or refused.

use redress::Outcome;
use redress_tests::Lab;
use serde_json::{Value, json};

use crate::{phase, saga};

const TABLES: &str = "
    create schema l;
    create table l.parent (id int primary key);
    create table l.child (id int primary key, parent int references l.parent on delete cascade);
    create table l.plain (id int primary key);
    create table l.other (id int primary key);
    create table l.parted (id int) partition by range (id);
    create table l.part partition of l.parted for values from (0) to (100);
    create view l.seen as select id from l.other;
    create function l.hidden() returns int language plpgsql as
      $$begin perform from l.other for update; return 1; end$$;
    insert into l.parent values (1); insert into l.other values (1); insert into l.parted values (1);
    insert into l.plain values (1);";

fn locking(name: &str, writes: &[&str], locks: &[&str], with: Value) -> Value {
    let compensation = if with.get("revert").is_some() {
        "soft_revert"
    } else {
        "none"
    };
    let mut phase = phase(name, writes, compensation, with);
    phase["locks"] = json!(locks);
    phase
}

/// What a statement's text locks is judged when it is registered, wherever it stands.
#[tokio::test(flavor = "multi_thread")]
async fn reading_for_update_what_is_not_declared_is_refused_at_registration() {
    let lab = Lab::new().await;
    lab.sql(TABLES);
    let engine = lab.engine().await;
    let check = async |sql: &str, writes: &[&str], locks: &[&str], beyond: Option<&str>| {
        // A guard that locks nothing is refused for that.
        let lists = ["apply", "capture", "guard"];
        for list in lists
            .into_iter()
            .filter(|list| *list != "guard" || sql.contains(" for "))
        {
            let mut with = json!({"apply": [{"sql": "select 1"}], "revert": [{"sql": "select 1"}]});
            let mut stmt = json!({"sql": sql});
            if list == "capture" {
                stmt["as"] = json!("was");
            }
            with[list] = json!([stmt]);
            let definition = saga(json!([locking("p", writes, locks, with)]));
            let findings = engine.check_definition(&definition).await.expect("judged");
            let found: Vec<_> = findings.iter().map(|f| (f.path.as_str(), f.code)).collect();
            let path = format!("/phases/0/with/{list}/0/sql");
            match beyond {
                None => assert!(found.is_empty(), "{sql} {list}: {findings:?}"),
                Some(name) => {
                    assert_eq!(found, [(path.as_str(), "RD0302")], "{sql} {list}");
                    assert!(findings[0].message.ends_with(name), "{findings:?}");
                }
            }
        }
    };
    check("select true from l.other", &[], &[], None).await;
    check(
        "select true from l.other for update",
        &[],
        &[],
        Some("l.other"),
    )
    .await;
    check(
        "select true from l.other for update",
        &[],
        &["l.other"],
        None,
    )
    .await;
    check(
        "select true from l.other for share",
        &["l.other"],
        &[],
        None,
    )
    .await;
    check(
        "select true from l.seen for no key update",
        &[],
        &[],
        Some("l.other"),
    )
    .await;
    check(
        "select true from l.seen for update",
        &[],
        &["l.other"],
        None,
    )
    .await;
    check(
        "select true from l.part for update",
        &[],
        &[],
        Some("l.parted"),
    )
    .await;
    check(
        "select true from l.parted for update",
        &[],
        &["l.parted"],
        None,
    )
    .await;
    check(
        "select true from l.other o, l.plain p for update of o",
        &[],
        &["l.other"],
        None,
    )
    .await;
    check(
        "select true from l.other o, l.plain p for update of p",
        &[],
        &["l.other"],
        Some("l.plain"),
    )
    .await;
    let broken = saga(json!([locking(
        "p",
        &[],
        &["other"],
        json!({"apply": [{"sql": "select 1"}]})
    )]));
    let findings = engine.check_definition(&broken).await.expect("judged");
    assert_eq!(findings[0].path, "/phases/0/locks/0");
}

/// What a function locks is seen by the locks themselves; what a foreign key locks is no reading for update.
#[tokio::test(flavor = "multi_thread")]
async fn reading_for_update_what_is_not_declared_is_rolled_back_in_the_run() {
    let lab = Lab::new().await;
    lab.sql(TABLES);
    let engine = lab.engine().await;
    let cases = [
        ("select l.hidden()", &[][..], &[][..], Some("l.other")),
        ("select l.hidden()", &[][..], &["l.other"][..], None),
        (
            "insert into l.child values (1, 1)",
            &["l.child"][..],
            &[][..],
            None,
        ),
        (
            "update l.child set parent = parent where l.hidden() = 1",
            &["l.child"][..],
            &[][..],
            Some("l.other"),
        ),
        (
            "delete from l.parent",
            &["l.parent", "l.child"][..],
            &[][..],
            None,
        ),
        (
            "delete from l.parent",
            &["l.parent"][..],
            &[][..],
            Some("l.child"),
        ),
    ];
    for (at, (sql, writes, locks, beyond)) in cases.into_iter().enumerate() {
        lab.sql("insert into l.parent values (1) on conflict do nothing; insert into l.child values (7, 1) on conflict do nothing");
        let mut definition = saga(json!([locking(
            "p",
            writes,
            locks,
            json!({"apply": [{"sql": sql}]})
        )]));
        definition.version = u32::try_from(at).expect("few") + 1;
        engine.register(&definition).await.expect("registered");
        let start = engine.start("try", json!({}));
        let outcome = engine.start_and_drive(start).await.expect("driven").1;
        match beyond {
            None => assert!(
                matches!(outcome, Outcome::Completed(_)),
                "{sql}: {outcome:?}"
            ),
            Some(name) => {
                let (code, message) = outcome.run().error.clone().expect("refused");
                assert!(
                    code == "RD0302" && message.contains(name),
                    "{sql}: {code} {message}"
                );
            }
        }
    }
}

/// Going back is no exception: a revert that locks elsewhere rolls back, and the run is stuck.
#[tokio::test(flavor = "multi_thread")]
async fn a_revert_that_locks_what_is_not_declared_is_rolled_back() {
    for (locks, stuck) in [(&[][..], true), (&["l.other"][..], false)] {
        let lab = Lab::new().await;
        lab.sql(TABLES);
        let engine = lab.engine().await;
        let with = json!({
            "apply": [{"sql": "insert into l.plain values (5)"}],
            "guard": [{"sql": "select true from l.plain where id = 5 for update"}],
            "revert": [{"sql": "update l.plain set id = 6 where id = 5 and l.hidden() = 1", "rows": 1}],
        });
        let fail = phase(
            "fail",
            &[],
            "none",
            json!({"apply": [{"sql": "select 1 / 0"}]}),
        );
        let definition = saga(json!([locking("p", &["l.plain"], locks, with), fail]));
        engine.register(&definition).await.expect("registered");
        let start = engine.start("try", json!({}));
        let outcome = engine.start_and_drive(start).await.expect("driven").1;
        assert_eq!(matches!(outcome, Outcome::Stuck(_)), stuck, "{outcome:?}");
        let left = lab.sql("select max(id) from l.plain");
        assert_eq!(left, if stuck { "5" } else { "6" });
    }
}

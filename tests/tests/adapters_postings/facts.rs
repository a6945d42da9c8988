//! Metadata with tombstones, and the coverage gate for accounts and keys.

use redress_adapters::postings::Kept;
use serde_json::{Value, json};

use crate::{TABLES, balances, body, code, completed, lab, paid, phase, run, saga, said};

fn change(name: &str, fields: Value) -> redress::definition::Definition {
    let mut with = json!({"accounts": ["alice"], "keys": ["tier", "note"], "metadata": [{"account": "alice"}]});
    for (key, value) in fields.as_object().expect("an object") {
        match key.as_str() {
            "set" | "delete" => with["metadata"][0][key] = value.clone(),
            _ => with[key] = value.clone(),
        }
    }
    saga(name, json!([phase("facts", with)]))
}

/// systems.md 3.3: a deleted key stays deleted, on every reader, whatever it kept, and after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_stays_deleted_for_every_reader() {
    let lab = lab().await;
    let place = || ("account".to_owned(), "alice".to_owned(), "tier".to_owned());
    let look = |kept: &mut Kept| {
        for row in lab
            .sql("select kind, target, key, revision, coalesce(value, '-') from postings.metadata")
            .lines()
        {
            let c: Vec<&str> = row.split('|').collect();
            let value = (c[4] != "-").then(|| c[4].to_owned());
            kept.take(
                (c[0].into(), c[1].into(), c[2].into()),
                c[3].parse().expect("a revision"),
                value,
            );
        }
    };
    let engine = lab.engine().await;
    completed(
        run(
            &engine,
            &change("set", json!({"set": {"tier": "gold"}})),
            json!({}),
        )
        .await,
    );
    let mut early = Kept::default();
    look(&mut early);
    assert_eq!(early.get(&place()), Some("gold"));
    let old = early.clone();
    completed(
        run(
            &engine,
            &change("delete", json!({"delete": ["tier"]})),
            json!({}),
        )
        .await,
    );
    drop(engine);
    // Another process; and readers that kept what was true before.
    let _again = lab.engine().await;
    assert_eq!(lab.sql("select count(*) from postings.live_metadata"), "0");
    assert_eq!(
        lab.sql("select revision, value is null from postings.metadata"),
        "2|t"
    );
    look(&mut early);
    assert_eq!(early.get(&place()), None);
    // What it once kept comes back to it late, from another reader: the tombstone is newer.
    early.take(place(), 1, old.get(&place()).map(str::to_owned));
    assert_eq!(early.get(&place()), None);
    let removed = lab.try_sql("delete from postings.metadata");
    assert!(
        removed.expect_err("refused").contains("55000"),
        "tombstones stay"
    );
}

/// systems.md 3.3: strict refuses, ingest says so; neither is silent.
#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_absent_key_is_refused_or_an_explicit_nothing() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let strict = run(
        &engine,
        &change("strict", json!({"delete": ["tier"]})),
        json!({}),
    )
    .await;
    assert_eq!(code(&strict), "RD0357");
    let ingest = change(
        "ingest",
        json!({"delete": ["tier"], "set": {"note": "x"}, "mode": "ingest"}),
    );
    let row = completed(run(&engine, &ingest, json!({})).await);
    let committed = body(&lab, &row, "phase.committed");
    let done: Vec<&Value> = committed["output"]["metadata"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|r| &r["done"])
        .collect();
    assert_eq!(done, ["set", "absent"]);
    assert_eq!(committed["touched"]["postings.metadata"], 1);
    // A key that was deleted before is absent too.
    completed(
        run(
            &engine,
            &change("delete", json!({"delete": ["note"]})),
            json!({}),
        )
        .await,
    );
    assert_eq!(
        code(
            &run(
                &engine,
                &change("twice", json!({"delete": ["note"]})),
                json!({})
            )
            .await
        ),
        "RD0357"
    );
}

/// A key that somebody changed since is not put back over their change.
#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_was_changed_since_is_not_put_back() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let row = completed(
        run(
            &engine,
            &change("set", json!({"set": {"tier": "gold"}})),
            json!({}),
        )
        .await,
    );
    completed(
        run(
            &engine,
            &change("other", json!({"set": {"tier": "lead"}})),
            json!({}),
        )
        .await,
    );
    let plan = engine
        .plan(row.id, std::collections::BTreeMap::new(), "back")
        .await
        .expect("planned");
    assert_eq!(
        engine.apply(&plan).await.expect_err("refused").code(),
        "RD0360"
    );
    assert_eq!(lab.sql("select value from postings.live_metadata"), "lead");
}

/// systems.md 3.4: reading for update, writing and deleting what is not declared is refused, however it comes about.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_phase_does_not_declare_it_may_not_lock_move_or_delete() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = paid(&lab, &engine, "world", "bob", "5").await;
    completed(
        run(
            &engine,
            &change("set", json!({"set": {"tier": "gold", "note": "x"}})),
            json!({}),
        )
        .await,
    );
    let before = balances(&lab);
    let line = json!([{"source": "world", "destination": "bob", "asset": "EUR/2", "amount": "1"}]);
    let cases = [
        (
            "write",
            json!({"accounts": ["alice"], "transactions": [{"postings": "/input/postings"}]}),
            "account bob, account world",
        ),
        (
            "lock",
            json!({"accounts": ["alice"], "expect": [{"account": "/input/who", "asset": "EUR/2", "min": "0"}]}),
            "account bob",
        ),
        (
            "delete",
            json!({"accounts": ["alice"], "keys": ["tier"], "metadata": [{"account": "alice", "delete": ["/input/key"]}]}),
            "metadata key note",
        ),
        (
            "put",
            json!({"accounts": ["alice"], "keys": ["tier"], "metadata": [{"account": "alice", "set": "/input/facts"}]}),
            "metadata key note",
        ),
        (
            "target",
            json!({"accounts": ["alice"], "keys": ["tier"], "metadata": [{"account": "/input/who", "set": {"tier": "x"}}]}),
            "account bob",
        ),
        // What a reversal brings with it is not in the file and not in the input.
        (
            "revert",
            json!({"accounts": ["world"], "reverts": [{"transaction": "/input/id"}]}),
            "account bob",
        ),
        // The input cannot declare a pattern.
        (
            "pattern",
            json!({"accounts": ["/input/pattern"], "transactions": [{"postings": "/input/postings"}]}),
            "RD0358",
        ),
        (
            "nothing",
            json!({"transactions": [{"postings": "/input/postings"}]}),
            "account bob",
        ),
    ];
    let input = json!({"postings": line, "who": "bob", "key": "note", "facts": {"note": "y"}, "id": id, "pattern": "*"});
    for (name, with, beyond) in cases {
        let outcome = run(
            &engine,
            &saga(name, json!([phase("p", with)])),
            input.clone(),
        )
        .await;
        let said = said(&outcome);
        assert!(said.contains(beyond), "{name}: {said}");
        assert!(
            name == "pattern" || said.starts_with("RD0302"),
            "{name}: {said}"
        );
    }
    assert_eq!(balances(&lab), before);
    assert_eq!(lab.sql("select count(*) from postings.live_metadata"), "2");
}

/// systems.md 3.4: what is written out is refused before any run; what the tables do beyond it, by their locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_that_cannot_hold_is_refused_when_it_is_registered() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let line = |amount: Value| json!([{"source": "a", "destination": "b", "asset": "EUR/2", "amount": amount}]);
    let ok = json!({"accounts": ["a", "b"], "transactions": [{"postings": line(json!("1"))}]});
    let check = async |phase: Value, path: &str, expected: &str| {
        let findings = engine
            .check_definition(&saga("try", json!([phase])))
            .await
            .expect("judged");
        let found: Vec<String> = findings
            .iter()
            .map(|f| format!("{} {}", f.path, f.code))
            .collect();
        assert_eq!(
            found,
            [format!("/phases/0/with{path} {expected}")],
            "{findings:?}"
        );
    };
    let findings = engine
        .check_definition(&saga("ok", json!([phase("p", ok.clone())])))
        .await
        .expect("judged");
    assert!(findings.is_empty(), "{findings:?}");
    let with = |accounts: Value, amount: Value| {
        phase(
            "p",
            json!({"accounts": accounts, "transactions": [{"postings": line(amount)}]}),
        )
    };
    check(
        with(json!(["a"]), json!("1")),
        "/transactions/0/postings/0/destination",
        "RD0302",
    )
    .await;
    check(
        with(json!(["*"]), json!(5)),
        "/transactions/0/postings/0/amount",
        "RD0110",
    )
    .await;
    check(
        with(json!(["*"]), json!("1.50")),
        "/transactions/0/postings/0/amount",
        "RD0110",
    )
    .await;
    check(
        with(json!(["*"]), json!("/plan/x")),
        "/transactions/0/postings/0/amount",
        "RD0123",
    )
    .await;
    check(phase("p", json!({})), "", "RD0110").await;
    check(phase("p", json!({"reverts": [{}]})), "/reverts/0", "RD0110").await;
    let mut decide = phase("p", ok.clone());
    decide["compensation"] = json!("restore");
    check(decide, "", "RD0116").await;
    let mut narrow = phase("p", ok.clone());
    narrow["writes"] = json!([TABLES[0], TABLES[1]]);
    narrow["residue"] = narrow["writes"].clone();
    check(narrow, "", "RD0302").await;
    let mut elsewhere = ok;
    elsewhere["schema"] = json!("elsewhere");
    let mut elsewhere = phase("p", elsewhere);
    let tables: Vec<String> = TABLES
        .iter()
        .map(|t| t.replace("postings.", "elsewhere."))
        .collect();
    elsewhere["writes"] = json!(tables);
    elsewhere["residue"] = json!(tables);
    check(elsewhere, "/schema", "RD0140").await;
    // A trigger that somebody hung on the tables: what it writes is seen by its locks.
    lab.sql(
        "create table public.extra (n int);
         create function public.more() returns trigger language plpgsql as $$begin insert into public.extra values (1); return new; end$$;
         create trigger more after insert on postings.posting for each row execute function public.more()",
    );
    let outcome = run(
        &engine,
        &crate::pay(),
        json!({"from": "world", "to": "a", "amount": "1"}),
    )
    .await;
    assert_eq!(code(&outcome), "RD0302");
}

//! The tables: their version, the replay, another schema, rows that never change.

use redress::Outcome;
use redress_adapters::postings::Schema;
use redress_adapters::postings::replay::{Ledger, Report, replay};
use redress_tests::Lab;
use serde_json::json;

use crate::{code, completed, lab, paid, pay, phase, run, saga, said, sound};

async fn replayed(lab: &Lab, engine: &redress::Engine) -> Report {
    let ledger = Ledger::read(engine).await.expect("read");
    let session = redress::db::connect(&lab.url().parse().expect("a URL"))
        .await
        .expect("connected");
    replay(&session, &Schema::default(), &ledger)
        .await
        .expect("replayed")
}

/// systems.md 3.5: recomputed balances equal the tables, both ways; what differs is named.
#[tokio::test(flavor = "multi_thread")]
async fn the_replay_finds_every_difference_both_ways() {
    let lab = lab().await;
    let engine = lab.engine().await;
    for amount in ["100", "50"] {
        paid(&lab, &engine, "world", "alice", amount).await;
    }
    paid(&lab, &engine, "alice", "bob", "30").await;
    let report = replayed(&lab, &engine).await;
    assert_eq!(
        (report.ok, report.transactions, report.postings),
        (true, 3, 3)
    );
    let off = "alter table postings.posting disable trigger user; alter table postings.transaction disable trigger user;";
    let cases = [
        (
            "update postings.balance set input = input + 1 where account = 'alice'",
            "postings.balance",
        ),
        (
            "delete from postings.balance where account = 'bob'",
            "postings.balance",
        ),
        (
            "insert into postings.account values ('eve', now(), false); insert into postings.balance values ('eve', 'EUR/2', 5, 0)",
            "postings.balance",
        ),
        (
            "update postings.posting set amount = 31 where destination = 'bob'",
            "postings.transaction",
        ),
        (
            "update postings.transaction set captured = jsonb_set(captured, '{0,amount}', '\"9\"') where id = (select max(id::text)::uuid from postings.transaction)",
            "postings.transaction",
        ),
        (
            "update postings.account set overdraft = false where address = 'world'",
            "postings.overdrawn",
        ),
        ("delete from postings.posting", "postings.reversal"),
        (
            "update postings.transaction set reverses = (select min(id::text)::uuid from postings.transaction) \
          where id = (select max(id::text)::uuid from postings.transaction)",
            "postings.reversal",
        ),
    ];
    for (damage, what) in cases {
        let copy = crate::lab().await;
        let engine = copy.engine().await;
        for (from, to, amount) in [
            ("world", "alice", "100"),
            ("world", "alice", "50"),
            ("alice", "bob", "30"),
        ] {
            paid(&copy, &engine, from, to, amount).await;
        }
        copy.sql(&format!("{off} {damage}"));
        let report = replayed(&copy, &engine).await;
        assert!(
            !report.ok
                && report
                    .findings
                    .iter()
                    .any(|f| f.what == what && f.code == "RD0361"),
            "{damage}: {report:?}"
        );
    }
}

/// systems.md 3.5: a record of an older format is legacy, not corruption.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_transaction_is_legacy_and_no_fault() {
    let lab = lab().await;
    let engine = lab.engine().await;
    let id = paid(&lab, &engine, "world", "alice", "100").await;
    lab.sql("alter table postings.transaction disable trigger user; update postings.transaction set captured = null");
    let report = replayed(&lab, &engine).await;
    assert_eq!((report.ok, report.legacy), (true, vec![id]));
}

/// systems.md 3.6: tables of another version are refused, and nothing gets past it.
#[tokio::test(flavor = "multi_thread")]
async fn tables_of_another_version_are_refused() {
    for version in ["0", "2"] {
        let lab = lab().await;
        let engine = lab.engine().await;
        let row = completed(
            run(
                &engine,
                &pay(),
                json!({"from": "world", "to": "a", "amount": "1"}),
            )
            .await,
        );
        lab.sql(&format!("update postings.storage set version = {version}"));
        let held = crate::again(
            &engine,
            &pay(),
            json!({"from": "world", "to": "a", "amount": "1"}),
        )
        .await;
        assert!(
            matches!(held, Outcome::Held(_)) && code(&held) == "RD0356",
            "{}",
            said(&held)
        );
        let findings = engine.check_definition(&pay()).await.expect("judged");
        assert_eq!(
            (findings[0].path.as_str(), findings[0].code),
            ("/phases/0/with/schema", "RD0356")
        );
        let plan = engine
            .plan(row.id, std::collections::BTreeMap::new(), "back")
            .await
            .expect("planned");
        let error = engine.apply(&plan).await.expect_err("refused");
        assert!(error.to_string().contains("version"), "{error}");
        let session = redress::db::connect(&lab.url().parse().expect("a URL"))
            .await
            .expect("connected");
        assert_eq!(
            replay(&session, &Schema::default(), &Ledger::default())
                .await
                .expect_err("refused")
                .code(),
            "RD0356"
        );
        assert_eq!(lab.sql("select count(*) from postings.transaction"), "1");
    }
}

/// What is committed is not changed, not even by the owner of the tables.
#[tokio::test(flavor = "multi_thread")]
async fn committed_rows_are_only_added_to() {
    let lab = lab().await;
    let engine = lab.engine().await;
    paid(&lab, &engine, "world", "alice", "100").await;
    for sql in [
        "update postings.transaction set phase = 'x'",
        "delete from postings.posting",
        "update postings.posting set amount = 1",
        "truncate postings.posting",
        "truncate postings.transaction cascade",
        "set session_replication_role = replica; delete from postings.posting",
    ] {
        assert!(
            lab.try_sql(sql).expect_err(sql).starts_with("55000"),
            "{sql}"
        );
    }
    sound(&lab, &engine).await;
}

/// The installer chooses the schema; two stand side by side; down takes everything away.
#[tokio::test(flavor = "multi_thread")]
async fn the_tables_stand_in_a_schema_of_any_name() {
    let lab = Lab::new().await;
    let other: Schema = "books_2026".parse().expect("a name");
    for script in other.up() {
        lab.sql(&script);
    }
    let engine = lab.engine().await;
    let with = json!({
        "schema": "books_2026", "accounts": ["*"], "open": [{"account": "world", "overdraft": true}],
        "transactions": [{"postings": [{"source": "world", "destination": "a", "asset": "X", "amount": "1"}]}],
    });
    let mut phase = phase("p", with);
    let tables: Vec<String> = crate::TABLES
        .iter()
        .map(|t| t.replace("postings.", "books_2026."))
        .collect();
    phase["writes"] = json!(tables);
    phase["residue"] = json!(tables);
    completed(run(&engine, &saga("try", json!([phase])), json!({})).await);
    assert_eq!(
        lab.sql("select account from books_2026.balance order by 1"),
        "a\nworld"
    );
    assert_eq!(
        lab.sql("select count(*) from pg_namespace where nspname = 'postings'"),
        "0"
    );
    for script in other.down() {
        lab.sql(&script);
    }
    assert_eq!(
        lab.sql("select count(*) from pg_namespace where nspname = 'books_2026'"),
        "0"
    );
}

/// systems.md 3.5: the ledger and the tables, both ways: what a record committed is there, what is there a record committed.
#[tokio::test(flavor = "multi_thread")]
async fn the_replay_compares_the_ledger_with_the_tables_both_ways() {
    let off = "alter table postings.posting disable trigger user; alter table postings.transaction disable trigger user;";
    let forged = "insert into postings.transaction (id, run, phase, digest, effective_at, captured) values (
            'ffffffff-0000-7000-8000-000000000000', gen_random_uuid(), 'p', sha256(''), now(),
            '[{\"source\": \"world\", \"destination\": \"eve\", \"asset\": \"EUR/2\", \"amount\": \"5\"}]');
        insert into postings.account (address, overdraft) values ('eve', false);
        insert into postings.posting values ('ffffffff-0000-7000-8000-000000000000', 1, 'world', 'eve', 'EUR/2', 5);
        insert into postings.balance values ('eve', 'EUR/2', 5, 0);
        update postings.balance set output = output + 5 where account = 'world'";
    let lost =
        "delete from postings.posting; delete from postings.transaction where reverses is not null;
        delete from postings.transaction; delete from postings.balance";
    let unreversed = "delete from postings.posting where transaction in (select id from postings.transaction where reverses is not null);
        delete from postings.transaction where reverses is not null;
        update postings.balance b set input = m.input, output = m.output from (
          select account, sum(input) as input, sum(output) as output from (
            select destination as account, amount as input, 0 as output from postings.posting
            union all select source, 0, amount from postings.posting) p group by account) m where m.account = b.account";
    for (damage, said) in [
        ("", ""),
        (forged, "no record committed transaction ffffffff"),
        (lost, "which is not there"),
        (unreversed, "nothing of its run reverses"),
        (
            "update postings.transaction set run = gen_random_uuid() where reverses is null",
            "is not what record",
        ),
    ] {
        let lab = lab().await;
        let engine = lab.engine().await;
        let row = completed(
            run(
                &engine,
                &pay(),
                json!({"from": "world", "to": "a", "amount": "7"}),
            )
            .await,
        );
        let plan = engine
            .plan(row.id, std::collections::BTreeMap::new(), "back")
            .await
            .expect("planned");
        engine.apply(&plan).await.expect("applied");
        lab.sql(&format!("{off} {damage}"));
        let report = replayed(&lab, &engine).await;
        assert_eq!(report.ok, said.is_empty(), "{damage}: {report:?}");
        assert!(
            said.is_empty() || report.findings.iter().any(|f| f.message.contains(said)),
            "{damage}: {report:?}"
        );
    }
}

/// systems.md 3.5: a record of an older format is legacy, not corruption.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_record_is_legacy_and_no_fault() {
    let lab = lab().await;
    let engine = lab.engine().await;
    paid(&lab, &engine, "world", "alice", "100").await;
    // What an older engine would have written: no undo data of ours.
    lab.sql(
        "alter table redress.record disable trigger user;
         update redress.record set bytes = convert_to(replace(convert_from(bytes, 'UTF8'), '\"format\":1', '\"format\":0'), 'UTF8')
         where kind = 'phase.committed'",
    );
    let report = replayed(&lab, &engine).await;
    assert_eq!(
        (report.ok, report.legacy_records.len()),
        (true, 1),
        "{report:?}"
    );
}

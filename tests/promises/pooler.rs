//! Behind pgbouncer in transaction mode: nothing is kept in a server process, and everything works as without.

use std::sync::Arc;

use futures_util::future::join_all;
use redress::adapter::Applied;
use redress::{Engine, Outcome};
use redress_tests::{Bank, Lab, Pooler, bank, pooler};
use serde_json::json;

use crate::common::*;

/// Types of the business's own, which the driver has to ask for.
const MOODS: &str = "create type mood as enum ('calm', 'cross'); create type colour as enum ('red', 'blue');
     create table note (run uuid not null, mood mood not null, colour colour, state text not null default 'live');";

/// Every phase names types that only the server knows, as parameters and as columns.
const NOTES: &str = r#"
saga: notes
version: 1
description: Notes with moods.
input: {type: object, required: [mood], properties: {mood: {type: string}, refused: {type: boolean}}}
authority: {soft_revert: auto}
phases:
  - name: first
    adapter: sql
    writes: [public.note]
    compensation: soft_revert
    residue: [public.note]
    with:
      apply:
        - sql: insert into public.note (run, mood) values ($1, $2) returning mood, run
          params: [/run/id, /input/mood]
          rows: 1
          as: note
      revert:
        - sql: update public.note set state = 'withdrawn' where run = $1 and mood = $2 and state = 'live'
          params: [/run/id, /phases/first/note/0/mood]
          rows: 1
  - name: second
    adapter: sql
    writes: [public.note]
    compensation: soft_revert
    residue: [public.note]
    with:
      apply:
        - sql: update public.note set colour = 'red' where run = $1 returning colour, mood
          params: [/run/id]
          rows: 1
          as: painted
      revert:
        - sql: update public.note set colour = null where run = $1 and colour = $2
          params: [/run/id, /phases/second/painted/0/colour]
          rows: 1
  - name: third
    adapter: sql
    writes: [public.note]
    compensation: soft_revert
    residue: [public.note]
    with:
      apply:
        - sql: update public.note set state = 'live' where run = $1 and not coalesce($2, false)
          params: [/run/id, /input/refused]
          rows: 1
      revert:
        - sql: update public.note set state = 'withdrawn' where run = $1
          params: [/run/id]
          rows: 1
"#;

/// A lab, a pooler before it with few server processes that live a second each, and an engine that was told.
async fn behind() -> Option<(Lab, Pooler, Engine)> {
    let program = pooler::find()?;
    let lab = Lab::new().await;
    lab.sql(MARKS);
    lab.sql(MOODS);
    let settings = "default_pool_size = 24\nserver_lifetime = 1";
    let pooler = Pooler::before(&program, lab.url(), settings);
    let engine = lab.builder(&pooler.url(lab.url())).build().await;
    let engine = engine.unwrap_or_else(|error| panic!("{error}\n{}", pooler.log()));
    Some((lab, pooler, engine))
}

/// What lies in the server processes of the pooler, each looked at once.
fn left_behind(lab: &Lab, pooler: &Pooler) -> String {
    const LOOK: &str = "select pg_sleep(0.05);
        select 'statement ' || name || ' ' || statement from pg_prepared_statements where name ~ '^s[0-9]+$'
        union all select 'lock' from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
        union all select 'table ' || relname from pg_class where relnamespace = pg_my_temp_schema()
        union all select 'channel ' || c from pg_listening_channels() c
        union all select 'setting ' || name || ' = ' || setting from pg_settings where source = 'session'
            and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')";
    let url = pooler.silent_url(lab.url());
    let look = || query_text_plain(&url, LOOK);
    let lines: Vec<String> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..24).map(|_| scope.spawn(look)).collect();
        all.into_iter()
            .map(|one| one.join().expect("looked"))
            .collect()
    });
    let mut lines: Vec<String> = lines
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines.dedup();
    lines.join("\n")
}

/// The first columns, without the startup options that a pooler refuses.
fn query_text_plain(url: &str, sql: &str) -> String {
    let mut client = postgres::Client::connect(url, postgres::NoTls).expect("a connection");
    let messages = client.simple_query(sql).expect("an answer");
    let rows = messages.iter().filter_map(|message| match message {
        postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    rows.collect::<Vec<_>>().join("\n")
}

/// F40
#[tokio::test(flavor = "multi_thread")]
async fn runs_complete_and_are_compensated_through_a_pooler_and_leave_nothing_in_its_processes() {
    let Some((lab, pooler, engine)) = behind().await else {
        return;
    };
    let saga = Lab::read(NOTES);
    engine.register(&saga).await.expect("registered");
    for round in 0..3 {
        let all = (0..8).map(|n| {
            let input = json!({"mood": "cross", "refused": n % 2 == 1});
            engine.start_and_drive(engine.start("notes", input).key(format!("k{round}-{n}")))
        });
        for (n, ended) in join_all(all).await.into_iter().enumerate() {
            let (_, outcome) = ended.unwrap_or_else(|error| panic!("{error}\n{}", pooler.log()));
            let expected = if n % 2 == 1 {
                "compensated"
            } else {
                "completed"
            };
            assert_eq!(outcome.run().state.as_str(), expected, "{outcome:?}");
        }
        // Long enough for server processes to be replaced.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    }
    assert_eq!(
        lab.sql(
            "select state, coalesce(colour::text, '-'), count(*) from note group by 1, 2 order by 1"
        ),
        "live|red|12\nwithdrawn|-|12"
    );
    sound(&engine).await;
    drop(engine);
    assert_eq!(left_behind(&lab, &pooler), "");
}

/// F45
#[tokio::test(flavor = "multi_thread")]
async fn what_an_adapter_leaves_in_a_session_is_gone_from_the_poolers_process() {
    let Some((lab, pooler, _)) = behind().await else {
        return;
    };
    let adapter = Act::new("act", |tx, call| {
        Box::pin(async move {
            put_mark(tx, call).await?;
            for text in [
                "create temp table mine (n int)",
                "select set_config('search_path', 'nowhere', false)",
                "select set_config('lock_timeout', '17ms', false)",
                "select pg_advisory_lock(17)",
            ] {
                tx.execute(text, &[]).await?;
            }
            Ok(Applied::default())
        })
    });
    let engine = lab
        .builder(&pooler.url(lab.url()))
        .adapter(adapter.done())
        .build()
        .await
        .expect("an engine");
    let line = saga(
        "line",
        vec![
            mark("p1", json!({})),
            act("p2", "act", json!({})),
            mark("p3", json!({})),
        ],
        json!({}),
    );
    let outcome = run(&engine, &line).await;
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    assert_eq!(left_behind(&lab, &pooler), "");
    // One that fails after it has left them.
    let refusing = Act::new("act", |tx, call| {
        Box::pin(async move {
            put_mark(tx, call).await?;
            tx.execute(
                "select pg_advisory_lock(18), set_config('lock_timeout', '17ms', false)",
                &[],
            )
            .await?;
            tx.execute("select 1 / 0", &[]).await?;
            Ok(Applied::default())
        })
    });
    let engine = lab
        .builder(&pooler.url(lab.url()))
        .adapter(refusing.done())
        .build()
        .await
        .expect("an engine");
    let outcome = again(&engine, &line).await;
    assert!(matches!(outcome, Outcome::Compensated(_)), "{outcome:?}");
    assert_eq!(left_behind(&lab, &pooler), "");
}

/// F40: many at once on fewer server processes than sessions, refused ones among them, over every kind of saga.
#[tokio::test(flavor = "multi_thread")]
async fn a_banks_books_stay_right_through_a_pooler() {
    let Some(program) = pooler::find() else {
        return;
    };
    let bank = Bank::new().await;
    let pooler = Pooler::before(&program, bank.url(), "default_pool_size = 24");
    let engine = bank.builder(&pooler.url(bank.url())).build().await;
    let engine = Arc::new(engine.expect("an engine"));
    for (s, saga) in ["transfer", "steps"].into_iter().enumerate() {
        let all = (0..10).map(|n| {
            let engine = Arc::clone(&engine);
            async move {
                let key = format!("p{s}-{n}");
                let start = engine.start(saga, bank::input(n, n % 3 == 2)).key(key);
                engine.start_and_drive(start).await.expect("driven")
            }
        });
        join_all(all).await;
    }
    let tally = bank.audit_twice().await;
    assert_eq!((tally.completed, tally.compensated), (14, 6));
}

/// What was known of a statement's types is forgotten when they no longer fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_column_is_described_anew() {
    let Some((lab, _pooler, engine)) = behind().await else {
        return;
    };
    let saga = Lab::read(NOTES);
    engine.register(&saga).await.expect("registered");
    let go = |key: &'static str| {
        let start = engine
            .start("notes", json!({"mood": "calm", "refused": false}))
            .key(key);
        engine.start_and_drive(start)
    };
    let (_, outcome) = go("before").await.expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
    lab.sql("alter table note alter column mood type text");
    let (_, outcome) = go("after").await.expect("driven");
    assert!(matches!(outcome, Outcome::Completed(_)), "{outcome:?}");
}

//! Every shipped adapter passes every walk that it can be sent on.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use redress_adapters::postings::Schema;
use redress_adapters::{CommandConfig, Config, HttpConfig};
use redress_tests::fileset::{adapter as files, lay, tree};
use redress_tests::server::{Heard, Reply, Server};

use super::*;

/// `sql` with every walk, `backup` that is discarded and `gate` among its phases.
#[tokio::test(flavor = "multi_thread")]
async fn sql_gate_and_a_backup_pass_every_walk() {
    let (lab, engine) = lab(None).await;
    let backup = json!({
        "name": "keep", "adapter": "backup",
        "with": {"rows": [{"name": "marks", "sql": "select phase from shop.mark order by run, phase"}]},
    });
    let gate = json!({"name": "wait", "adapter": "gate", "with": {"after": "5ms"}});
    let phases = vec![
        verified("p1"),
        backup,
        gate,
        verified("p2"),
        mark("p3", json!({})),
    ];
    let line = saga("line", phases, json!({}));
    let look = || -> Looking<'_> { Box::pin(async { marked(&lab) }) };
    let breaks = Walks::new(&engine, line, |n| json!({"n": n}), look)
        .spoil(|run| {
            let lab = &lab;
            Box::pin(async move { ship(lab, run) })
        })
        .falsify(|told| {
            let lab = &lab;
            let verifies = told
                .as_ref()
                .is_none_or(|lie| ["p1", "p2"].contains(&lie.phase.as_str()));
            Box::pin(async move { lie(lab, told) && verifies })
        })
        .all()
        .await
        .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}

/// A backup that is restored: what it verifies afterwards is made false by a trigger, its artefact by somebody's hand.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_restored_passes_every_walk() {
    let (lab, engine) = lab(None).await;
    lab.sql(
        "create table shop.item (id int primary key, t text not null);
         insert into shop.item values (1, 'one'), (2, 'two');
         create function shop.bend() returns trigger language plpgsql as
           $$ begin new.t := new.t || ' bent'; return new; end $$;
         create trigger bend before insert on shop.item for each row execute function shop.bend();
         alter table shop.item disable trigger bend",
    );
    let keep = json!({
        "name": "keep", "adapter": "backup", "writes": ["shop.item"], "residue": ["shop.item"], "compensation": "restore",
        "retry": {"attempts": 1}, "with": {"rows": [{"name": "item", "sql": "select id, t from shop.item order by id", "restore": [
            {"sql": "delete from shop.item"},
            {"sql": "insert into shop.item select w.id, w.t from jsonb_to_recordset($1::jsonb) as w (id int, t text)", "params": ["/artefact/rows"]}]}]},
    });
    let change = json!({
        "name": "change", "adapter": "sql", "writes": ["shop.item"], "residue": ["shop.item"], "compensation": "none",
        "retry": {"attempts": 1}, "with": {"apply": [{"sql": "update shop.item set t = t || ' changed'"}]},
    });
    let line = saga("line", vec![keep, change], json!({}));
    let look = || -> Looking<'_> {
        Box::pin(async { json!(lab.sql("select string_agg(t, ', ' order by id) from shop.item")) })
    };
    let breaks = Walks::new(&engine, line, |n| json!({"n": n}), look)
        .spoil(|_| {
            let artefacts = lab.path("artefacts");
            Box::pin(async move {
                for entry in fs::read_dir(artefacts).expect("a folder") {
                    fs::write(entry.expect("an entry").path(), "somebody's").expect("written");
                }
            })
        })
        .falsify(|told| {
            let lab = &lab;
            Box::pin(async move {
                let how = if told.is_some() { "enable" } else { "disable" };
                let bends = told.is_none_or(|lie| lie.phase == "keep" && lie.way == Way::Back);
                if bends {
                    lab.sql(&format!("alter table shop.item {how} trigger bend"));
                }
                bends
            })
        })
        .all()
        .await
        .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}

/// Payments come back by reversals; what the payee has spent cannot.
#[tokio::test(flavor = "multi_thread")]
async fn postings_pass_every_walk() {
    let (lab, engine) = lab(None).await;
    for script in Schema::default().up() {
        lab.sql(&script);
    }
    let tables = ["account", "balance", "transaction", "posting", "metadata"]
        .map(|name| format!("postings.{name}"));
    let pay = json!({
        "name": "pay", "adapter": "postings", "writes": tables, "residue": tables, "compensation": "soft_revert",
        "retry": {"attempts": 3, "backoff": "10ms", "max": "20ms"}, "with": {
            "accounts": ["world", "alice"], "keys": ["order"], "open": [{"account": "world", "overdraft": true}],
            "transactions": [{"as": "payment", "reference": "/input/reference", "metadata": {"order": "/input/reference"}, "postings": [
                {"source": "world", "destination": "alice", "asset": "EUR/2", "amount": "10"}]}]},
    });
    let look = || -> Looking<'_> {
        let sql = "select string_agg(account || ' ' || input - output, ', ' order by account) from postings.balance
                   where input <> output";
        Box::pin(async { json!([lab.sql(sql), marked(&lab)]) })
    };
    let breaks = Walks::new(
        &engine,
        behind(pay),
        |n| json!({"reference": format!("order-{n}")}),
        look,
    )
    .spoil(|_| {
        let lab = &lab;
        Box::pin(async move {
            lab.sql("update postings.balance set output = input where account = 'alice'");
        })
    })
    .falsify(|told| {
        let lab = &lab;
        let verifies = told.as_ref().is_none_or(|lie| lie.phase == "p1");
        Box::pin(async move { lie(lab, told) && verifies })
    })
    .all()
    .await
    .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    assert!(engine.audit_verify().await.is_ok());
}

/// A program that keeps a file for each key; when it is sealed it takes nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn command_passes_every_walk() {
    let (lab, _) = lab(None).await;
    let mut command = CommandConfig::default();
    for (name, text) in [
        ("act", "mkdir -p stands && touch \"stands/$REDRESS_KEY\""),
        ("seen", "[ -e \"stands/$REDRESS_KEY\" ]"),
        (
            "back",
            "[ ! -e sealed ] || exit 1; rm -f \"stands/$REDRESS_KEY\"",
        ),
    ] {
        let path = lab.path(name);
        let text = format!("#!/bin/sh\ncd '{}'\n{text}\n", lab.state_dir().display());
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
        command.allow.push(path);
    }
    let config = Config {
        command,
        ..Config::default()
    };
    let engine = engine_of(&lab, &config).await;
    let path = |name: &str| lab.path(name).display().to_string();
    let with = json!({"argv": [path("act")], "probe": [path("seen")], "undo": [path("back")]});
    let look = || -> Looking<'_> {
        let stands = fs::read_dir(lab.path("stands"))
            .into_iter()
            .flatten()
            .count();
        Box::pin(async move { json!(stands) })
    };
    let breaks = Walks::new(
        &engine,
        behind(outside("command", with)),
        |n| json!({"n": n}),
        look,
    )
    .spoil(|_| {
        let sealed = lab.path("sealed");
        Box::pin(async move { fs::write(sealed, "").expect("written") })
    })
    .all()
    .await
    .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}

async fn engine_of(lab: &Lab, config: &Config) -> Engine {
    let builder = lab.builder(lab.url()).lease(LEASE);
    let builder = builder.externals(redress_adapters::external(config));
    builder.build().await.expect("an engine")
}

/// A server that heeds its keys; when it is sealed it takes nothing back.
#[tokio::test(flavor = "multi_thread")]
async fn http_passes_every_walk() {
    let (lab, _) = lab(None).await;
    let orders = Arc::new(Mutex::new((BTreeSet::new(), false)));
    let placed = orders.clone();
    let server = Server::start(move |heard: &Heard| {
        let mut placed = placed.lock().expect("no panic");
        let key = heard
            .headers
            .get("idempotency-key")
            .cloned()
            .unwrap_or_default();
        match heard.method.as_str() {
            "POST" => {
                placed.0.insert(key.clone());
                Reply::Say(201, format!(r#"{{"id": "{key}"}}"#))
            }
            "DELETE" if placed.1 => Reply::Say(409, "sealed".to_owned()),
            "DELETE" => {
                placed
                    .0
                    .remove(key.strip_suffix(".undo").unwrap_or_default());
                Reply::Say(204, String::new())
            }
            _ if placed.0.contains(&key) => Reply::Say(200, format!(r#"{{"id": "{key}"}}"#)),
            _ => Reply::Say(404, String::new()),
        }
    })
    .await;
    let http = HttpConfig {
        hosts: vec![server.host.clone()],
        ..HttpConfig::default()
    };
    let engine = engine_of(
        &lab,
        &Config {
            http,
            ..Config::default()
        },
    )
    .await;
    let url = format!("http://{}/orders", server.host);
    let with = json!({
        "method": "POST", "url": url, "body": {"n": {"pointer": "/input/n"}},
        "probe": {"url": url, "path": [{"pointer": "/key"}]},
        "undo": {"method": "DELETE", "url": url, "path": [{"pointer": "/done/json/id"}]},
    });
    let look = || -> Looking<'_> {
        let stands = orders.lock().expect("no panic").0.len();
        Box::pin(async move { json!(stands) })
    };
    let breaks = Walks::new(
        &engine,
        behind(outside("http", with)),
        |n| json!({"n": n}),
        look,
    )
    .spoil(|_| {
        orders.lock().expect("no panic").1 = true;
        Box::pin(async {})
    })
    .all()
    .await
    .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}

/// Files of a directory; what somebody else changed since is not overwritten.
#[tokio::test(flavor = "multi_thread")]
async fn fileset_passes_every_walk() {
    let (lab, _) = lab(None).await;
    let ground = lab.path("files");
    let builder = lab.builder(lab.url()).lease(LEASE).external(files(&ground));
    let engine = builder.build().await.expect("an engine");
    lay(&ground, "web", "0");
    let with = json!({"root": "projects", "directory": "web", "write_from": "/input/files", "delete_if_there": ["old"]});
    let look = || -> Looking<'_> { Box::pin(async { json!(tree(&ground, "web")) }) };
    let input = |n: u32| {
        let list = redress_tests::fileset::files(&n.to_string()).into_iter();
        let list: Vec<_> = list
            .map(|(path, content)| json!({"path": path, "content": content}))
            .collect();
        json!({"files": list})
    };
    let breaks = Walks::new(&engine, behind(outside("fileset", with)), input, look)
        .spoil(|_| {
            let file = ground.join("projects/web/app.lock");
            Box::pin(async move { fs::write(file, "somebody's").expect("written") })
        })
        .all()
        .await
        .expect("walked");
    assert!(breaks.is_empty(), "{breaks:#?}");
    sound(&engine).await;
}

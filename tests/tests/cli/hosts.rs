//! What a URL leaves open, and several hosts: password files, services, the environment, standbys and failover.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use redress_tests::secured::PASSWORD;
use redress_tests::{Running, Setup, TestCluster, eventually};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::connecting::{Site, quiet};
use crate::kit::{Ran, SAGA, SHOP, command, ended};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn passwords_come_from_the_password_file_and_everything_from_a_service() {
    let Some(site) = Site::new() else {
        return;
    };
    let (server, home) = (&site.server, site.dir.path());
    let ca = server.file("ca.crt");
    let port = server.port();
    let bare =
        format!("postgres://installer@localhost:{port}/shop?sslmode=verify-full&sslrootcert={ca}");
    let pgpass = home.join(".pgpass");
    let write = |text: &str, mode: u32| {
        fs::write(&pgpass, text).expect("written");
        fs::set_permissions(&pgpass, fs::Permissions::from_mode(mode)).expect("mode");
    };
    let line = format!("localhost:{port}:shop:installer:{PASSWORD}\n");
    write(&line, 0o600);
    let none = |url: &str| site.json(url, &["db", "status"], 78)["error"]["code"] == "RD0701";
    assert!(none(&bare));
    write(&line, 0o644);
    let ran = ended(&mut site.command(&bare, &["db", "status"]));
    assert_eq!(ran.exit, 75, "{}", ran.err);
    assert!(
        ran.err.contains("chmod 0600") && ran.err.contains("RD0818"),
        "{}",
        ran.err
    );
    assert!(!ran.err.contains(PASSWORD));
    // Another file, by key and by variable; PGPASSWORD comes before it.
    fs::rename(&pgpass, home.join("elsewhere")).expect("moved");
    fs::set_permissions(home.join("elsewhere"), fs::Permissions::from_mode(0o600)).expect("mode");
    let elsewhere = home.join("elsewhere").display().to_string();
    assert!(none(&format!("{bare}&passfile={elsewhere}")));
    let with = |url: &str, variables: &[(&str, &str)]| -> Ran {
        let mut command = site.command(url, &["db", "status", "--json"]);
        command.envs(variables.iter().copied());
        ended(&mut command)
    };
    let reached = |ran: &Ran| ran.out.contains("RD0701");
    assert!(reached(&with(&bare, &[("PGPASSFILE", &elsewhere)])));
    assert!(reached(&with(&bare, &[("PGPASSWORD", PASSWORD)])));
    assert!(!reached(&with(
        &bare,
        &[("PGPASSWORD", "other"), ("PGPASSFILE", &elsewhere)]
    )));
    // The environment fills gaps and changes nothing that was said.
    let around = [
        ("PGHOST", "localhost"),
        ("PGPORT", &*port.to_string()),
        ("PGUSER", "installer"),
        ("PGDATABASE", "shop"),
        ("PGPASSWORD", PASSWORD),
        ("PGSSLMODE", "verify-full"),
        ("PGSSLROOTCERT", &*ca),
        ("PGCONNECT_TIMEOUT", "5"),
        ("PGTARGETSESSIONATTRS", "read-write"),
    ];
    let ran = with("postgres://", &around);
    assert!(reached(&ran), "{} {}", ran.out, ran.err);
    let ran = with("postgres://?host=127.0.0.1", &around);
    assert!(ran.out.contains("RD0813"), "{}", ran.out);
    // A service: in the home folder, in a file that is named, in the system's folder.
    let text = format!(
        "# ours\n[other]\nport=1\n\n[shop]\nhost=localhost\nport={port}\nuser=installer\ndbname=shop\nsslmode=verify-full\nsslrootcert={ca}\n\n[third]\nhost=nowhere\n"
    );
    let (file, folder) = (home.join("services"), home.join("etc"));
    fs::write(&file, &text).expect("written");
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("pg_service.conf"), &text).expect("written");
    let file = file.display().to_string();
    let folder = folder.display().to_string();
    let secret = ("PGPASSWORD", PASSWORD);
    for (url, variables) in [
        ("service=shop", &[secret, ("PGSERVICEFILE", &*file)][..]),
        (
            "postgres://?service=shop",
            &[secret, ("PGSYSCONFDIR", &folder)],
        ),
        (
            "postgres://",
            &[secret, ("PGSERVICE", "shop"), ("PGSERVICEFILE", &file)],
        ),
        // What was given wins over the service, the service over the environment.
        ("service=shop port=5", &[secret, ("PGSERVICEFILE", &file)]),
        (
            "service=shop",
            &[secret, ("PGSERVICEFILE", &file), ("PGPORT", "5")],
        ),
        ("service=shops", &[secret, ("PGSERVICEFILE", &file)]),
    ] {
        let ran = with(url, variables);
        let wanted = match url {
            "service=shop port=5" => "RD0801",
            "service=shops" => "RD0810",
            _ => "RD0701",
        };
        assert!(ran.out.contains(wanted), "{url} {variables:?}\n{}", ran.out);
    }
    fs::write(&file, "[shop]\nhost=localhost\nfavourite=blue\n").expect("written");
    let ran = with("service=shop", &[("PGSERVICEFILE", &file)]);
    assert!(
        ran.out.contains("RD0810") && ran.out.contains("services:3"),
        "{}",
        ran.out
    );
}

#[test]
fn the_environment_of_other_servers_names_no_database() {
    let dir = TempDir::new().expect("a folder");
    let mut command = quiet(
        command(dir.path(), None, &["db", "status", "--json"]),
        dir.path(),
    );
    command.envs([
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", "1"),
        ("PGDATABASE", "shop"),
        ("PGSERVICE", "nowhere"),
    ]);
    let ran = ended(&mut command);
    assert_eq!(ran.exit, 75, "{}", ran.out);
    assert!(ran.out.contains("no private server yet"), "{}", ran.out);
}

/// What a session is, or the error.
async fn which(url: &str) -> Result<String, redress::db::DbError> {
    let session = redress::db::connect(&url.parse()?).await?;
    let ask = "select pg_is_in_recovery()::text || ' ' || current_setting('port')";
    Ok(session.query_one(ask, &[]).await.expect("an answer").get(0))
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_tried_in_order_and_each_that_fails_is_named_with_its_reason() {
    let primary = Setup::new().tcp().start();
    let standby = Setup::new().tcp().standby_of(&primary).start();
    let closed = Setup::new()
        .tcp()
        .set("default_transaction_read_only", "on")
        .start();
    let port = |cluster: &TestCluster| cluster.tcp_port().expect("a port");
    let (p, s, c) = (port(&primary), port(&standby), port(&closed));
    let url = |ports: &[u16], more: &str| {
        let hosts: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        format!(
            "postgres://postgres@{}/postgres?sslmode=disable&{more}",
            hosts.join(",")
        )
    };
    let (is_p, is_s) = (format!("false {p}"), format!("true {s}"));
    let is_c = format!("false {c}");
    for (ports, attrs, wanted) in [
        (&[1, p][..], "any", &is_p),
        (&[s, p], "any", &is_s),
        (&[1, s, p], "read-write", &is_p),
        (&[c, s, p], "read-write", &is_p),
        (&[c, s, p], "primary", &is_c),
        (&[p, c], "read-only", &is_c),
        (&[p, s], "read-only", &is_s),
        (&[p, s], "standby", &is_s),
        (&[p, s], "prefer-standby", &is_s),
        (&[p, 1], "prefer-standby", &is_p),
    ] {
        let found = which(&url(ports, &format!("target_session_attrs={attrs}"))).await;
        assert_eq!(&found.expect(attrs), wanted, "{attrs}");
    }
    let error = which(&url(&[s, c], "target_session_attrs=read-write"))
        .await
        .expect_err("none");
    assert_eq!(error.code(), "RD0819");
    let text = error.to_string();
    assert!(
        text.contains(&s.to_string()) && text.contains("a standby"),
        "{text}"
    );
    assert!(
        text.contains(&c.to_string()) && text.contains("read-only"),
        "{text}"
    );
    let error = which(&url(&[1, s], "target_session_attrs=primary"))
        .await
        .expect_err("none");
    assert_eq!(error.code(), "RD0819");
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:1: ") && text.contains("[RD0801]"),
        "{text}"
    );
    // Key and value pairs, one port for all, and an address beside the name.
    let pairs = format!(
        "host=nowhere.invalid,localhost hostaddr=127.0.0.9,127.0.0.1 port={p} user=postgres dbname=postgres"
    );
    assert_eq!(which(&pairs).await.expect("the second"), is_p);
    let any = url(&[p, s], "load_balance_hosts=random");
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..64 {
        seen.insert(which(&any).await.expect("one of them"));
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

/// A run that is on its way when its server goes is finished on the standby that takes its place, by the same worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_goes_over_to_the_promoted_standby_and_finishes_what_was_on_its_way() {
    let primary = Setup::new().tcp().start();
    let standby = Setup::new().tcp().standby_of(&primary).start();
    let port = |cluster: &TestCluster| cluster.tcp_port().expect("a port");
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write&sslmode=disable",
        port(&primary),
        port(&standby)
    );
    let dir = TempDir::new().expect("a folder");
    let json = |words: &[&str], exit: i32| -> Value {
        let words = [words, &["--json"]].concat();
        let ran = ended(&mut quiet(
            command(dir.path(), Some(&url), &words),
            dir.path(),
        ));
        assert_eq!(ran.exit, exit, "{words:?}\n{}\n{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).expect("JSON")
    };
    json(&["db", "migrate"], 0);
    primary.query_text("postgres", SHOP);
    let file = dir.path().join("shop.yaml");
    fs::write(&file, SAGA).expect("written");
    json(&["saga", "register", &file.display().to_string()], 0);
    // The second phase waits for a lock when the primary goes.
    let direct = primary.url("postgres").parse().expect("a URL");
    let holder = redress::db::connect(&direct).await.expect("a session");
    let hold = "begin; lock table shop.booking in access exclusive mode";
    holder.batch_execute(hold).await.expect("locked");
    let words = ["work", "--concurrency", "1", "--lease", "3s"];
    let mut work = quiet(command(dir.path(), Some(&url), &words), dir.path());
    let mut worker = Running::start(&mut work);
    let run = json(
        &["start", "shop", "--input", r#"{"order": "o-1", "qty": 1}"#],
        0,
    );
    let run = run["run"].as_str().expect("a run").to_owned();
    let waits =
        "select count(*) from pg_locks where relation = 'shop.booking'::regclass and not granted";
    eventually(LIMIT, "the second phase waits", || {
        primary.query_text("postgres", waits) == "1"
    });
    let at = primary.query_text("postgres", "select pg_current_wal_flush_lsn()");
    let seen = format!("select pg_last_wal_replay_lsn() >= '{at}'");
    eventually(LIMIT, "the standby has it all", || {
        standby.query_text("postgres", &seen) == "t"
    });
    primary.stop_immediate();
    standby.query_text("postgres", "select pg_promote()");
    eventually(
        LIMIT,
        "the worker finishes the run on the other server",
        || {
            let sql = format!("select state from redress.run where id = '{run}'");
            standby.query_text("postgres", &sql) == "completed"
        },
    );
    let rows = "select (select count(*) from shop.reservation) || ' ' || (select count(*) from shop.booking)";
    assert_eq!(standby.query_text("postgres", rows), "1 1");
    json(&["check"], 0);
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(LIMIT).code(), Some(0), "{}", worker.stderr());
}

//! Secrets are shown nowhere: not by what a command prints, nor in any file, table, bundle or log that it leaves.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use redress_tests::secured::PASSWORD;

use crate::connecting::Site;
use crate::kit::{SAGA, SHOP, ended};

const PASSPHRASE: &str = "hush-Passphrase-0815";

/// What must be nowhere, as it stands and in what it could be wrapped.
fn needles() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for secret in [PASSWORD, PASSPHRASE] {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let encoded = <base64ct::Base64 as base64ct::Encoding>::encode_string(secret.as_bytes());
        all.push(secret.as_bytes().to_vec());
        all.push(hex.to_uppercase().into_bytes());
        all.push(hex.into_bytes());
        all.push(encoded.trim_end_matches('=').as_bytes().to_vec());
    }
    all
}

#[track_caller]
fn is_nowhere(what: &str, bytes: &[u8]) {
    for needle in needles() {
        let found = bytes.windows(needle.len()).position(|part| part == needle);
        if let Some(at) = found {
            let around = &bytes[at.saturating_sub(200)..(at + 60).min(bytes.len())];
            panic!("a secret in {what}: {}", String::from_utf8_lossy(around));
        }
    }
}

/// Every file below a folder, but the one in which the passphrase is given.
fn look_below(folder: &Path, files: &mut usize) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let given = ["pass", ".pgpass"].iter().any(|name| path.ends_with(name));
        if path.is_dir() {
            look_below(&path, files);
        } else if path.is_file() && !given {
            *files += 1;
            is_nowhere(&path.display().to_string(), &fs::read(&path).expect("read"));
        }
    }
}

/// Runs a command as loud as it can be and looks at every byte of what it says.
#[track_caller]
fn loud(site: &Site, url: &str, words: &[&str], variables: &[(&str, &str)]) -> i32 {
    let mut last = 0;
    for more in [&["-vv"][..], &["-vvv", "--json"]] {
        let mut command = site.command(url, &[words, more].concat());
        command
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full");
        command.envs(variables.iter().copied());
        let ran = ended(&mut command);
        is_nowhere(&format!("what {words:?} prints"), ran.out.as_bytes());
        is_nowhere(&format!("what {words:?} says"), ran.err.as_bytes());
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
        last = ran.exit;
    }
    last
}

/// F98.
#[test]
fn a_password_and_a_passphrase_are_nowhere_but_where_they_were_given() {
    let Some(site) = Site::new() else {
        return;
    };
    let pass = site.dir.path().join("pass");
    fs::write(&pass, format!("{PASSPHRASE}\n")).expect("written");
    let url = site.right();
    let bundle = site.dir.path().join("bundle").display().to_string();
    let saga = site.dir.path().join("shop.yaml");
    fs::write(&saga, SAGA).expect("written");
    let saga = saga.display().to_string();
    assert_eq!(loud(&site, &url, &["db", "migrate"], &[]), 0);
    let shop = format!(
        "{SHOP} alter schema shop owner to installer; alter table shop.reservation owner to installer;
         alter table shop.booking owner to installer;"
    );
    site.server.cluster.query_text("shop", &shop);
    site.json(&url, &["key", "new", "sov", "--role", "sovereign"], 0);
    let quietly = ["--as", "sov", "--non-interactive"];
    let open = [&["key", "open", "--reason", "first"][..], &quietly].concat();
    site.json(&url, &open, 0);
    let good = r#"{"order": "o-1", "qty": 1}"#;
    let bad = r#"{"order": "o-2", "qty": 1, "fail": true}"#;
    for words in [
        &["saga", "register", &saga][..],
        &["saga", "check", &saga],
        &["db", "status"],
        &["config"],
        &["start", "shop", "--input", good, "--wait"],
        &["start", "shop", "--input", bad, "--wait"],
        &["work", "--until-idle"],
        &["status"],
        &["runs"],
        &["log", "--all"],
        &["check"],
        &["audit", "seal"],
        &["audit", "export", &bundle],
        &["audit", "verify"],
        &["audit", "verify", &bundle],
        &["key", "list"],
        &["key", "new", "other", "--role", "reviewer"],
        &["kill", "--reason", "looked at"],
        &["doctor"],
        &["nonsense"],
        &["start", "shop", "--input", "{", "--wait"],
        &["show", "nobody"],
    ] {
        loud(&site, &url, words, &[]);
    }
    // What is wrong says no more than what is right.
    let broken = [
        url.replace("/shop?", "/nothing?"),
        url.replace("localhost", "127.0.0.1"),
        url.replace("verify-full", "disable")
            .replace("&channel_binding=require", ""),
        url.replace("installer:", "nobody:"),
        url.replace("sslmode=", "sslmodus="),
        url.replace(PASSWORD, &format!("x@{PASSWORD}")),
        url.replace(PASSWORD, &format!("x/{PASSWORD}")),
        url.replace(PASSWORD, &format!("x%{PASSWORD}")),
        url.replace("postgres://", "mysql://"),
        format!("host=localhost password={PASSWORD} and more"),
        format!("host=localhost port=1 sslpassword={PASSWORD}"),
        format!("host=localhost port=1 passwort={PASSWORD}"),
    ];
    for url in &broken {
        assert_ne!(loud(&site, url, &["db", "status"], &[]), 0, "{url}");
        assert_ne!(loud(&site, url, &["status"], &[]), 0, "{url}");
    }
    // The other ways in.
    let bare = url.replace(&format!(":{PASSWORD}@"), "@");
    assert_eq!(
        loud(&site, &bare, &["db", "status"], &[("PGPASSWORD", PASSWORD)]),
        0
    );
    let file = site.dir.path().join(".pgpass");
    fs::write(&file, format!("*:*:*:*:{PASSWORD}\n")).expect("written");
    for (mode, exit) in [(0o600, 0), (0o644, 75)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("mode");
        assert_eq!(loud(&site, &bare, &["db", "status"], &[]), exit);
    }
    // What is looked for would be found.
    let given = fs::read(&file).expect("read");
    assert!(std::panic::catch_unwind(|| is_nowhere("the password file", &given)).is_err());
    let mut files = 0;
    look_below(site.dir.path(), &mut files);
    assert!(files > 10, "{files} files were looked at");
    let tables = "select relname from pg_class where relnamespace = 'redress'::regnamespace and relkind in ('r', 'p')";
    let names = site.server.cluster.query_text("shop", tables);
    assert!(names.lines().count() > 10, "{names}");
    for name in names.lines() {
        let rows = format!("select one::text from redress.\"{name}\" as one");
        is_nowhere(
            name,
            site.server.cluster.query_text("shop", &rows).as_bytes(),
        );
    }
    is_nowhere("the server's log", site.server.cluster.log().as_bytes());
}

/// F98.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_may_print_of_a_connection_holds_no_password() {
    let Some(site) = Site::new() else {
        return;
    };
    let url = site.right();
    let target: redress::db::Target = url.parse().expect("a URL");
    is_nowhere(
        "Debug of a target",
        format!("{target:?} {target:#?}").as_bytes(),
    );
    is_nowhere("Display of a target", target.to_string().as_bytes());
    assert!(target.to_string().contains("installer:***@localhost"));
    let pool = redress::db::pool(&url, 2).expect("a pool");
    is_nowhere("Debug of a pool", format!("{pool:?}").as_bytes());
    let session = redress::db::connect(&target).await.expect("a session");
    is_nowhere("Debug of a session", format!("{session:?}").as_bytes());
    for wrong in [
        url.replace("/shop?", "/nothing?"),
        url.replace("sslmode=", "sslmodus="),
        url.replace("localhost", "127.0.0.1"),
        format!("postgres://me:{PASSWORD}@h:x/y"),
    ] {
        let error = match wrong.parse::<redress::db::Target>() {
            Ok(target) => redress::db::connect(&target).await.expect_err("wrong"),
            Err(error) => error.into(),
        };
        is_nowhere("Debug of an error", format!("{error:?} {error}").as_bytes());
    }
}

//! The way to the server: TLS, certificates, keys of the URL; what is wrong is told before anything is done.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use redress_tests::secured::PASSWORD;
use redress_tests::{Secured, Setup};
use serde_json::Value;
use tempfile::TempDir;

use crate::kit::{SAGA, SHOP, command, ended};

/// The command at a server that demands TLS.
pub struct Site {
    pub server: Secured,
    pub dir: TempDir,
}

impl Site {
    pub fn new() -> Option<Self> {
        let site = Self {
            server: Secured::start()?,
            dir: TempDir::new().expect("a folder"),
        };
        fs::write(site.dir.path().join("pass"), "correct horse\n").expect("written");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(site.dir.path().join("pass"), mode).expect("mode");
        Some(site)
    }

    /// The URL that is right for the installer.
    pub fn right(&self) -> String {
        let ca = self.server.file("ca.crt");
        let more = format!("sslmode=verify-full&sslrootcert={ca}&channel_binding=require");
        self.server.url("installer", &more)
    }

    pub fn command(&self, url: &str, words: &[&str]) -> Command {
        quiet(command(self.dir.path(), Some(url), words), self.dir.path())
    }

    #[track_caller]
    pub fn json(&self, url: &str, words: &[&str], exit: i32) -> Value {
        let ran = ended(&mut self.command(url, &[words, &["--json"]].concat()));
        assert_eq!(ran.exit, exit, "{url} {words:?}\n{}\n{}", ran.out, ran.err);
        serde_json::from_str(&ran.out).expect("JSON")
    }

    /// Tries to install, which must fail with this code and exit status.
    #[track_caller]
    fn refused(&self, url: &str, code: &str, exit: i32) -> String {
        let value = self.json(url, &["db", "migrate"], exit);
        assert_eq!(value["error"]["code"], code, "{url}: {value:#}");
        for part in ["message", "stands", "next"] {
            assert!(value["error"][part].as_str().is_some_and(|t| !t.is_empty()));
        }
        assert!(!value.to_string().contains(PASSWORD), "{value:#}");
        value["error"]["message"].as_str().expect("text").to_owned()
    }

    fn installed(&self) -> String {
        let sql = "select to_regnamespace('redress') is not null";
        self.server.cluster.query_text("shop", sql)
    }
}

/// Nothing of whoever runs the tests comes in.
pub fn quiet(mut command: Command, home: &std::path::Path) -> Command {
    for name in std::env::vars().map(|(name, _)| name) {
        if name.starts_with("PG") || name.starts_with("SSL_") {
            command.env_remove(name);
        }
    }
    command.env("HOME", home);
    command
}

#[test]
fn a_server_that_demands_tls_with_a_private_authority_is_used_from_installation_to_audit() {
    let Some(site) = Site::new() else {
        return;
    };
    let url = site.right();
    site.json(&url, &["db", "migrate"], 0);
    let shop = format!("{SHOP} alter schema shop owner to installer;
        alter table shop.reservation owner to installer; alter table shop.booking owner to installer;");
    site.server.cluster.query_text("shop", &shop);
    let found = site.json(&url, &["db", "status"], 0);
    let shown = found["url"].as_str().expect("a URL");
    assert!(
        shown.starts_with("postgres://installer:***@localhost:"),
        "{shown}"
    );
    let file = site.dir.path().join("shop.yaml");
    fs::write(&file, SAGA).expect("written");
    let file = file.display().to_string();
    site.json(&url, &["saga", "register", &file], 0);
    let quietly = ["--as", "sov", "--non-interactive"];
    site.json(&url, &["key", "new", "sov", "--role", "sovereign"], 0);
    site.json(
        &url,
        &[&["key", "open", "--reason", "first"][..], &quietly].concat(),
        0,
    );
    let input = r#"{"order": "o-1", "qty": 1}"#;
    let run = site.json(&url, &["start", "shop", "--input", input, "--wait"], 0);
    assert_eq!(run["state"], "completed");
    let input = r#"{"order": "o-2", "qty": 1, "fail": true}"#;
    let run = site.json(&url, &["start", "shop", "--input", input, "--wait"], 3);
    let run = run["run"].as_str().expect("a run").to_owned();
    let plan = site.json(&url, &["plan", &run], 0);
    let digest = plan["digest"].as_str().expect("a plan").to_owned();
    site.json(
        &url,
        &[&["approve", &digest, "--reason", "seen"][..], &quietly].concat(),
        0,
    );
    site.json(&url, &["apply", &digest], 0);
    site.json(&url, &["audit", "seal"], 0);
    assert_eq!(
        site.json(&url, &["audit", "verify"], 0)["verdict"],
        "verified"
    );
    assert_eq!(
        site.json(&url, &["check"], 0)["errors"],
        serde_json::json!([])
    );
    site.json(&url, &["status"], 3);
    let log = site.server.cluster.log();
    assert!(!log.contains(PASSWORD));
}

#[test]
fn a_server_that_is_not_the_one_that_is_meant_gets_no_password_and_nothing_is_done() {
    let Some(site) = Site::new() else {
        return;
    };
    let (ca, stranger) = (site.server.file("ca.crt"), site.server.file("stranger.crt"));
    let full = |root: &str| {
        let more = format!("sslmode=verify-full&sslrootcert={root}");
        site.server.url("installer", &more)
    };
    site.refused(&full(&stranger), "RD0812", 75);
    let text = site.refused(&full(&ca).replace("@localhost", "@127.0.0.1"), "RD0813", 75);
    assert!(
        text.contains("127.0.0.1") && text.contains("localhost"),
        "{text}"
    );
    site.refused(
        &site.server.url("installer", "sslmode=disable"),
        "RD0818",
        75,
    );
    site.refused(&full(&site.server.file("nowhere.crt")), "RD0811", 78);
    site.refused(
        &site.server.url("installer", "sslmode=verify-full"),
        "RD0811",
        78,
    );
    site.refused(&full(&site.server.file("ca.key")), "RD0811", 78);
    let system = site
        .server
        .url("installer", "sslmode=verify-ca&sslrootcert=system");
    site.refused(&system, "RD0810", 78);
    let wrong = full(&ca).replace(PASSWORD, "other");
    site.refused(&wrong, "RD0818", 75);
    let none = full(&ca).replace(&format!(":{PASSWORD}"), "");
    assert!(site.refused(&none, "RD0818", 75).contains("password"));
    let nobody = full(&ca).replace("/shop?", "/nothing_there?");
    site.refused(&nobody, "RD0818", 75);
    site.server.show("expired");
    let text = site.refused(&full(&ca), "RD0814", 75);
    assert!(text.contains("expired at 2002-01-01T00:00:00Z"), "{text}");
    site.server
        .cluster
        .query_text("postgres", "alter system set ssl = 'off'");
    site.server.cluster.restart();
    for mode in ["require", "verify-full"] {
        let more = format!("sslmode={mode}&sslrootcert={ca}");
        site.refused(&site.server.url("installer", &more), "RD0815", 75);
    }
    assert_eq!(site.installed(), "f");
}

#[test]
fn a_key_that_is_not_known_or_not_done_is_refused_by_name() {
    let Some(site) = Site::new() else {
        return;
    };
    let ca = site.server.file("ca.crt");
    let check = |more: &str, parts: &[&str]| {
        let more = format!("sslmode=verify-full&sslrootcert={ca}&{more}");
        let text = site.refused(&site.server.url("installer", &more), "RD0810", 78);
        for part in parts {
            assert!(text.contains(part), "{more}: {text}");
        }
    };
    check("sslmod=require", &["sslmod", "sslmode"]);
    check("sslcrl=/x", &["sslcrl"]);
    check("sslpassword=x", &["sslpassword"]);
    check("gssencmode=require", &["gssencmode"]);
    check("krbsrvname=postgres", &["krbsrvname"]);
    check("require_auth=scram-sha-256", &["require_auth"]);
    check(
        "target_session_attrs=writable",
        &["target_session_attrs", "read-write"],
    );
    check("pooler=session", &["pooler", "transaction"]);
    check(
        "pooler=transaction&options=-c%20x.y%3D1",
        &["options", "pooler"],
    );
    check("connect_timeout=soon", &["connect_timeout"]);
    check("ssl_max_protocol_version=TLSv1.1", &["1.2"]);
    check("service=nowhere", &["nowhere", "pg_service.conf"]);
    let url = format!(
        "{}&gssencmode=prefer&sslcompression=0&client_encoding=UTF8",
        site.right()
    );
    site.json(&url, &["db", "migrate"], 0);
}

#[test]
fn a_client_certificate_is_shown_to_a_server_that_wants_one() {
    let Some(site) = Site::new() else {
        return;
    };
    let server = &site.server;
    let ca = server.file("ca.crt");
    let with = |certificate: &str, key: &str| {
        let more =
            format!("sslmode=verify-full&sslrootcert={ca}&sslcert={certificate}&sslkey={key}");
        server.url("certain", &more)
    };
    let own = (server.file("certain.crt"), server.file("certain.key"));
    let none = server.url("certain", &format!("sslmode=verify-full&sslrootcert={ca}"));
    site.refused(&none, "RD0817", 75);
    site.refused(
        &with(&server.file("forged.crt"), &server.file("forged.key")),
        "RD0817",
        75,
    );
    site.refused(&with(&own.0, &server.file("forged.key")), "RD0811", 78);
    site.refused(&with(&own.0, &server.file("nowhere.key")), "RD0811", 78);
    assert_eq!(
        site.json(&with(&own.0, &own.1), &["db", "status"], 78)["error"]["code"],
        "RD0701"
    );
    for mode in [0o640, 0o644, 0o660] {
        fs::set_permissions(&own.1, fs::Permissions::from_mode(mode)).expect("mode");
        let of_root = rustix::process::geteuid().is_root();
        let value = site.json(&with(&own.0, &own.1), &["db", "status"], 78);
        let code = if of_root && mode == 0o640 {
            "RD0701"
        } else {
            "RD0811"
        };
        assert_eq!(value["error"]["code"], code, "{mode:o}");
    }
    fs::set_permissions(&own.1, fs::Permissions::from_mode(0o600)).expect("mode");
    // The usual places in the home folder.
    let home = site.dir.path().join(".postgresql");
    fs::create_dir(&home).expect("a folder");
    for (from, to) in [
        (&own.0, "postgresql.crt"),
        (&own.1, "postgresql.key"),
        (&ca, "root.crt"),
    ] {
        fs::copy(from, home.join(to)).expect("copied");
    }
    let url = server.url("certain", "sslmode=verify-full");
    assert_eq!(
        site.json(&url, &["db", "status"], 78)["error"]["code"],
        "RD0701"
    );
    // A key that is encrypted is told as that.
    fs::write(
        home.join("postgresql.key"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .expect("written");
    assert!(site.refused(&url, "RD0811", 78).contains("encrypted"));
}

/// Whether a connection is encrypted, by the server's own word; or the error's code.
async fn encrypted(url: &str) -> String {
    let target = match redress::db::Target::alone(url) {
        Ok(target) => target,
        Err(error) => return error.code().to_owned(),
    };
    match redress::db::connect(&target).await {
        Ok(session) => {
            let ask = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
            let row = session.query_one(ask, &[]).await.expect("an answer");
            row.get(0)
        }
        Err(error) => error.code().to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_means_what_it_means_to_libpq() {
    let Some(server) = Secured::start() else {
        return;
    };
    let (ca, stranger) = (server.file("ca.crt"), server.file("stranger.crt"));
    let by_name = |more: String| server.url("installer", &more);
    let by_address = |more: String| by_name(more).replace("@localhost", "@127.0.0.1");
    for (url, wanted) in [
        (by_name("sslmode=disable".into()), "RD0818"),
        (by_name("sslmode=allow".into()), "true"),
        (by_name("sslmode=prefer".into()), "true"),
        (by_name(String::new()), "true"),
        (by_address("sslmode=require".into()), "true"),
        // With authorities at hand, `require` checks them as `verify-ca` does; the name is not looked at.
        (
            by_address(format!("sslmode=require&sslrootcert={ca}")),
            "true",
        ),
        (
            by_address(format!("sslmode=require&sslrootcert={stranger}")),
            "RD0812",
        ),
        (
            by_address(format!("sslmode=verify-ca&sslrootcert={ca}")),
            "true",
        ),
        (
            by_address(format!("sslmode=verify-ca&sslrootcert={stranger}")),
            "RD0812",
        ),
        (
            by_address(format!("sslmode=verify-full&sslrootcert={ca}")),
            "RD0813",
        ),
        (
            by_name(format!("sslmode=verify-full&sslrootcert={ca}")),
            "true",
        ),
        (
            by_name(format!("sslmode=verify-full&sslrootcert={ca}&sslsni=0")),
            "true",
        ),
        // Where it is and what it is called may differ.
        (
            by_name(format!(
                "sslmode=verify-full&sslrootcert={ca}&hostaddr=127.0.0.1"
            )),
            "true",
        ),
        (
            by_name(format!(
                "sslmode=require&sslrootcert={stranger}&channel_binding=require"
            )),
            "RD0812",
        ),
        (
            by_name("sslmode=require&channel_binding=require".into()),
            "true",
        ),
        (
            by_name("sslmode=require&channel_binding=disable".into()),
            "true",
        ),
        (
            by_name(format!(
                "sslmode=verify-full&sslrootcert={ca}&ssl_max_protocol_version=TLSv1.2&channel_binding=require"
            )),
            "true",
        ),
        (by_name("sslnegotiation=direct".into()), "RD0810"),
        (
            by_name("sslmode=require&sslrootcert=system".into()),
            "RD0810",
        ),
    ] {
        assert_eq!(encrypted(&url).await, wanted, "{url}");
    }
    // A server that signed its own certificate, which is then the authority's file too.
    server.show("own");
    let own = server.file("own.crt");
    for (url, wanted) in [
        (
            by_name(format!("sslmode=verify-full&sslrootcert={own}")),
            "true",
        ),
        (
            by_address(format!("sslmode=verify-full&sslrootcert={own}")),
            "RD0813",
        ),
        (
            by_name(format!("sslmode=verify-full&sslrootcert={ca}")),
            "RD0812",
        ),
        (
            by_name("sslmode=require&channel_binding=require".into()),
            "true",
        ),
    ] {
        assert_eq!(encrypted(&url).await, wanted, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_on_the_server_only_the_modes_that_allow_it_go_on() {
    let cluster = Setup::new().tcp().start();
    let port = cluster.tcp_port().expect("a port");
    let url = |more: &str| format!("postgres://postgres@localhost:{port}/postgres?{more}");
    for (more, wanted) in [
        ("sslmode=disable", "false"),
        ("sslmode=allow", "false"),
        ("sslmode=prefer", "false"),
        ("", "false"),
        ("sslmode=require", "RD0815"),
        ("channel_binding=require", "RD0818"),
    ] {
        assert_eq!(encrypted(&url(more)).await, wanted, "{more}");
    }
    // A socket needs no TLS, whatever is demanded of the network.
    let socket = format!(
        "{}&sslmode=verify-full&sslrootcert=system",
        with_query(&cluster.url("postgres"))
    );
    assert_eq!(encrypted(&socket).await, "false");
}

fn with_query(url: &str) -> String {
    let mark = if url.contains('?') {
        ""
    } else {
        "?connect_timeout=5"
    };
    format!("{url}{mark}")
}

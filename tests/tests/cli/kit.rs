//! A database, a state folder and the command; each test has its own.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redress_tests::{TestDatabase, engine_url, fresh_database, redress_bin};
use serde_json::Value;
use tempfile::TempDir;

/// Where a test works.
pub struct Kit {
    pub database: TestDatabase,
    pub dir: TempDir,
}

/// What a command printed, and its exit status.
#[derive(Debug)]
pub struct Ran {
    pub exit: i32,
    pub out: String,
    pub err: String,
}

impl Kit {
    /// An installed schema, the shop's tables, and a passphrase.
    #[track_caller]
    pub fn new() -> Self {
        let kit = Self::bare();
        kit.ok(&["db", "migrate"]);
        kit.database.query_text(SHOP);
        kit
    }

    /// A database with nothing in it.
    pub fn bare() -> Self {
        let kit = Self {
            database: fresh_database(),
            dir: TempDir::new().expect("a folder"),
        };
        kit.write("pass", b"correct horse\n");
        fs::set_permissions(kit.path("pass"), fs::Permissions::from_mode(0o600)).expect("mode");
        kit
    }

    /// With the shop's saga registered and a sovereign's key.
    #[track_caller]
    pub fn shop() -> Self {
        let kit = Self::new();
        let file = kit.write("shop.yaml", SAGA.as_bytes());
        kit.ok(&["saga", "register", &file]);
        kit.ok(&["key", "new", "sov", "--role", "sovereign"]);
        kit
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).expect("a file can be written");
        self.path(name).display().to_string()
    }

    /// The command with its surroundings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(self.dir.path(), Some(self.database.url()), arguments)
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ended(&mut self.command(arguments))
    }

    /// Runs it and insists on exit 0.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Ran {
        self.exits(arguments, 0)
    }

    /// Runs it and insists on an exit status.
    #[track_caller]
    pub fn exits(&self, arguments: &[&str], exit: i32) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.exit, exit, "{arguments:?}\n{}\n{}", ran.out, ran.err);
        ran
    }

    /// Runs it with `--json`, insists on an exit status and gives the value.
    #[track_caller]
    pub fn json(&self, arguments: &[&str], exit: i32) -> Value {
        let ran = self.exits(&[arguments, &["--json"]].concat(), exit);
        let value: Value = serde_json::from_str(&ran.out)
            .unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}): {}", ran.out));
        assert_eq!(value["schema"], 1, "{value}");
        assert!(value["errors"].is_array(), "{value}");
        value
    }

    /// Runs it with `--json` and insists on an exit status and an error's code, which must say what to do.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], exit: i32, code: &str) -> Value {
        let value = self.json(arguments, exit);
        assert_eq!(value["error"]["code"], code, "{value:#}");
        for part in ["message", "stands", "next"] {
            let text = value["error"][part].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{code} without {part}");
        }
        value
    }

    /// Starts a run of the shop that fails at `book` and is held; gives its id.
    #[track_caller]
    pub fn failed_run(&self, order: &str) -> String {
        let input = format!(r#"{{"order": "{order}", "qty": 1, "fail": true}}"#);
        let view = self.json(&["start", "shop", "--input", &input, "--wait"], 3);
        assert_eq!(view["state"], "failed");
        view["run"].as_str().expect("a run").to_owned()
    }

    /// Signs with the sovereign's key.
    pub fn signed<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut all = arguments.to_vec();
        all.extend(["--as", "sov", "--non-interactive"]);
        all
    }
}

impl Kit {
    /// A shop with three sovereigns and a reviewer; the ledger is not open.
    #[track_caller]
    pub fn of_three() -> Self {
        let kit = Self::shop();
        for name in ["bob", "carol"] {
            kit.ok(&["key", "new", name, "--role", "sovereign"]);
        }
        kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
        kit
    }

    /// A shop whose ledger `sov` opened alone; `rev` is a reviewer in it.
    #[track_caller]
    pub fn opened() -> Self {
        let kit = Self::shop();
        kit.ok(&["key", "new", "rev", "--role", "reviewer"]);
        kit.ok(&kit.signed(&["key", "open"]));
        kit
    }

    /// Everything that the ledger holds, as one number.
    pub fn records(&self) -> String {
        self.database
            .query_text("select count(*) from redress.record")
    }

    /// The number of the last record of a kind.
    pub fn last_of(&self, kind: &str) -> String {
        let sql = format!("select max(seq) from redress.record where kind = '{kind}'");
        self.database.query_text(&sql)
    }

    /// The ledger's key of this name that counts, as `key list --ledger` has it.
    #[track_caller]
    pub fn ledger_key(&self, name: &str) -> Value {
        let list = self.json(&["key", "list", "--ledger"], 0);
        let keys = list["ledger"]["keys"].as_array().expect("an open ledger");
        let mut named = keys.iter().filter(|key| key["name"] == name);
        let valid = named.clone().find(|key| key["valid"] == true);
        valid.or_else(|| named.next()).cloned().unwrap_or_default()
    }
}

/// Signs without a terminal.
pub fn quietly<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [words, &["--non-interactive"]].concat()
}

/// The command with an environment of its own.
pub fn command(dir: &Path, url: Option<&str>, arguments: &[&str]) -> Command {
    let mut command = Command::new(redress_bin());
    command
        .args(arguments)
        .current_dir(dir)
        .env_remove("DATABASE_URL")
        .env_remove("REDRESS_TRUST")
        .env_remove("RUST_LOG")
        .env("REDRESS_STATE_DIR", dir.join("state"))
        .env("REDRESS_KEY_PASSPHRASE_FILE", dir.join("pass"))
        .stdin(Stdio::null());
    match url {
        Some(url) => command.env("REDRESS_DATABASE_URL", engine_url(url)),
        None => command.env_remove("REDRESS_DATABASE_URL"),
    };
    command
}

/// Runs a command to its end.
pub fn ended(command: &mut Command) -> Ran {
    let output = command.output().expect("the command runs");
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Whether this machine has Python, which only examples and strangers use.
pub fn has_python() -> bool {
    let asked = Command::new("python3").arg("--version").output();
    asked.is_ok_and(|output| output.status.success())
}

/// Runs a command with something on its standard input.
pub fn fed(command: &mut Command, input: &[u8]) -> Ran {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command runs");
    // A command that refuses early closes its input.
    let _ = child.stdin.take().expect("piped").write_all(input);
    let output = child.wait_with_output().expect("the command ends");
    Ran {
        exit: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The tables of a small shop.
pub const SHOP: &str = "
create schema shop;
create table shop.reservation (
  run uuid primary key, order_no text not null, qty int not null constraint qty_is_positive check (qty > 0),
  state text not null default 'live');
create table shop.booking (run uuid primary key, order_no text not null, state text not null default 'live',
  constraint order_may_be_booked check (order_no not like '%blocked'));";

/// Reserve and book; `fail` makes the second phase fail. Its way back needs a sovereign.
pub const SAGA: &str = r#"
saga: shop
version: 1
description: Reserve and book.
input:
  type: object
  additionalProperties: false
  required: [order, qty]
  properties:
    order: {type: string, minLength: 1}
    qty: {type: integer}
    fail: {type: boolean}
subject: /input/order
exclusive: true
authority:
  soft_revert: {sovereign: 1}
on_unrecovered: {hold: subject, kill: false}
phases:
  - name: reserve
    adapter: sql
    writes: [shop.reservation]
    compensation: soft_revert
    residue: [shop.reservation]
    retry: {attempts: 1}
    on_failure: compensate
    with:
      apply:
        - sql: insert into shop.reservation (run, order_no, qty) values ($1, $2, $3)
          params: [/run/id, /input/order, /input/qty]
          rows: 1
      guard:
        - sql: select state = 'live' from shop.reservation where run = $1 for update
          params: [/run/id]
      revert:
        - sql: update shop.reservation set state = 'withdrawn' where run = $1 and state = 'live'
          params: [/run/id]
          rows: 1
  - name: book
    adapter: sql
    writes: [shop.booking]
    compensation: soft_revert
    residue: [shop.booking]
    retry: {attempts: 1}
    on_failure: compensate
    with:
      apply:
        - sql: >-
            insert into shop.booking (run, order_no)
            select $1, case when ($2::jsonb ->> 'fail')::boolean then 'blocked' else $2::jsonb ->> 'order' end
          params: [/run/id, /input]
          rows: 1
      guard:
        - sql: select state = 'live' from shop.booking where run = $1 for update
          params: [/run/id]
      revert:
        - sql: update shop.booking set state = 'withdrawn' where run = $1 and state = 'live'
          params: [/run/id]
          rows: 1
"#;

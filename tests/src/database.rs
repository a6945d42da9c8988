//! A database of a test's own, and a small psql.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use postgres::{Config, NoTls, SimpleQueryMessage};

use crate::cluster::TestCluster;

/// A database that is dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    url: String,
    admin: String,
}

impl TestDatabase {
    pub(crate) fn create(admin: String, url: impl FnOnce(&str) -> String) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("t_{}_{number}", process::id());
        query_text(&admin, &format!("create database {name}"));
        let url = url(&name);
        Self { name, url, admin }
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A superuser's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Runs statements as superuser; gives rows as lines, columns split by `|`.
    #[track_caller]
    pub fn query_text(&self, sql: &str) -> String {
        query_text(&self.url, sql)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("drop database if exists {} with (force)", self.name);
        // The server may have been stopped by the test; the database goes with it then. A test that failed while it
        // let commits wait for a standby that never comes must still end.
        let mut admin: Config = self.admin.parse().expect("an administrator's URL");
        admin.options("-c synchronous_commit=local");
        let _ = apart(|| admin.connect(NoTls)?.batch_execute(&sql));
    }
}

/// A new database in the server that all light tests share.
pub fn fresh_database() -> TestDatabase {
    TestCluster::shared().fresh_database()
}

/// Runs statements and gives what `psql -At` would: rows as lines, columns split by `|`, null
/// as nothing. Usable inside an async test too.
#[track_caller]
pub fn query_text(url: &str, sql: &str) -> String {
    match try_query_text(url, sql) {
        Ok(text) => text,
        Err(error) => panic!("{error}: {sql}"),
    }
}

/// Like [`query_text`]; an error is the server's code and message.
pub fn try_query_text(url: &str, sql: &str) -> Result<String, String> {
    apart(|| run(url, sql))
}

/// The driver has a runtime of its own, which must not start inside another one.
fn apart<T: Send>(work: impl FnOnce() -> Result<T, postgres::Error> + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let run = scope.spawn(|| work().map_err(|error| describe(&error)));
        run.join()
            .unwrap_or_else(|_| Err("the driver panicked".to_owned()))
    })
}

fn run(url: &str, sql: &str) -> Result<String, postgres::Error> {
    // Tests change what nobody may: as a migration would, past the guard of the schema.
    let mut config: Config = url.parse()?;
    let given = config.get_options().unwrap_or_default();
    let options = format!("{given} -c redress.migrating=on");
    let mut client = config.options(&options).connect(NoTls)?;
    let messages = client.simple_query(sql)?;
    let mut lines = Vec::new();
    for message in messages {
        if let SimpleQueryMessage::Row(row) = message {
            let columns: Vec<&str> = (0..row.len())
                .map(|index| row.get(index).unwrap_or_default())
                .collect();
            lines.push(columns.join("|"));
        }
    }
    Ok(lines.join("\n"))
}

fn describe(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}", db.code().code(), db.message()),
        None => error.to_string(),
    }
}

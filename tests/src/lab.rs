//! A laboratory for one test: a database with our schema, a shop's own tables, an engine, and keys that it trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redress::adapter::Adapter;
use redress::ledger::key::{Role, SigningKey};
use redress::ledger::trust::Trust;
use redress::{Builder, Engine, RunRow, SchemaName};
use tempfile::TempDir;

use crate::database::{TestDatabase, fresh_database, query_text, try_query_text};
use crate::pooler::engine_url;

/// A shop that knows nothing of Redress: stock, reservations, invoices.
pub const SHOP: &str = include_str!("shop.sql");
/// A saga over the shop: reserve (soft revert), invoice (soft revert), dispatch.
pub const SHOP_SAGA: &str = include_str!("shop.yaml");

/// One test's surroundings.
pub struct Lab {
    /// The database; dropped with the lab. `None` when the lab stands on a server of the test's own.
    pub database: Option<TestDatabase>,
    url: String,
    state: TempDir,
    /// The sovereign's key; trusted.
    pub sovereign: SigningKey,
    /// A reviewer's key; trusted.
    pub reviewer: SigningKey,
    /// An operator's key; trusted.
    pub operator: SigningKey,
}

impl Lab {
    /// A fresh database in the shared server, migrated, with the shop in it.
    pub async fn new() -> Self {
        let database = fresh_database();
        let url = database.url().to_owned();
        Self::on(Some(database), url).await
    }

    /// The same on a database that the test owns.
    pub async fn at(url: &str) -> Self {
        Self::on(None, url.to_owned()).await
    }

    async fn on(database: Option<TestDatabase>, url: String) -> Self {
        migrate(&url).await;
        query_text(&url, SHOP);
        let key = |name: &str| SigningKey::generate(name).expect("randomness");
        Self {
            database,
            url,
            state: TempDir::new().expect("a temporary folder"),
            sovereign: key("sofia"),
            reviewer: key("rene"),
            operator: key("otto"),
        }
    }

    /// The database's URL (superuser).
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The state folder.
    pub fn state_dir(&self) -> &Path {
        self.state.path()
    }

    /// A path in the state folder.
    pub fn path(&self, below: &str) -> PathBuf {
        self.state.path().join(below)
    }

    /// What the local trust file would say.
    pub fn trust(&self) -> Trust {
        let mut trust = Trust::new();
        for (key, role) in [
            (&self.sovereign, Role::Sovereign),
            (&self.reviewer, Role::Reviewer),
            (&self.operator, Role::Operator),
        ] {
            trust
                .add(role, key.vkey().clone())
                .expect("three different keys");
        }
        trust
    }

    /// An engine with the standard adapters and the state folder, over this URL or another one to the same database.
    pub fn builder(&self, url: &str) -> Builder {
        let pool = redress::db::pool(&engine_url(url), 40).expect("a URL that parses");
        Engine::builder(pool)
            .adapters(redress_adapters::standard())
            .trust(self.trust())
            .state_dir(self.state.path())
            .actor("test")
    }

    /// An engine as most tests want it.
    pub async fn engine(&self) -> Engine {
        self.builder(&self.url).build().await.expect("an engine")
    }

    /// An engine with one more adapter.
    pub async fn engine_with(&self, adapter: Arc<dyn Adapter>) -> Engine {
        self.builder(&self.url)
            .adapter(adapter)
            .build()
            .await
            .expect("an engine")
    }

    /// Registers a saga file.
    #[track_caller]
    pub fn read(yaml: &str) -> redress::definition::Definition {
        match redress::definition::load_yaml(yaml.as_bytes(), "test.yaml", None) {
            Ok((definition, _)) => definition,
            Err(errors) => panic!("{errors:?}"),
        }
    }

    /// Runs statements as superuser.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        query_text(&self.url, sql)
    }

    /// Runs statements that may fail.
    ///
    /// # Errors
    /// The server's code and message.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        try_query_text(&self.url, sql)
    }

    /// The kinds of a run's records, in order.
    pub fn kinds(&self, run: &RunRow) -> Vec<String> {
        let text = self.sql(&format!(
            "select kind from redress.record where run = '{}' order by seq",
            run.id
        ));
        text.lines().map(str::to_owned).collect()
    }
}

/// Brings a database to our schema.
pub async fn migrate(url: &str) {
    let config = engine_url(url).parse().expect("a URL that parses");
    let session = redress::db::connect(&config).await.expect("a connection");
    redress::schema::migrate(&session, &SchemaName::default(), "test.example/lab")
        .await
        .expect("migrations");
}

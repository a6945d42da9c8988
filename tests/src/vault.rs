//! A ledger that is opened and sealed in a test: its root, its log's key, its anchor, its files.

use std::fs;
use std::path::PathBuf;

use redress::Engine;
use redress::archive::Archives;
use redress::ledger::Hash;
use redress::ledger::bundle::{self, Remembered, Report};
use redress::ledger::key::{Role, SigningKey, Vkey};
use redress::ledger::keyring::{KeyRole, Root};
use redress::ledger::log_origin;
use redress::ledger::trust::Trust;
use redress::seal::{FileAnchor, Sealer};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{Lab, bank};

/// What a ledger has beside its database.
pub struct Vault {
    /// The log's key.
    pub log: SigningKey,
    /// What a reviewer trusts: the sovereign as the root, and the log's key.
    pub trust: Trust,
    seed: [u8; 32],
    folder: TempDir,
}

impl Vault {
    /// Opens the laboratory's ledger: the sovereign is its root, reviewer and operator are registered.
    pub async fn open(lab: &Lab, engine: &Engine) -> Self {
        let vault = Self::of(lab.sovereign.vkey(), engine);
        let root = Root::new(&[lab.sovereign.vkey().clone()], 1).expect("a root");
        let others = [
            (lab.reviewer.vkey().clone(), KeyRole::Person(Role::Reviewer)),
            (lab.operator.vkey().clone(), KeyRole::Person(Role::Operator)),
        ];
        engine
            .open_ledger(
                &root,
                vault.log.vkey(),
                &others,
                &[&lab.sovereign],
                "opened",
            )
            .await
            .expect("opened");
        vault
    }

    /// Opens a bank's ledger: the sovereign is its root and alone.
    pub async fn open_bank(engine: &Engine) -> Self {
        let sovereign = bank::sovereign();
        let vault = Self::of(sovereign.vkey(), engine);
        let root = Root::new(&[sovereign.vkey().clone()], 1).expect("a root");
        engine
            .open_ledger(&root, vault.log.vkey(), &[], &[&sovereign], "opened")
            .await
            .expect("opened");
        vault
    }

    /// That of a laboratory, before anybody opened the ledger.
    pub fn closed(lab: &Lab, engine: &Engine) -> Self {
        Self::of(lab.sovereign.vkey(), engine)
    }

    fn of(sovereign: &Vkey, engine: &Engine) -> Self {
        let installation = engine.installation();
        let name = log_origin(&installation.origin, installation.generation);
        let seed = *Hash::of(Uuid::new_v4().as_bytes()).as_bytes();
        let log = SigningKey::from_seed(&name, &seed).expect("a key");
        let mut trust = Trust::new();
        trust
            .add(Role::Sovereign, sovereign.clone())
            .expect("one key");
        trust.add_log(log.vkey().clone()).expect("another key");
        Self {
            log,
            trust,
            seed,
            folder: TempDir::new().expect("a temporary folder"),
        }
    }

    /// A path of the vault.
    pub fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// A sealer with the anchor and the files of this vault.
    pub fn sealer(&self, engine: &Engine) -> Sealer {
        let key = SigningKey::from_seed(self.log.name(), &self.seed).expect("the same key");
        engine.sealer(key, FileAnchor::new(self.path(ANCHOR)), self.path(LOG))
    }

    /// The act `seal` of the test worker: a process that seals as [`Vault::sealer`] does.
    pub fn seal_act(&self) -> [String; 4] {
        let seed = Hash::from_bytes(self.seed).to_string();
        let path = |below| self.path(below).display().to_string();
        ["seal".to_owned(), seed, path(ANCHOR), path(LOG)]
    }

    /// The head that is remembered outside the database.
    pub fn anchored(&self) -> Option<Vec<u8>> {
        fs::read(self.path(ANCHOR)).ok()
    }

    /// The head that is published.
    pub fn published(&self) -> Option<Vec<u8>> {
        fs::read(self.path(LOG).join("checkpoint")).ok()
    }

    /// Exports into a folder of the vault and verifies it with nothing but the reviewer's trust.
    pub async fn export(&self, engine: &Engine, name: &str, run: Option<Uuid>) -> Report {
        let folder = self.path(name);
        engine
            .export(&folder, run, &self.log, &mut self.archives())
            .await
            .expect("exported");
        self.verify(name, &[])
    }

    /// What was archived into the vault's folder `archive`, if anything was.
    pub fn archives(&self) -> Archives {
        let folder = self.path("archive");
        let folders: &[PathBuf] = &[folder];
        match folders[0].exists() {
            true => Archives::open(folders).expect("an archive"),
            false => Archives::none(),
        }
    }

    /// Verifies a folder of the vault.
    pub fn verify(&self, name: &str, remembered: &[Remembered]) -> Report {
        bundle::verify(&self.path(name), &self.trust, remembered)
            .expect("a folder that can be read")
    }
}

/// Where a vault keeps its anchor and its published files.
const ANCHOR: &str = "anchor/head";
const LOG: &str = "log";

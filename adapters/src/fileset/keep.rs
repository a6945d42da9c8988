//! What is kept and for how long: listing, sizes, verification, and the collection of what nobody needs.
//!
//! **Invariant:** a snapshot goes only when the policy lets it go *and* no run needs it for its way back; when that
//! cannot be told, it stays. A content goes only when no list names it.
//!
//! **What can go wrong:** a list that cannot be read: then nobody knows which contents it needs, and nothing is collected.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::Duration;

use redress::Engine;
use redress_ledger::Hash;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::FilesetError;
use super::manifest::{Manifest, Owner};
use super::object::{entries, remove, sync_folder};
use super::store::Store;

/// How long snapshots are kept: each that one of the rules keeps, stays.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// The newest of each directory.
    pub keep_last: usize,
    /// Those younger than this.
    pub keep_newer_than: Duration,
}

impl Default for Retention {
    /// The last ten of each directory, and everything of the last thirty days.
    fn default() -> Self {
        Self {
            keep_last: 10,
            keep_newer_than: Duration::from_secs(30 * 24 * 3_600),
        }
    }
}

/// A snapshot as a list shows it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Listed {
    /// Its id.
    pub id: Hash,
    /// The directory.
    pub directory: String,
    /// When it was taken; UTC.
    pub taken_at: String,
    /// For whom.
    pub owner: Owner,
    /// Files and links in it.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the compressed contents that no other snapshot has.
    pub bytes_alone: u64,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Usage {
    /// Snapshots.
    pub snapshots: usize,
    /// Contents.
    pub objects: usize,
    /// Bytes on disk, lists and contents.
    pub bytes_on_disk: u64,
}

/// What a collection did.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Collected {
    /// Snapshots that went, oldest first.
    pub snapshots: Vec<Hash>,
    /// Contents that went.
    pub objects: usize,
    /// Notes of acts that went: without its snapshot, none of them can be taken back or done late.
    pub acts: usize,
    /// Bytes that were freed.
    pub bytes: u64,
    /// Snapshots that the policy would let go, but a run needs.
    pub needed: Vec<Hash>,
}

impl Store {
    /// Every snapshot, oldest first; those of one directory when one is named.
    ///
    /// # Errors
    /// A list that cannot be read; [`Store::ids`] names them all the same.
    pub fn list(&self, directory: Option<&str>) -> Result<Vec<Listed>, FilesetError> {
        let all = self.manifests()?;
        let sizes: BTreeMap<Hash, u64> = self.objects.all()?.into_iter().collect();
        let mut users: BTreeMap<Hash, usize> = BTreeMap::new();
        for (_, manifest) in &all {
            for (hash, _) in manifest.objects() {
                *users.entry(hash).or_default() += 1;
            }
        }
        let listed = all.iter().map(|(id, manifest)| {
            let objects = manifest.objects();
            let alone = objects
                .iter()
                .filter(|(hash, _)| users.get(hash) == Some(&1));
            let (files, bytes) = manifest.size();
            Listed {
                id: *id,
                directory: manifest.directory.clone(),
                taken_at: manifest.taken_at.clone(),
                owner: manifest.owner.clone(),
                files,
                bytes,
                bytes_alone: alone.filter_map(|(hash, _)| sizes.get(hash)).sum(),
            }
        });
        let wanted = |one: &Listed| directory.is_none_or(|name| name == one.directory);
        Ok(listed.filter(wanted).collect())
    }

    /// The ids of all snapshots whose lists are there, readable or not.
    ///
    /// # Errors
    /// When the store cannot be listed.
    pub fn ids(&self) -> Result<Vec<Hash>, FilesetError> {
        let names = entries(&self.folder("snapshots"))?;
        let ids = names.iter().filter_map(|(name, _)| {
            let id = name.strip_suffix(".json.gz")?;
            id.parse().ok()
        });
        Ok(ids.collect())
    }

    fn manifests(&self) -> Result<Vec<(Hash, Manifest)>, FilesetError> {
        let read = |id: Hash| self.manifest(&id).map(|manifest| (id, manifest));
        let mut all: Vec<_> = self
            .ids()?
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()?;
        all.sort_by_key(|(id, manifest)| (taken_at(manifest), *id));
        Ok(all)
    }

    /// What the store holds.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn usage(&self) -> Result<Usage, FilesetError> {
        let ids = self.ids()?;
        let objects = self.objects.all()?;
        let lists = ids
            .iter()
            .filter_map(|id| fs::metadata(self.list_path(id)).ok());
        let lists: u64 = lists.map(|meta| meta.len()).sum();
        Ok(Usage {
            snapshots: ids.len(),
            objects: objects.len(),
            bytes_on_disk: lists + objects.iter().map(|(_, bytes)| bytes).sum::<u64>(),
        })
    }

    /// Reads every list and every content again; gives what is not what was written, each with its own error.
    ///
    /// # Errors
    /// When the store cannot be read at all.
    pub fn verify(&self) -> Result<Vec<FilesetError>, FilesetError> {
        let mut wrong = Vec::new();
        let mut seen: BTreeSet<Hash> = BTreeSet::new();
        for id in self.ids()? {
            let manifest = match self.manifest(&id) {
                Ok(manifest) => manifest,
                Err(error) => {
                    wrong.push(error);
                    continue;
                }
            };
            for entry in &manifest.entries {
                let Some(file) = entry.node.file().filter(|file| seen.insert(file.sha256)) else {
                    continue;
                };
                let content = (&file.sha256, file.size);
                let read = self.copy_out(&id, &entry.path, content, &mut io::sink(), "nowhere");
                wrong.extend(read.err());
            }
        }
        Ok(wrong)
    }

    /// Removes the snapshots that the policy lets go and no run needs, and the contents that nothing names any more.
    ///
    /// `needed` is asked for each snapshot that was taken for a run; whoever cannot tell must say yes.
    ///
    /// # Errors
    /// A list that cannot be read; a snapshot being taken for too long. Nothing is removed then.
    pub fn collect(
        &self,
        policy: &Retention,
        needed: &dyn Fn(&Owner) -> bool,
    ) -> Result<Collected, FilesetError> {
        let _held = self.hold(FlockOperation::NonBlockingLockExclusive)?;
        let all = self.manifests()?;
        let mut collected = Collected::default();
        let mut kept_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut named: BTreeSet<Hash> = BTreeSet::new();
        // The newest first, so that the last of each directory are counted off.
        for (id, manifest) in all.iter().rev() {
            let kept = kept_of.entry(&manifest.directory).or_default();
            *kept += 1;
            let stays = *kept <= policy.keep_last || is_young(manifest, policy.keep_newer_than);
            let run_needs = !stays && manifest.owner.run.is_some() && needed(&manifest.owner);
            if run_needs {
                collected.needed.push(*id);
            }
            if stays || run_needs {
                named.extend(manifest.objects().into_iter().map(|(hash, _)| hash));
            } else {
                collected.snapshots.push(*id);
            }
        }
        collected.snapshots.reverse();
        collected.needed.reverse();
        // Lists first: a content that is gone while a list names it would be a broken snapshot.
        for id in &collected.snapshots {
            let path = self.list_path(id);
            collected.bytes += fs::metadata(&path).map_or(0, |meta| meta.len());
            remove(&path)?;
        }
        sync_folder(&self.folder("snapshots"))?;
        for (hash, bytes) in self.objects.all()? {
            if !named.contains(&hash) {
                self.objects.remove(&hash)?;
                collected.objects += 1;
                collected.bytes += bytes;
            }
        }
        self.objects.sweep()?;
        self.forget_acts(&mut collected, needed)?;
        tracing::info!(
            files = collected.objects,
            bytes = collected.bytes,
            "old snapshots collected"
        );
        Ok(collected)
    }

    /// Removes the notes of acts whose snapshots have gone, now or in a collection that died before it came here. One that
    /// cannot be read stays.
    fn forget_acts(
        &self,
        collected: &mut Collected,
        needed: &dyn Fn(&Owner) -> bool,
    ) -> Result<(), FilesetError> {
        let there: BTreeSet<Hash> = self.ids()?.into_iter().collect();
        for (path, act) in self.acts()? {
            let intent = act.intent;
            let owner = Owner {
                run: intent.run,
                key: intent.key,
            };
            // A snapshot that somebody else removed says nothing about the run.
            let over = collected.snapshots.contains(&intent.snapshot)
                || intent.run.is_some() && !needed(&owner);
            if over && !there.contains(&intent.snapshot) {
                collected.bytes += fs::metadata(&path).map_or(0, |meta| meta.len());
                remove(&path)?;
                collected.acts += 1;
            }
        }
        Ok(())
    }
}

/// Collects the snapshots that the policy lets go and whose runs have ended. A run that this engine's database does not
/// know, or that cannot be asked about, counts as one that still needs its snapshot.
///
/// # Errors
/// As [`Store::collect`].
pub async fn collect(
    engine: &Engine,
    store: &Store,
    policy: &Retention,
) -> Result<Collected, FilesetError> {
    let listing = store.clone();
    let listed = blocking(move || listing.list(None)).await?;
    let runs: BTreeSet<Uuid> = listed.iter().filter_map(|one| one.owner.run).collect();
    let mut ended = BTreeSet::new();
    for run in runs {
        if engine
            .show(run)
            .await
            .is_ok_and(|view| view.state.is_terminal())
        {
            ended.insert(run);
        }
    }
    let (store, policy) = (store.clone(), *policy);
    let needed = move |owner: &Owner| owner.run.is_none_or(|run| !ended.contains(&run));
    blocking(move || store.collect(&policy, &needed)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesetError> + Send + 'static,
) -> Result<T, FilesetError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(FilesetError::Os {
            what: "work on",
            path: "the store".to_owned(),
            source: io::Error::other(error),
        })
    })
}

fn taken_at(manifest: &Manifest) -> Option<jiff::Timestamp> {
    manifest.taken_at.parse().ok()
}

/// A time that cannot be read, or lies ahead, counts as young: it stays.
fn is_young(manifest: &Manifest, age: Duration) -> bool {
    let Some(taken) = taken_at(manifest) else {
        return true;
    };
    let past = jiff::Timestamp::now().duration_since(taken);
    past.is_negative() || past.unsigned_abs() < age
}

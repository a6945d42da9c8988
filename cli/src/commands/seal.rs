//! `audit seal`, `export`, `receipt`, `consistency`, `erase`, `continue`: the signed log and what is given away of it.
//!
//! The log's key is used here and nowhere else. It lies in `STATE/keys`, the anchor in `STATE/anchor/`, the
//! published files in `STATE/log/`; the anchor is worth another disk.

use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use redress::Engine;
use redress::archive::Archives;
use redress::seal::{FileAnchor, SealError, Sealed, Sealer};
use redress_ledger::checkpoint::{CHECKPOINT_BYTES_MAX, log_origin};
use redress_ledger::key::SigningKey;
use redress_ledger::keyfile::read_public;
use redress_ledger::{Checkpoint, KeyId};
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

use crate::commands::find_run;
use crate::commands::key::ActFlags;
use crate::commands::key::act::signers;
use crate::commands::key::open::{LogKey, log_stem, read_log_key};
use crate::commands::work::Ends;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Needs, Place};
use crate::read::read_file;
use crate::telemetry::{Address, serve};

/// How to seal.
#[derive(Debug, clap::Args)]
pub struct SealArgs {
    /// Go on until SIGTERM or SIGINT; without it, what is committed now is sealed
    #[arg(long, short)]
    pub follow: bool,
    /// File of the log's key [env: REDRESS_SEAL_LOG_KEY] [default: the one in STATE/keys]
    #[arg(long, value_name = "FILE")]
    pub log_key: Option<PathBuf>,
    /// Where the last signed head is remembered, best on another disk [env: REDRESS_SEAL_ANCHOR]
    /// [default: STATE/anchor/log-gen-N]
    #[arg(long, value_name = "FILE")]
    pub anchor: Option<PathBuf>,
    /// Where the log is published as static files [env: REDRESS_SEAL_PUBLISH] [default: STATE/log/gen-N]
    #[arg(long, value_name = "DIR")]
    pub publish: Option<PathBuf>,
    /// Begin an anchor with the head that the database has: only after comparing it with a published checkpoint
    #[arg(long)]
    pub first_anchor: bool,
    /// An archive that has what left the database; may be given several times [env: REDRESS_SEAL_ARCHIVES]
    #[arg(long = "archive", value_name = "DIR")]
    pub archives: Vec<PathBuf>,
    /// With --follow: serve figures for Prometheus at /metrics, and /healthz and /readyz; a bare port is loopback's
    /// [env: REDRESS_SEAL_METRICS]
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<Address>,
}

/// How old the oldest record without a place may be.
#[derive(Debug, clap::Args)]
pub struct WindowArgs {
    /// Exit 3 when the oldest record has waited for more seconds [env: REDRESS_SEAL_WINDOW_MAX]
    #[arg(long, value_name = "SECONDS")]
    pub max: Option<u64>,
}

/// What to export.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    /// The folder to make
    pub folder: PathBuf,
    /// Only this run, with the keys and decisions that it rests on
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// An archive that has what left the database; may be given several times [env: REDRESS_SEAL_ARCHIVES]
    #[arg(long = "archive", value_name = "DIR")]
    pub archives: Vec<PathBuf>,
    /// File of the log's key [env: REDRESS_SEAL_LOG_KEY] [default: the one in STATE/keys]
    #[arg(long, value_name = "FILE")]
    pub log_key: Option<PathBuf>,
}

/// Which record.
#[derive(Debug, clap::Args)]
pub struct ReceiptArgs {
    /// The run: its id, or the beginning or end of it
    pub run: String,
    /// The last sealed record of this phase, instead of the last one of the run
    #[arg(long, value_name = "PHASE")]
    pub phase: Option<String>,
    /// An archive that has what left the database; may be given several times [env: REDRESS_SEAL_ARCHIVES]
    #[arg(long = "archive", value_name = "DIR")]
    pub archives: Vec<PathBuf>,
}

/// Which two heads.
#[derive(Debug, clap::Args)]
pub struct ConsistencyArgs {
    /// Size of the earlier head
    pub old: u64,
    /// Size of the later head
    pub new: u64,
}

/// What to erase.
#[derive(Debug, clap::Args)]
pub struct EraseArgs {
    /// The blob, as the record names it
    pub blob: Uuid,
    /// Who signs, and why.
    #[command(flatten)]
    pub flags: ActFlags,
}

/// How to continue the ledger.
#[derive(Debug, clap::Args)]
pub struct ContinueArgs {
    /// The last head that was anchored, or that anybody outside holds
    #[arg(long, value_name = "FILE")]
    pub checkpoint: PathBuf,
    /// Who signs, and why.
    #[command(flatten)]
    pub flags: ActFlags,
}

/// The log's key: the file that was named, else the one in STATE/keys that the ledger says signs now.
///
/// # Errors
/// RD0733 when the ledger is not opened, RD0915 when the key is not here, [`Fail::KeyFile`].
pub async fn log_key(
    place: &Place,
    engine: &Engine,
    named: Option<&Path>,
) -> Result<SigningKey, Fail> {
    let keyring = engine.keyring().await?;
    let in_force = keyring.as_ref().and_then(|keyring| keyring.log_key());
    let in_force = in_force.ok_or_else(|| redress::Error::from(SealError::NotOpened))?;
    let path = match named {
        Some(path) => path.to_owned(),
        None => find(&place.keys()?, in_force.id())?,
    };
    read_log_key(place, &path, in_force.name())
}

fn find(keys: &Path, id: &KeyId) -> Result<PathBuf, Fail> {
    let entries = std::fs::read_dir(keys).into_iter().flatten().flatten();
    let mut paths = entries.map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let public = path.extension().is_some_and(|end| end == "pub");
        public && read_public(path).is_ok_and(|(_, vkey)| vkey.id() == id)
    };
    let found = paths.find(is_it).map(|path| path.with_extension("key"));
    found.ok_or_else(|| {
        let text = format!(
            "the log's key {id} is not in {}: seal where it lies, or name the file with --log-key",
            keys.display()
        );
        Fail::own("RD0915", text)
    })
}

async fn sealer(place: &Place, engine: &Engine, args: &SealArgs) -> Result<Sealer, Fail> {
    let generation = engine.installation().generation;
    let key = log_key(place, engine, args.log_key.as_deref()).await?;
    let state = place.state()?;
    let anchor = args.anchor.clone();
    let anchor = anchor.unwrap_or_else(|| state.join("anchor").join(log_stem(generation)));
    let publish = args.publish.clone();
    let publish = publish.unwrap_or_else(|| state.join("log").join(format!("gen-{generation}")));
    let sealer = engine.sealer(key, FileAnchor::new(anchor), publish);
    let sealer = sealer.archives(Archives::open(&args.archives)?);
    Ok(match args.first_anchor {
        true => sealer.first_anchor(),
        false => sealer,
    })
}

/// Seals what is committed, or goes on sealing.
///
/// # Errors
/// [`Fail::Engine`] with RD0732 to RD0740: nothing was signed, unless the message says so.
pub async fn seal(place: &Place, args: &SealArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let mut sealer = sealer(place, &engine, args).await?;
    if args.follow {
        let served = serve(place, &engine, args.metrics.as_ref()).await?;
        follow(place, &mut sealer).await?;
        if let Some(served) = served {
            served.end();
        }
        return Ok(Exit::Done);
    }
    let sealed = place.say.while_doing("sealing", sealer.seal()).await;
    let left = sealer.leave().await;
    let sealed = sealed.map_err(with_remedy)?;
    left?;
    let head = &sealed.head;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "records": sealed.records,
            "origin": head.origin,
            "size": head.size,
            "root": head.root,
            "errors": [],
        }))?;
    } else {
        place.say.line(&line(&sealed))?;
    }
    Ok(Exit::Done)
}

/// A new generation carries what was archived too, and has to be told where it is.
fn with_remedy(error: redress::Error) -> Fail {
    match error {
        redress::Error::Archived(_) => Fail::own(
            "RD0748",
            format!("{error}; the log takes it from there: redress audit seal --archive DIR"),
        ),
        other => other.into(),
    }
}

/// Says what is committed and not sealed yet: the window in which a change would not be found.
///
/// # Errors
/// [`Fail::Engine`] when the database cannot be read.
pub async fn window(place: &Place, args: &WindowArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let window = engine.open_window().await?;
    let age = window.age.as_secs_f64();
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "unsealed": window.records,
            "unanchored_age_seconds": age,
            "sealed": window.sealed,
            "errors": [],
        }))?;
    } else {
        let (records, sealed) = (window.records, window.sealed);
        place.say.line(&format!(
            "{records} records wait, the oldest for {age:.3} s; {sealed} are sealed"
        ))?;
    }
    let over = args.max.is_some_and(|max| age > max as f64);
    Ok(if over { Exit::Person } else { Exit::Done })
}

fn line(sealed: &Sealed) -> String {
    format!(
        "sealed {} records: {} has {}, root {}",
        sealed.records, sealed.head.origin, sealed.head.size, sealed.head.root
    )
}

async fn follow(place: &Place, sealer: &mut Sealer) -> Result<(), Fail> {
    let (stop, stopping) = watch::channel(false);
    let mut ends = Ends::new()?;
    let say = place.say.clone();
    tokio::spawn(async move {
        let signal = ends.next().await;
        say.notice(&format!("{signal}: ending after this batch"));
        stop.send_replace(true);
    });
    place.say.notice("sealing");
    let say = place.say.clone();
    let tell = |sealed: &Sealed| {
        let told = match say.is_jsonl() {
            true => say.value(&json!({
                "records": sealed.records, "size": sealed.head.size, "root": sealed.head.root,
            })),
            false => say.line(&line(sealed)),
        };
        if told.is_err() {
            tracing::debug!("nobody reads what is sealed");
        }
    };
    sealer.follow(stopping, tell).await.map_err(with_remedy)
}

/// Exports the sealed ledger, or one run of it.
///
/// # Errors
/// [`Fail::Engine`]: no part of a folder is left.
pub async fn export(place: &Place, args: &ExportArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = match &args.run {
        Some(text) => Some(find_run(&engine, text).await?),
        None => None,
    };
    let key = log_key(place, &engine, args.log_key.as_deref()).await?;
    let mut archives = Archives::open(&args.archives)?;
    let exporting = engine.export(&args.folder, run, &key, &mut archives);
    let exporting = place.say.while_doing("exporting", exporting);
    let exported = exporting.await?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "folder": exported.folder,
            "run": run,
            "records": exported.records,
            "size": exported.head.size,
            "root": exported.head.root,
            "files": exported.files,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    place.say.line(&format!("{}", exported.folder.display()))?;
    place.say.notice(&format!(
        "{} records in {} files, up to the signed head of {}; verify it anywhere: redress audit verify {} --trust FILE",
        exported.records,
        exported.files,
        exported.head.size,
        exported.folder.display()
    ));
    Ok(Exit::Done)
}

/// Prints the proof that a record is in the log (C2SP tlog-proof).
///
/// # Errors
/// [`Fail::Engine`] when there is no such sealed record.
pub async fn receipt(place: &Place, args: &ReceiptArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let run = find_run(&engine, &args.run).await?;
    let mut archives = Archives::open(&args.archives)?;
    let receipt = engine
        .receipt(run, args.phase.as_deref(), &mut archives)
        .await?;
    let proof = receipt.proof.to_bytes();
    let proof = proof.map_err(|error| Fail::own(error.code(), error.to_string()))?;
    let proof = String::from_utf8_lossy(&proof).into_owned();
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "run": run,
            "seq": receipt.seq,
            "index": receipt.proof.index,
            "hash": receipt.hash,
            "record": String::from_utf8_lossy(&receipt.record),
            "proof": proof,
            "errors": [],
        }))?;
    } else {
        place.say.line(proof.trim_end_matches('\n'))?;
        place.say.notice(&format!(
            "record {} of run {run}, hash {}",
            receipt.seq, receipt.hash
        ));
    }
    Ok(Exit::Done)
}

/// Prints the proof that the log of one size begins with that of another (RFC 6962).
///
/// # Errors
/// [`Fail::Engine`] when the sizes are not ones of this log.
pub async fn consistency(place: &Place, args: &ConsistencyArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let proof = engine.consistency(args.old, args.new).await?;
    let hashes: Vec<String> = proof
        .hashes
        .iter()
        .map(|hash| Base64::encode_string(hash.as_bytes()))
        .collect();
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "old": {"size": proof.old.0, "root": proof.old.1},
            "new": {"size": proof.new.0, "root": proof.new.1},
            "hashes": hashes,
            "errors": [],
        }))?;
    } else {
        for hash in &hashes {
            place.say.line(hash)?;
        }
        place.say.notice(&format!(
            "{} leaves, root {}, continue {} leaves, root {}",
            proof.new.0, proof.new.1, proof.old.0, proof.old.1
        ));
    }
    Ok(Exit::Done)
}

/// Erases a blob by a decision of the root.
///
/// # Errors
/// [`Fail::Engine`]: nothing was erased.
pub async fn erase(place: &Place, args: &EraseArgs) -> Result<Exit, Fail> {
    let engine = place.engine().await?;
    let what = format!(
        "erase blob {}: what it says is gone for good, that it was there stays provable",
        args.blob
    );
    let change = redress::KeyChange {
        kind: redress_ledger::Kind::BlobErased,
        body: redress_ledger::keyring::body::blob_erased(args.blob),
    };
    crate::commands::key::act::carry(place, &engine, change, &args.flags, &what).await
}

/// The head that is to be remembered is not older than the one that this machine has anchored: what was signed between
/// them would be forgotten, and nobody could see it any more.
fn reaches_anchor(place: &Place, head: &[u8], generation: i64) -> Result<(), Fail> {
    let path = place.state()?.join("anchor").join(log_stem(generation));
    if !path.exists() {
        return Ok(());
    }
    let size = |bytes: &[u8]| {
        let read = Checkpoint::peek(bytes).map_err(SealError::from);
        read.map(|head| head.size).map_err(redress::Error::from)
    };
    let (given, anchored) = (size(head)?, size(&read_file(&path, CHECKPOINT_BYTES_MAX)?)?);
    if given >= anchored {
        return Ok(());
    }
    Err(Fail::own(
        "RD0753",
        format!(
            "the head that is given has {given} leaves, the one that was anchored here has {anchored}, {}",
            path.display()
        ),
    ))
}

/// Continues a ledger whose log cannot go on, as the next generation.
///
/// # Errors
/// [`Fail::Engine`]: nothing was changed.
pub async fn proceed(place: &Place, args: &ContinueArgs) -> Result<Exit, Fail> {
    if args.flags.out.is_some() {
        let text = "a generation is opened by people who sit together: --as KEY and --cosign KEY";
        return Err(Fail::own("RD0913", text));
    }
    let head = read_file(&args.checkpoint, CHECKPOINT_BYTES_MAX)?;
    let needs = Needs {
        restored: true,
        ..Needs::default()
    };
    let engine = place.engine_with(needs).await?;
    let installation = engine.installation();
    reaches_anchor(place, &head, installation.generation)?;
    let next = installation.generation + 1;
    let name = log_origin(&installation.origin, next);
    let what = format!(
        "continue the ledger as {name}: what the old log signed beyond this database is not in it, and engines of the \
         old generation write nothing any more"
    );
    place
        .say
        .notice(&format!("{what}. Reason: {}", args.flags.reason));
    let keys = signers(place, &args.flags, "the new generation")?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let log = LogKey::find(place, &name, next)?;
    let path = log.keep(place)?;
    engine
        .open_generation(&head, log.key.vkey(), &keys, &args.flags.reason)
        .await?;
    let trusts = crate::commands::key::trust::add_log_line(place, log.key.vkey())?;
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "generation": next,
            "origin": name,
            "log": {"id": log.key.vkey().id().to_string(), "vkey": log.key.vkey().to_string(), "key": path, "trusted": trusts},
            "errors": [],
        }))?;
    } else {
        place.say.line(&format!("opened   {name}"))?;
        place
            .say
            .line(&format!("log key  {}", log.key.vkey().id()))?;
        crate::commands::key::open::tell_trust(place, log.key.vkey(), trusts);
        place.say.notice("next: redress audit seal");
    }
    Ok(Exit::Done)
}

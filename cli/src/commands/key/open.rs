//! `key open`: the first act of a ledger states its root and the log's key.
//!
//! **Invariant:** a ledger is opened only when every decision in it can be verified by the keys that it registers.

use std::path::PathBuf;

use redress::{Engine, KeyChange};
use redress_ledger::Kind;
use redress_ledger::checkpoint::log_origin;
use redress_ledger::key::{KeyId, Role, SigningKey, Vkey};
use redress_ledger::keyfile::{ITERATIONS_DEFAULT, key_path, read_key, write_key_as};
use redress_ledger::keyring::{KeyRole, Keyring, Root, Standing, body};
use redress_ledger::trust::Trust;
use redress_ledger::verify::Verdict;
use serde_json::json;

use super::act::{signers, too_few, write_out};
use super::new::make_dir;
use super::{ActFlags, trust};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::{Needs, Place};

/// How to open the ledger.
#[derive(Debug, clap::Args)]
pub struct OpenArgs {
    /// How many different sovereigns it takes to decide on keys [default: as the trust file says, else 1]
    #[arg(long, value_name = "N")]
    pub threshold: Option<u64>,
    #[command(flatten)]
    pub flags: ActFlags,
}

/// What the ledger is opened with.
struct Opening {
    root: Root,
    others: Vec<(Vkey, KeyRole)>,
}

/// Opens the ledger.
///
/// # Errors
/// RD0575 when it is open; RD0926 when what was decided before could not be verified; RD0577 naming who is missing.
pub async fn open(place: &Place, args: &OpenArgs) -> Result<Exit, Fail> {
    let trusted = place.trust()?.ok_or(redress::Error::NoTrust)?;
    let opening = opening_of(&trusted, args.threshold)?;
    let engine = place.engine().await?;
    if let Some(keyring) = engine.keyring().await? {
        return Err(open_already(&keyring));
    }
    if args.flags.out.is_some() {
        check_earlier_decisions(place, &opening.root).await?;
    } else {
        check_verified(&engine, "the keys of the trust file").await?;
    }
    let installation = engine.installation();
    let name = log_origin(&installation.origin, installation.generation);
    let people: Vec<&str> = opening.root.keys().map(|(_, vkey)| vkey.name()).collect();
    let what = format!(
        "open the ledger {name}: {} of {} decide on keys",
        opening.root.threshold(),
        people.join(", ")
    );
    place
        .say
        .notice(&format!("{what}. Reason: {}", args.flags.reason));
    let keys = signers(place, &args.flags, "the opening")?;
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let log = LogKey::find(place, &name, installation.generation)?;
    let change = KeyChange {
        kind: Kind::KeyRegistered,
        body: body::opening(&opening.root, log.key.vkey()),
    };
    let reason = &args.flags.reason;
    let envelope = engine.prepare_act(change, &keys, reason).await?;
    if let Some(out) = &args.flags.out {
        log.keep(place)?;
        return write_out(place, &engine, &envelope, out).await;
    }
    let lacks = engine.act_lacks(&envelope).await?;
    if !lacks.is_empty() {
        let act = envelope.peek_act().map_err(redress::Error::from)?;
        return Err(too_few(&act, &lacks));
    }
    let path = log.keep(place)?;
    let keyring = engine
        .open_ledger(
            &opening.root,
            log.key.vkey(),
            &opening.others,
            &keys,
            reason,
        )
        .await?;
    let trusts = trust::add_log_line(place, log.key.vkey())?;
    tell(place, &opening, &log, &path, &keyring, trusts)
}

fn open_already(keyring: &Keyring) -> Fail {
    let root = keyring.roots().first();
    let names: Vec<String> = root
        .into_iter()
        .flat_map(Root::keys)
        .map(|(id, _)| id.to_string())
        .collect();
    Fail::own(
        "RD0575",
        format!(
            "the ledger is open already, and is opened once; its first root: {}",
            names.join(", ")
        ),
    )
}

/// The root that the trust file stands for, and everybody else in it.
fn opening_of(trust: &Trust, threshold: Option<u64>) -> Result<Opening, Fail> {
    let rule = trust.root();
    let in_root =
        |id: &KeyId| rule.is_none_or(|rule| rule.keys.is_empty() || rule.keys.contains(id));
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for key in trust.keys() {
        let vkey = key.vkey.clone();
        if key.role == Role::Sovereign && in_root(vkey.id()) {
            keys.push(vkey);
        } else {
            others.push((vkey, key.role.into()));
        }
    }
    let least = rule.map(|rule| rule.threshold);
    let root = root_of(&keys, threshold.or(least).unwrap_or(1))?;
    if root.is_named_by(trust) {
        return Ok(Opening { root, others });
    }
    Err(Fail::own(
        "RD0578",
        format!(
            "the trust file asks for a threshold of at least {}, and this root has {}: nothing was opened",
            least.unwrap_or(1),
            root.threshold()
        ),
    ))
}

/// A root of these keys.
///
/// # Errors
/// RD0924 when so many people cannot sign.
pub fn root_of(keys: &[Vkey], threshold: u64) -> Result<Root, Fail> {
    if keys.is_empty() {
        let text = "the trust file has no sovereign's key for a root: redress key new NAME --role sovereign";
        return Err(Fail::own("RD0924", text));
    }
    Root::new(keys, threshold).map_err(|_| {
        let names: Vec<&str> = keys.iter().map(Vkey::name).collect();
        Fail::own(
            "RD0924",
            format!(
                "a threshold of {threshold} needs as many different people, and at least one; the root would be {}",
                names.join(", ")
            ),
        )
    })
}

/// Checks that every decision that stands already was signed by the root alone, which is all that a file registers.
///
/// # Errors
/// RD0926.
pub async fn check_earlier_decisions(place: &Place, root: &Root) -> Result<(), Fail> {
    let mut trust = Trust::new();
    for (_, vkey) in root.keys() {
        // A root has no key twice.
        let _ = trust.add(Role::Sovereign, vkey.clone());
    }
    let target = place.target().await?;
    let engine = place
        .engine_at(target, Needs::default(), Some(trust))
        .await?;
    check_verified(
        &engine,
        "the keys of the root; others can be registered in the same moment only without --out (open with a threshold \
         that sits together, then `redress key rotate --root --threshold N --out FILE`)",
    )
    .await
}

async fn check_verified(engine: &Engine, by: &str) -> Result<(), Fail> {
    let report = engine.audit_verify().await?;
    let why = match report.verdict {
        Verdict::Verified => return Ok(()),
        Verdict::Incomplete { .. } if report.records == 0 => return Ok(()),
        Verdict::Incomplete { reason } => reason,
        Verdict::Failed {
            run,
            seq,
            code,
            message,
        } => format!("{message} [{code}], record {seq} of run {run}"),
    };
    Err(Fail::own(
        "RD0926",
        format!("what stands in the ledger is not verified by {by}: {why}; nothing was opened"),
    ))
}

/// The log's key, in its file or not written yet.
pub struct LogKey {
    /// The key.
    pub key: SigningKey,
    stem: String,
    path: PathBuf,
    is_new: bool,
}

/// The file name of a generation's log key.
pub fn log_stem(generation: i64) -> String {
    format!("log-gen-{generation}")
}

/// Opens a log's key: a person's key signs no heads.
///
/// # Errors
/// RD0571; [`Fail::KeyFile`].
pub fn read_log_key(place: &Place, path: &std::path::Path, name: &str) -> Result<SigningKey, Fail> {
    let passphrase = place.passphrase(&format!("passphrase of {}", path.display()), false)?;
    let file = read_key(path, &passphrase)?;
    if file.role == KeyRole::Log && file.key.name() == name {
        return Ok(file.key);
    }
    let text = format!(
        "the log signs with a key of its own named {name}, and this is the key of {} ({}), {}",
        file.key.name(),
        file.role,
        path.display()
    );
    Err(Fail::own("RD0571", text))
}

impl LogKey {
    /// The key of this log in STATE/keys, or a new one that is not written yet.
    ///
    /// # Errors
    /// As [`read_log_key`].
    pub fn find(place: &Place, name: &str, generation: i64) -> Result<Self, Fail> {
        let stem = log_stem(generation);
        let path = key_path(&place.keys()?, &stem)?;
        let is_new = !path.exists();
        let key = if is_new {
            SigningKey::generate(name)?
        } else {
            read_log_key(place, &path, name)?
        };
        Ok(Self {
            key,
            stem,
            path,
            is_new,
        })
    }

    /// Writes the key that was made; gives the path of its file.
    ///
    /// # Errors
    /// [`Fail::KeyFile`].
    pub fn keep(&self, place: &Place) -> Result<PathBuf, Fail> {
        if self.is_new {
            let keys = place.keys()?;
            let prompt = format!("new passphrase for the log's key {}", self.path.display());
            let passphrase = place.passphrase(&prompt, true)?;
            make_dir(&keys)?;
            write_key_as(
                &keys,
                &self.stem,
                &self.key,
                KeyRole::Log,
                &passphrase,
                ITERATIONS_DEFAULT,
            )?;
        }
        Ok(self.path.clone())
    }
}

fn tell(
    place: &Place,
    opening: &Opening,
    log: &LogKey,
    path: &std::path::Path,
    keyring: &Keyring,
    trusts: bool,
) -> Result<Exit, Fail> {
    let root: Vec<String> = opening.root.keys().map(|(id, _)| id.to_string()).collect();
    let vkey = log.key.vkey();
    let record = keyring.basis().map_or(0, |basis| basis.seq);
    if place.say.is_json() {
        let others: Vec<_> = opening
            .others
            .iter()
            .map(|(vkey, role)| {
                json!({"name": vkey.name(), "role": role.as_str(), "id": vkey.id().to_string()})
            })
            .collect();
        place.say.value(&json!({
            "schema": 1,
            "origin": vkey.name(),
            "root": {"threshold": opening.root.threshold(), "keys": root},
            "log": {"id": vkey.id().to_string(), "vkey": vkey.to_string(), "key": path, "trusted": trusts},
            "registered": others,
            "record": record,
            "next": NEXT,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    place.say.line(&format!("opened   {}", vkey.name()))?;
    place.say.line(&format!(
        "root     {} of {}",
        opening.root.threshold(),
        root.join(", ")
    ))?;
    place.say.line(&format!("log key  {}", vkey.id()))?;
    for (vkey, role) in &opening.others {
        place.say.line(&format!("{role:<8} {}", vkey.id()))?;
    }
    place
        .say
        .notice(&format!("the log's key is in {}", path.display()));
    tell_trust(place, vkey, trusts);
    tell_next(place);
    Ok(Exit::Done)
}

/// Says which line a trust file needs for the log.
pub fn tell_trust(place: &Place, log: &Vkey, trusts: bool) {
    if !trusts {
        place.say.notice(&format!(
            "for those who verify, add this line to their trust files: log {log}"
        ));
    }
}

/// Says who of the trust file the ledger does not know: an act that people signed apart registers the root alone.
///
/// # Errors
/// RD0920.
pub fn tell_unregistered(place: &Place, keyring: &Keyring) -> Result<(), Fail> {
    let trust = place.trust()?.unwrap_or_default();
    for key in trust.keys() {
        let id = key.vkey.id();
        if matches!(keyring.standing(id), Standing::Unknown) {
            place.say.notice(&format!(
                "{id} ({}) does not count yet: redress key register {id}",
                key.role
            ));
        }
    }
    Ok(())
}

/// Says what comes after an opening.
pub fn tell_next(place: &Place) {
    place.say.notice(
        "from now on a key counts when the ledger has registered it (redress key register); a line in a trust file \
         is not enough",
    );
    place.say.notice(&format!("next: {NEXT}"));
}

const NEXT: &str = "redress audit seal";

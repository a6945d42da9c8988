//! What the root signs: shown, signed here or elsewhere, recorded when enough people have.
//!
//! **Invariant:** what is signed is what is shown, read from the bytes that are signed.

use std::path::{Path, PathBuf};

use redress::{Engine, KeyChange};
use redress_ledger::key::{Role, SigningKey};
use redress_ledger::keyring::{Act, KeyRole, Keyring, Lack, Root};
use redress_ledger::{Envelope, KeyId};
use serde_json::{Value, json};

use super::{ActFlags, file, open, trust};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;
use crate::text::short_id;

/// Which act to sign.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// The file of the act
    pub file: PathBuf,
}

/// Which act to record.
#[derive(Debug, clap::Args)]
pub struct SubmitArgs {
    /// The file of the act; copies that others signed may follow
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

/// Records one change of the keyring, or writes it to a file for others to sign; nothing is left of a refusal.
///
/// # Errors
/// RD0577 naming who is missing; [`Fail::Engine`] with the keyring's refusal; RD0913 when nobody signs.
pub async fn carry(
    place: &Place,
    engine: &Engine,
    change: KeyChange,
    flags: &ActFlags,
    what: &str,
) -> Result<Exit, Fail> {
    place
        .say
        .notice(&format!("{what}. Reason: {}", flags.reason));
    let keys = signers(place, flags, what)?;
    carry_signed(place, engine, change, flags, &keys).await
}

/// As [`carry`], by people who have confirmed it already.
///
/// # Errors
/// As [`carry`].
pub async fn carry_signed(
    place: &Place,
    engine: &Engine,
    change: KeyChange,
    flags: &ActFlags,
    keys: &[SigningKey],
) -> Result<Exit, Fail> {
    let keys: Vec<&SigningKey> = keys.iter().collect();
    let envelope = engine.prepare_act(change, &keys, &flags.reason).await?;
    if let Some(out) = &flags.out {
        return write_out(place, engine, &envelope, out).await;
    }
    record(place, engine, &envelope).await
}

/// The keys of `--as` and `--cosign`, after the person has confirmed; none where the act only goes into a file.
///
/// # Errors
/// RD0913, RD0916, RD0571; [`Fail::KeyFile`].
pub fn signers(place: &Place, flags: &ActFlags, what: &str) -> Result<Vec<SigningKey>, Fail> {
    let names: Vec<&String> = place.globals.signer.iter().chain(&flags.cosign).collect();
    if names.is_empty() {
        return match flags.out {
            Some(_) => Ok(Vec::new()),
            None => Err(Fail::own(
                "RD0913",
                "who signs is missing: give --as KEY and --cosign KEY, or --out FILE to let others sign",
            )),
        };
    }
    place.confirm(what, CONFIRM)?;
    let mut keys: Vec<SigningKey> = Vec::with_capacity(names.len());
    for name in names {
        let file = place.signing_key_of(name)?;
        if keys.iter().all(|key| key.id() != file.key.id()) {
            keys.push(file.key);
        }
    }
    Ok(keys)
}

/// Records an act whose signatures are there, or says whose are not.
async fn record(place: &Place, engine: &Engine, envelope: &Envelope) -> Result<Exit, Fail> {
    let act = envelope.peek_act().map_err(redress::Error::from)?;
    let lacks = engine.act_lacks(envelope).await?;
    if !lacks.is_empty() {
        return Err(too_few(&act, &lacks));
    }
    let keyring = engine.submit_act(envelope).await?;
    let log = opened_log(&act, &keyring);
    let trusts = match &log {
        Some(log) => trust::add_log_line(place, log)?,
        None => false,
    };
    let signed = signed_by(envelope);
    let record = keyring.last_act();
    if place.say.is_json() {
        place.say.value(&json!({
            "schema": 1,
            "act": act.act,
            "id": act.id,
            "body": act.body,
            "signed": signed,
            "record": record,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    place.say.line(&format!(
        "recorded: {}, record {record} of the keyring, signed by {}",
        file::shown(&act),
        signed.join(", ")
    ))?;
    if let Some(log) = &log {
        open::tell_trust(place, log, trusts);
        open::tell_unregistered(place, &keyring)?;
        open::tell_next(place);
    }
    Ok(Exit::Done)
}

fn opened_log(act: &Act, keyring: &Keyring) -> Option<redress_ledger::Vkey> {
    let opens = act.basis.is_none();
    keyring.log_key().filter(|_| opens).cloned()
}

/// Who is missing, as an error: nothing was recorded.
pub fn too_few(act: &Act, lacks: &[Lack]) -> Fail {
    let parts: Vec<String> = lacks.iter().map(|lack| lack_text(act, lack)).collect();
    Fail::own(
        "RD0577",
        format!(
            "too few signatures: {}; nothing was recorded",
            parts.join("; ")
        ),
    )
}

fn lack_text(act: &Act, lack: &Lack) -> String {
    let list = |names: &[String]| match names {
        [] => "nobody".to_owned(),
        names => names.join(", "),
    };
    // Before the opening there is one root, and it needs no other word.
    let root = match (lack.is_new, act.basis) {
        (true, Some(_)) => "the new root",
        _ => "the root",
    };
    format!(
        "{root} needs {} people, signed: {}, could sign: {}",
        lack.threshold,
        list(&lack.signed),
        list(&lack.open)
    )
}

/// Writes an act with the signatures that it has, for others to sign.
///
/// # Errors
/// RD0921; nothing was recorded.
pub async fn write_out(
    place: &Place,
    engine: &Engine,
    envelope: &Envelope,
    out: &Path,
) -> Result<Exit, Fail> {
    let lacks = engine.act_lacks(envelope).await?;
    file::create(out, envelope)?;
    tell_file(place, envelope, out, Some(&lacks))
}

/// Adds a signature to an act in a file.
///
/// # Errors
/// [`Fail`]: the file is as it was.
pub fn sign(place: &Place, args: &SignArgs) -> Result<Exit, Fail> {
    let mut envelope = file::read(&args.file)?;
    let act = envelope.peek_act().map_err(redress::Error::from)?;
    place
        .say
        .notice(&format!("the act says: {}", file::shown(&act)));
    place.say.notice(&format!(
        "ledger {}, generation {}, valid until {}. Reason: {}",
        act.origin, act.generation, act.not_after, act.reason
    ));
    let body = Value::Object(act.body.clone());
    place.say.notice(&format!("to be signed: {body}"));
    if place.globals.signer.is_none() {
        return Err(Fail::own("RD0913", "who signs is missing: give --as KEY"));
    }
    place.confirm("this act", &short_id(act.id))?;
    let signer = place.signing_key()?;
    if signer.role != KeyRole::Person(Role::Sovereign) {
        let text = format!(
            "only sovereigns decide on keys, and {} is {}'s key",
            signer.key.id(),
            signer.role
        );
        return Err(Fail::own("RD0571", text));
    }
    envelope
        .countersign(&signer.key)
        .map_err(redress::Error::from)?;
    file::replace(&args.file, &envelope)?;
    tell_file(place, &envelope, &args.file, None)
}

/// Records an act from a file, with the signatures of every copy that is given.
///
/// # Errors
/// RD0577 naming who is missing; RD0556 when the keyring has changed since; [`Fail::Engine`].
pub async fn submit(place: &Place, args: &SubmitArgs) -> Result<Exit, Fail> {
    let envelope = file::merged(&args.files)?;
    let act = envelope.peek_act().map_err(redress::Error::from)?;
    let engine = place.engine().await?;
    let keyring = engine.keyring().await?;
    let found = keyring.as_ref().and_then(Keyring::basis);
    if act.basis != found {
        return Err(stale(&act, keyring.is_some()));
    }
    if act.basis.is_none() {
        let root = Root::from_value(act.body.get("root").unwrap_or(&Value::Null))
            .map_err(redress::Error::Act)?;
        open::check_earlier_decisions(place, &root).await?;
    }
    match record(place, &engine, &envelope).await {
        // Somebody was faster by a moment.
        Err(Fail::Engine(redress::Error::Decision(
            redress_ledger::decision::DecisionError::OtherBasis(_),
        ))) => Err(stale(&act, true)),
        other => other,
    }
}

fn stale(act: &Act, is_open: bool) -> Fail {
    if act.basis.is_none() {
        return Fail::own(
            "RD0575",
            "the ledger is open already, and this act would open it: nothing was recorded",
        );
    }
    let why = if is_open {
        "the keyring has changed since the act was written, or the act is recorded already"
    } else {
        "the act was written for a ledger that is open, and this one is not"
    };
    Fail::own(
        "RD0556",
        format!(
            "{why}: nothing was recorded; write it again with --out and sign again, act {}",
            act.id
        ),
    )
}

fn tell_file(
    place: &Place,
    envelope: &Envelope,
    path: &Path,
    lacks: Option<&[Lack]>,
) -> Result<Exit, Fail> {
    let act = envelope.peek_act().map_err(redress::Error::from)?;
    let signed = signed_by(envelope);
    if place.say.is_json() {
        let missing = lacks.map(|lacks| lacks.iter().map(lack_json).collect::<Vec<_>>());
        place.say.value(&json!({
            "schema": 1,
            "file": path,
            "act": act.act,
            "id": act.id,
            "body": act.body,
            "not_after": act.not_after,
            "signed": signed,
            "missing": missing,
            "errors": [],
        }))?;
        return Ok(Exit::Done);
    }
    place.say.line(&path.display().to_string())?;
    let signed = match signed.as_slice() {
        [] => "nobody yet".to_owned(),
        names => names.join(", "),
    };
    place.say.notice(&format!(
        "nothing is recorded yet; signed by {signed}; valid until {}",
        act.not_after
    ));
    for lack in lacks.unwrap_or_default() {
        place.say.notice(&lack_text(&act, lack));
    }
    place.say.notice(&format!(
        "next: redress key sign {0} --as KEY, then redress key submit {0}",
        path.display()
    ));
    Ok(Exit::Done)
}

fn lack_json(lack: &Lack) -> Value {
    json!({
        "root": if lack.is_new { "new" } else { "in_force" },
        "threshold": lack.threshold,
        "signed": lack.signed,
        "open": lack.open,
    })
}

fn signed_by(envelope: &Envelope) -> Vec<String> {
    let ids = envelope.signatures.iter().map(|one| &one.keyid);
    ids.map(KeyId::to_string).collect()
}

/// What a person types to sign.
const CONFIRM: &str = "sign";

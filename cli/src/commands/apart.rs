//! Decisions that are signed elsewhere: written out, signed by our command or by `ssh-keygen`, and brought back.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redress::{Engine, Error};
use redress_ledger::{Decision, Envelope, SshSignature, Vkey};

use crate::fail::Fail;
use crate::place::Place;
use crate::read::read_file;

/// Larger than any envelope or signature.
const BYTES_MAX: usize = 64 * 1024;
/// What `ssh-keygen -Y sign` writes begins so.
const ARMOR: &[u8] = b"-----BEGIN SSH SIGNATURE-----";
/// The bytes that are signed, beside the decision.
const TO_BE_SIGNED: &str = "tbs";

/// Writes a decision without a signature, and beside it the bytes that `ssh-keygen` signs; gives both paths.
///
/// # Errors
/// RD0921 when one stands already or cannot be written.
pub fn write_out(decision: &Decision, path: &Path) -> Result<(PathBuf, PathBuf), Fail> {
    let envelope = Envelope::unsigned(decision).map_err(Error::from)?;
    let bytes = envelope.to_be_signed().map_err(Error::from)?;
    let beside = PathBuf::from(format!("{}.{TO_BE_SIGNED}", path.display()));
    let text = format!("{:#}\n", envelope.to_value());
    for (path, bytes) in [(path, text.as_bytes()), (beside.as_path(), &bytes)] {
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o644)
                .open(path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().map_err(|error: std::io::Error| {
            Fail::own(
                "RD0921",
                format!("cannot write: {error}, {}", path.display()),
            )
        })?;
    }
    Ok((path.to_owned(), beside))
}

/// Reads what was signed: an envelope with its signatures, or a signature of `ssh-keygen` over a decision that
/// `approve --out` wrote.
///
/// # Errors
/// [`Fail::Engine`] when it is neither, or not by a key that counts; RD0913 when the decision is missing.
pub async fn read_signed(
    place: &Place,
    engine: &Engine,
    signature: &Path,
    decision: Option<&Path>,
) -> Result<Envelope, Fail> {
    let bytes = read_file(signature, BYTES_MAX)?;
    if !bytes.starts_with(ARMOR) {
        return Ok(Envelope::from_json(&bytes).map_err(Error::from)?);
    }
    let decision = match decision {
        Some(path) => path.to_owned(),
        None => decision_of(signature)?,
    };
    let envelope = read_file(&decision, BYTES_MAX)?;
    let mut envelope = Envelope::from_json(&envelope).map_err(Error::from)?;
    let armored = String::from_utf8_lossy(&bytes).into_owned();
    let signed = SshSignature::from_armored(&armored)
        .map_err(|error| Fail::own(error.code(), error.to_string()))?;
    let vkey = holder(place, engine, &signed).await?;
    envelope
        .attach_sshsig(&vkey, &armored)
        .map_err(Error::from)?;
    Ok(envelope)
}

/// `FILE.tbs.sig` is about `FILE`.
fn decision_of(signature: &Path) -> Result<PathBuf, Fail> {
    let name = signature.to_string_lossy();
    let stem = name.strip_suffix(&format!(".{TO_BE_SIGNED}.sig"));
    stem.map(PathBuf::from).ok_or_else(|| {
        let text = format!(
            "which decision it signs is missing: give --decision FILE, signature {}",
            signature.display()
        );
        Fail::own("RD0913", text)
    })
}

/// The name under which the signing key counts: of the ledger's keyring, before it is opened of the trust file.
async fn holder(place: &Place, engine: &Engine, signed: &SshSignature) -> Result<Vkey, Fail> {
    let known: Vec<Vkey> = match engine.keyring().await? {
        Some(keyring) => keyring.keys().map(|key| key.vkey().clone()).collect(),
        None => {
            let trust = place.trust()?.unwrap_or_default();
            trust.keys().map(|key| key.vkey.clone()).collect()
        }
    };
    let found = known.into_iter().find(|vkey| vkey.key() == signed.key());
    found.ok_or_else(|| {
        let text = "nobody whose key counts made this signature: `redress key list --ledger` shows them, \
                    `redress key register FILE.pub --role ROLE` lets an OpenSSH key count";
        Fail::own("RD0547", text)
    })
}

/// Says what to do with what was written.
pub fn tell(place: &Place, about: &str, written: &(PathBuf, PathBuf)) -> Result<(), Fail> {
    let (file, bytes) = (written.0.display(), written.1.display());
    if place.say.is_json() {
        return place.say.value(&serde_json::json!({
            "schema": 1, "plan": about, "decision": written.0, "to_be_signed": written.1, "errors": [],
        }));
    }
    place.say.line(&format!("{file}"))?;
    place.say.notice(&format!(
        "sign it: ssh-keygen -Y sign -n {} -f KEY {bytes}",
        redress_ledger::sshsig::NAMESPACE
    ));
    place.say.notice(&format!(
        "next: redress approve {about} --signature {bytes}.sig"
    ));
    Ok(())
}

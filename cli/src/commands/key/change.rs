//! `key register`, `rotate`, `revoke`, `compromised`: each is one act of the root.

use redress::{Engine, KeyChange};
use redress_ledger::Kind;
use redress_ledger::key::{Role, Vkey};
use redress_ledger::keyring::{KeyRole, Keyring, Root, body};

use super::ActFlags;
use super::act::carry;
use super::find::{ledger_key, public_key};
use super::open::root_of;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Which key to register.
#[derive(Debug, clap::Args)]
pub struct RegisterArgs {
    /// A public key (NAME+HASH+BASE64), a .pub file, or a name in STATE/keys or in the trust file
    pub key: String,
    /// What its holder may do; a .pub file and the trust file say it themselves
    #[arg(long, value_name = "operator|reviewer|sovereign|auditor|engine")]
    pub role: Option<String>,
    #[command(flatten)]
    pub flags: ActFlags,
}

/// What to replace.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct RotateArgs {
    /// The key that is replaced: its id or name in the ledger, or `log`
    #[arg(value_name = "OLD", group = "what", requires = "to")]
    pub old: Option<String>,
    /// The key that takes its place, of the same name: a public key, a .pub file, or a name
    #[arg(long, value_name = "NEW", conflicts_with = "root")]
    pub to: Option<String>,
    /// Replace the root by the sovereigns of the trust file; the old and the new root sign
    #[arg(long, group = "what")]
    pub root: bool,
    /// How many different people the new root takes [default: as the trust file says, else as now]
    #[arg(long, value_name = "N", requires = "root")]
    pub threshold: Option<u64>,
    /// Leave this sovereign of the trust file out of the new root; once for each
    #[arg(long, value_name = "NAME|KEYID", requires = "root")]
    pub without: Vec<String>,
    #[command(flatten)]
    pub flags: ActFlags,
}

/// Which key to revoke.
#[derive(Debug, clap::Args)]
pub struct RevokeArgs {
    /// Its id or name in the ledger
    #[arg(value_name = "KEYID|NAME")]
    pub key: String,
    #[command(flatten)]
    pub flags: ActFlags,
}

/// Which key is stolen.
#[derive(Debug, clap::Args)]
pub struct CompromisedArgs {
    /// Its id or name in the ledger
    #[arg(value_name = "KEYID|NAME")]
    pub key: String,
    /// From this position of the sealed log on, what it signed is doubtful
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(u64).range(..=POSITION_MAX))]
    pub since: u64,
    #[command(flatten)]
    pub flags: ActFlags,
}

/// Lets a key count.
///
/// # Errors
/// [`Fail`]: nothing was recorded.
pub async fn register(place: &Place, args: &RegisterArgs) -> Result<Exit, Fail> {
    let found = public_key(place, &args.key)?;
    let role = found.role(args.role.as_deref())?;
    let (engine, _) = opened(place).await?;
    let change = KeyChange {
        kind: Kind::KeyRegistered,
        body: body::register(&found.vkey, role),
    };
    let what = format!("register {} as {role}", found.vkey.id());
    let exit = carry(place, &engine, change, &args.flags, &what).await?;
    if role == KeyRole::Person(Role::Sovereign) && args.flags.out.is_none() {
        place.say.notice(
            "a sovereign's key decides on runs now; on keys only the root does: redress key rotate --root",
        );
    }
    Ok(exit)
}

/// Replaces a key, or the root.
///
/// # Errors
/// [`Fail`]: nothing was recorded.
pub async fn rotate(place: &Place, args: &RotateArgs) -> Result<Exit, Fail> {
    let (Some(old), Some(new)) = (&args.old, &args.to) else {
        return rotate_root(place, args).await;
    };
    let found = public_key(place, new)?;
    let (engine, keyring) = opened(place).await?;
    let old = ledger_key(&keyring, old)?;
    let change = KeyChange {
        kind: Kind::KeyRotated,
        body: body::rotate(&old, &found.vkey),
    };
    let what = format!("replace {old} by {}", found.vkey.id());
    carry(place, &engine, change, &args.flags, &what).await
}

async fn rotate_root(place: &Place, args: &RotateArgs) -> Result<Exit, Fail> {
    let (engine, keyring) = opened(place).await?;
    let trust = place.trust()?.ok_or(redress::Error::NoTrust)?;
    for left_out in &args.without {
        let known = trust.sovereigns().any(|key| is_named(&key.vkey, left_out));
        if !known {
            let text = format!("the trust file has no sovereign of this name or id: {left_out}");
            return Err(Fail::own("RD0915", text));
        }
    }
    let keys: Vec<Vkey> = trust
        .sovereigns()
        .map(|key| key.vkey.clone())
        .filter(|vkey| !args.without.iter().any(|text| is_named(vkey, text)))
        .collect();
    let asked = trust.root().map(|rule| rule.threshold);
    let now = keyring.root().map(Root::threshold);
    let threshold = args.threshold.or(asked).or(now).unwrap_or(1);
    let root = root_of(&keys, threshold)?;
    let names: Vec<&str> = keys.iter().map(Vkey::name).collect();
    let what = format!("replace the root by {threshold} of {}", names.join(", "));
    let change = KeyChange {
        kind: Kind::KeyRotated,
        body: body::rotate_root(&root),
    };
    carry(place, &engine, change, &args.flags, &what).await
}

fn is_named(vkey: &Vkey, text: &str) -> bool {
    vkey.name() == text || vkey.id().to_string() == text
}

/// Takes a key away.
///
/// # Errors
/// [`Fail`]: nothing was recorded.
pub async fn revoke(place: &Place, args: &RevokeArgs) -> Result<Exit, Fail> {
    let (engine, keyring) = opened(place).await?;
    let key = ledger_key(&keyring, &args.key)?;
    let change = KeyChange {
        kind: Kind::KeyRevoked,
        body: body::revoke(&key),
    };
    carry(
        place,
        &engine,
        change,
        &args.flags,
        &format!("revoke {key}"),
    )
    .await
}

/// Takes a stolen key away, and says since when it was not its holder who signed.
///
/// # Errors
/// [`Fail`]: nothing was recorded.
pub async fn compromised(place: &Place, args: &CompromisedArgs) -> Result<Exit, Fail> {
    let (engine, keyring) = opened(place).await?;
    let key = ledger_key(&keyring, &args.key)?;
    let change = KeyChange {
        kind: Kind::KeyCompromised,
        body: body::compromise(&key, args.since),
    };
    let what = format!("{key} is compromised since position {}", args.since);
    carry(place, &engine, change, &args.flags, &what).await
}

/// The largest integer that a record keeps exactly.
const POSITION_MAX: u64 = (1 << 53) - 1;

async fn opened(place: &Place) -> Result<(Engine, Keyring), Fail> {
    let engine = place.engine().await?;
    match engine.keyring().await? {
        Some(keyring) => Ok((engine, keyring)),
        None => Err(Fail::own(
            "RD0575",
            "the ledger is not open yet, so that the trust file alone says whose signatures count: redress key open",
        )),
    }
}

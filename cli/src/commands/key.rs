//! `key`: keys to sign with, whose signatures count on this machine, and the keyring of the ledger.

pub(super) mod act;
mod change;
mod file;
mod find;
mod list;
mod new;
pub(super) mod open;
pub(super) mod trust;

use std::path::PathBuf;

use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to do with keys.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a key: an encrypted file for its owner, and a public line for the trust file
    New(new::NewArgs),
    /// Open the ledger: from then on its own keyring says whose signatures count
    Open(open::OpenArgs),
    /// Let a key count from now on
    Register(change::RegisterArgs),
    /// Replace a key by another of the same holder, or the root by the sovereigns of the trust file
    Rotate(change::RotateArgs),
    /// Let a key count no more; what it signed before stands
    Revoke(change::RevokeArgs),
    /// Let a stolen key count no more; what it signed from a position of the log on is doubtful
    Compromised(change::CompromisedArgs),
    /// Add a signature to an act that was written with --out
    Sign(act::SignArgs),
    /// Record an act that was written with --out and has its signatures
    Submit(act::SubmitArgs),
    /// List the keys in STATE/keys and in the trust file
    List(list::ListArgs),
    /// Trust a key on this machine: add its line to the trust file, or show the file as it is understood
    Trust(trust::TrustArgs),
}

/// Who signs an act of the root, and where to.
#[derive(Clone, Debug, clap::Args)]
pub struct ActFlags {
    /// Who signs beside --as; once for each
    #[arg(long, value_name = "KEY")]
    pub cosign: Vec<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "asked for by an operator")]
    pub reason: String,
    /// Record nothing; write the act here, for others to sign with `redress key sign`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::New(args) => new::new(place, args),
        Command::Open(args) => open::open(place, args).await,
        Command::Register(args) => change::register(place, args).await,
        Command::Rotate(args) => change::rotate(place, args).await,
        Command::Revoke(args) => change::revoke(place, args).await,
        Command::Compromised(args) => change::compromised(place, args).await,
        Command::Sign(args) => act::sign(place, args),
        Command::Submit(args) => act::submit(place, args).await,
        Command::List(args) => list::list(place, args).await,
        Command::Trust(args) => trust::trust(place, args),
    }
}

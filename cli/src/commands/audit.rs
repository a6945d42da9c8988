//! `audit`: the ledger is read.

use crate::commands::look::{self, LogArgs};
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// What to do with the ledger.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Every record of every run and of the system log
    Log {
        /// Wait for more
        #[arg(long, short)]
        follow: bool,
    },
}

/// Carries it out.
///
/// # Errors
/// [`Fail`]: what was asked was not done.
pub async fn run(place: &Place, command: &Command) -> Result<Exit, Fail> {
    match command {
        Command::Log { follow } => {
            let args = LogArgs {
                run: None,
                all: true,
                follow: *follow,
            };
            look::log(place, &args).await
        }
    }
}

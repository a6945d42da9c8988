//! What can be written on the command line: the commands, and the flags that all of them share.
//!
//! **Not here:** commands that this version cannot carry out; what is offered works.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use redress::SchemaName;

use crate::commands::{
    artefacts, audit, config, db, demo, doctor, drill, explain, fileset, hold, key, log, look, man,
    plan, postings, rehearse, rewind, run, runbook, saga, show, start, work,
};

/// A saga engine for PostgreSQL whose undo can be trusted.
#[derive(Debug, Parser)]
#[command(name = "redress", bin_name = "redress", version, max_term_width = 100)]
#[command(
    after_help = "Exit status: 0 done, 1 failed, 2 usage, 3 a person must act, 4 refused, 5 approvals \
missing, 6 stale, 7 verification failed, 8 verification incomplete, 75 database unreachable, 78 wrong schema \
version or configuration.\n\nWithout a URL a private PostgreSQL under the state folder is used."
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// The database [env: REDRESS_DATABASE_URL, DATABASE_URL]
    #[arg(long, global = true, value_name = "URL", value_parser = no_empty_url)]
    pub database: Option<String>,
    /// Folder for snapshots, holds, keys and artefacts [env: REDRESS_STATE_DIR] [default: ~/.local/state/redress]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Whose signatures count [env: REDRESS_TRUST] [default: STATE/trust when it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Standing settings, and what definitions may reach from this machine: programs, hosts, secrets [env:
    /// REDRESS_CONFIG] [default: STATE/redress.toml, else /etc/redress/redress.toml, when it exists]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Who signs: a key file, or the name of a key in STATE/keys [env: REDRESS_AS]
    #[arg(long = "as", global = true, value_name = "KEY")]
    pub signer: Option<String>,
    /// File with the passphrase of the key [env: REDRESS_KEY_PASSPHRASE_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
    /// One JSON value on standard output
    #[arg(long, global = true, conflicts_with = "jsonl")]
    pub json: bool,
    /// One JSON value a line, for streams
    #[arg(long, global = true)]
    pub jsonl: bool,
    /// Colour: always, never, or on a terminal without NO_COLOR [env: REDRESS_COLOR]
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Only errors on standard error
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// More on standard error; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Never ask; fail and name the flag that is missing. Whoever names a key and gives its passphrase by a file means it
    #[arg(long, global = true)]
    pub non_interactive: bool,
    /// The schema of the installation [env: REDRESS_SCHEMA]
    #[arg(long, global = true, value_name = "NAME", default_value = "redress")]
    pub schema: SchemaName,
}

/// An empty URL is a variable that a script did not fill, not a wish for the private server.
fn no_empty_url(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err(EMPTY_URL.to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// What is said of an empty URL.
pub const EMPTY_URL: &str =
    "it is empty: name a database, or leave it out for the private server; nothing was done";

/// When to colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything once, on a real document in a private server
    Demo(demo::Args),
    /// The private server, and the schema of any database
    Db {
        /// What to do.
        #[command(subcommand)]
        command: db::Command,
    },
    /// Saga files and what is registered
    Saga {
        /// What to do.
        #[command(subcommand)]
        command: saga::Command,
    },
    /// Start a run
    Start(start::Args),
    /// Prove the way back: every failure point, forward and back, in a transaction that is rolled back
    Rehearse(rehearse::Args),
    /// Work: claim runs and drive them
    Work(work::Args),
    /// What needs a person, oldest first, equal failures as one, and what to do (exit 0 nothing, 3 something)
    Status,
    /// List runs
    Runs(look::RunsArgs),
    /// Show a run: its story as a timeline, phases, holds, plan, what to do next
    Show(show::ShowArgs),
    /// The records of a run, or of all
    Log(log::LogArgs),
    /// Stop a running run; it fails and goes the definition's way
    Cancel(run::CancelArgs),
    /// Make or show the plan that compensates a run, or all that fail alike
    Plan(plan::PlanArgs),
    /// Sign a plan, or the plans of all that fail alike
    Approve(plan::ApproveArgs),
    /// Carry out an approved plan; with --match recover all that fail alike
    Apply(plan::ApplyArgs),
    /// Go back to a phase: it and all after it are undone, and it runs next
    Rewind(rewind::RewindArgs),
    /// List rewinds: pending, running, succeeded, failed
    Rewinds(rewind::RewindsArgs),
    /// Let a failed run go forward again
    Resume(run::ResumeArgs),
    /// Close a failed or stuck run by a signed decision; what stands stays
    Resolve(run::ResolveArgs),
    /// Stop everything, a saga, a subject or a run
    Hold(hold::HoldArgs),
    /// List the holds in force, and the kill switch
    Holds,
    /// Lift a hold, or the kill switch, by a signed decision
    Release(hold::ReleaseArgs),
    /// Stop all forward work and all automatic compensation, now
    Kill(hold::KillArgs),
    /// Keys to sign with, and whose signatures count
    Key {
        /// What to do.
        #[command(subcommand)]
        command: key::Command,
    },
    /// The ledger: read it, verify it
    Audit {
        /// What to do.
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Replay the ledger against the tables, both ways
    Check,
    /// The files that backups have written, and which of them nobody needs any more
    Artefacts(artefacts::Args),
    /// The tables of the adapter `postings`
    Postings {
        /// What to do.
        #[command(subcommand)]
        command: postings::Command,
    },
    /// The snapshots of the adapter `fileset`
    Fileset {
        /// What to do.
        #[command(subcommand)]
        command: fileset::Command,
    },
    /// Runbooks: which there are, what they say, and which one is right for a run
    Runbook {
        /// What to do.
        #[command(subcommand)]
        command: runbook::Command,
    },
    /// Practise: a prepared failure in a private server of its own
    Drill {
        /// What to do.
        #[command(subcommand)]
        command: drill::Command,
    },
    /// The surroundings: server, settings, pooler, ages, leases, clocks, disks, keys (exit 3 when something is wrong)
    Doctor(doctor::Args),
    /// What is in force here, and where it comes from: flags, environment, redress.toml
    Config(config::Args),
    /// What an error code means and what to do
    Explain(explain::Args),
    /// Completions for a shell, on standard output
    Completions(man::CompletionsArgs),
    /// Manual pages, made from this command line
    Man(man::ManArgs),
}

impl Command {
    /// Whether a configuration that is not understood must not stand in the way: what explains it, and what judges it.
    pub fn needs_no_settings(&self) -> bool {
        match self {
            Self::Explain(_) | Self::Completions(_) | Self::Man(_) => true,
            Self::Config(args) => args.check.is_some() || args.json_schema,
            _ => false,
        }
    }
}

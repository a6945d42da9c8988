//! `man` and `completions`: what a system keeps about a command, made from the command line itself.

use std::fs;
use std::path::PathBuf;

use clap_complete::env::Shells;

use crate::complete;
use crate::exit::Exit;
use crate::fail::Fail;
use crate::place::Place;

/// Which pages.
#[derive(Debug, clap::Args)]
pub struct ManArgs {
    /// Write a page for every command into this folder, instead of printing the first
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Which completions.
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: clap_complete::Shell,
    /// Offer runs, sagas, holds, keys, runbooks and codes too: the shell asks this command at each TAB
    #[arg(long)]
    pub dynamic: bool,
}

/// Prints the page of the command, or writes all.
///
/// # Errors
/// RD0921 when they cannot be written.
pub fn man(place: &Place, args: &ManArgs) -> Result<Exit, Fail> {
    let command = crate::command_line();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .map_err(|error| Fail::own("RD0921", error.to_string()))?;
        place.say.data(String::from_utf8_lossy(&page).trim_end())?;
        return Ok(Exit::Done);
    };
    let unwritten =
        |error: std::io::Error| Fail::own("RD0921", format!("{error}, {}", dir.display()));
    fs::create_dir_all(dir).map_err(unwritten)?;
    clap_mangen::generate_to(command, dir).map_err(unwritten)?;
    place
        .say
        .notice(&format!("the pages are in {}", dir.display()));
    Ok(Exit::Done)
}

/// Prints the completions of a shell.
///
/// # Errors
/// RD0921 when they cannot be made.
pub fn completions(place: &Place, args: &CompletionsArgs) -> Result<Exit, Fail> {
    let mut text = Vec::new();
    if args.dynamic {
        let shells = Shells::builtins();
        let name = args.shell.to_string();
        let shell = shells.completer(&name).ok_or_else(|| {
            Fail::own(
                "RD0924",
                format!("no dynamic completions for this shell: {name}"),
            )
        })?;
        shell
            .write_registration(
                complete::VARIABLE,
                "redress",
                "redress",
                "redress",
                &mut text,
            )
            .map_err(|error| Fail::own("RD0921", error.to_string()))?;
    } else {
        clap_complete::generate(args.shell, &mut crate::command_line(), "redress", &mut text);
    }
    place.say.data(String::from_utf8_lossy(&text).trim_end())?;
    Ok(Exit::Done)
}

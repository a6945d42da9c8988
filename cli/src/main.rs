//! The `redress` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    redress_cli::main(std::env::args_os())
}

//! Installs the system's own server package, without the cluster that it would make and start.
//!
//! Debian's package makes and starts a cluster of its own. A drop-in file turns that off for the
//! length of the installation; it is removed again, so a later installation is as usual.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::super::account::Account;
use super::super::binaries::{Binaries, Search};
use super::{call, is_installed, notice, own_name};

/// Installs the package, then looks for its binaries.
pub(super) fn install(account: Account) -> Result<Binaries, String> {
    if !is_installed("apt-get") {
        return Err("there is no apt-get".to_owned());
    }
    let caller = Caller::find()?;
    notice("installing the package postgresql with apt-get");
    let drop_in = DropIn::put(caller)?;
    let installed = update_and_install(caller);
    drop_in.remove()?;
    installed?;
    match Search::installed().find(account) {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err("the installed package has no usable server".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn update_and_install(caller: Caller) -> Result<(), String> {
    // Old lists may still serve; if they do not, the installation says so.
    let updated = call(caller.command("apt-get").args(QUIET).arg("update"));
    let install = call(caller.command("apt-get").args(QUIET).args([
        "install",
        "-y",
        "--no-install-recommends",
        "postgresql",
    ]));
    match (install, updated) {
        (Ok(_), _) => Ok(()),
        (Err(reason), Ok(_)) => Err(reason),
        (Err(reason), Err(update)) => Err(format!("{reason}; before that {update}")),
    }
}

/// How the system's files can be changed without a password.
#[derive(Clone, Copy)]
enum Caller {
    Root,
    Sudo,
}

impl Caller {
    fn find() -> Result<Self, String> {
        if rustix::process::geteuid().is_root() {
            return Ok(Self::Root);
        }
        call(Command::new("sudo").args(["-n", "true"]))
            .map(|_| Self::Sudo)
            .map_err(|_| "it needs root or a sudo without a password".to_owned())
    }

    fn command(self, program: &str) -> Command {
        let mut command = match self {
            Self::Root => Command::new("env"),
            Self::Sudo => {
                let mut command = Command::new("sudo");
                command.args(["-n", "env"]);
                command
            }
        };
        command
            .args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C"])
            .arg(program);
        command
    }
}

/// The file that says: make no cluster.
struct DropIn {
    caller: Caller,
    /// Whether the folder was made for it.
    made_folder: bool,
}

impl DropIn {
    fn put(caller: Caller) -> Result<Self, String> {
        let made_folder = !Path::new(FOLDER).exists();
        let source = std::env::temp_dir().join(own_name("redress-createcluster"));
        fs::write(&source, "create_main_cluster = false\n").map_err(|error| error.to_string())?;
        let copied = call(
            caller
                .command("install")
                .args(["-D", "-m", "644"])
                .arg(&source)
                .arg(file()),
        );
        let _ = fs::remove_file(&source);
        copied?;
        Ok(Self {
            caller,
            made_folder,
        })
    }

    fn remove(self) -> Result<(), String> {
        call(self.caller.command("rm").arg("-f").arg(file()))?;
        if self.made_folder {
            // Fails, as it should, when the package has put something into it.
            let _ = call(self.caller.command("rmdir").arg(FOLDER));
        }
        Ok(())
    }
}

fn file() -> String {
    format!("{FOLDER}/redress.conf")
}

const FOLDER: &str = "/etc/postgresql-common/createcluster.d";
const QUIET: [&str; 3] = ["-qq", "-o", "DPkg::Lock::Timeout=120"];

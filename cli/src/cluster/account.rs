//! Decides under which account the server runs, and which folders that account can reach.
//!
//! **Invariant:** the server never runs as root; an ordinary user's server runs as that user.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::error::ClusterError;

/// The account of the server's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    uid: u32,
    gid: u32,
    /// Whether the caller is root and has to change to it.
    change: bool,
}

impl Account {
    /// The caller's own account, or for root an unprivileged one: `postgres`, else `nobody`.
    pub fn for_server() -> Result<Self, ClusterError> {
        let uid = rustix::process::geteuid().as_raw();
        if uid != 0 {
            let gid = rustix::process::getegid().as_raw();
            return Ok(Self {
                uid,
                gid,
                change: false,
            });
        }
        let path = Path::new(PASSWD);
        let text = fs::read_to_string(path).map_err(ClusterError::io("read the accounts", path))?;
        let (uid, gid) = ["postgres", "nobody"]
            .iter()
            .find_map(|name| numbers(&text, name))
            .ok_or(ClusterError::NoAccount)?;
        Ok(Self {
            uid,
            gid,
            change: true,
        })
    }

    /// The account that owns existing data, which for root need not be the one that would be
    /// chosen today: installing a server's package makes a new account.
    pub(super) fn of_data(data: &Path) -> Result<Self, ClusterError> {
        let account = Self::for_server()?;
        match fs::metadata(data) {
            Ok(meta) if account.change && meta.uid() != 0 => Ok(Self {
                uid: meta.uid(),
                gid: meta.gid(),
                change: true,
            }),
            _ => Ok(account),
        }
    }

    /// The account's number.
    pub fn uid(self) -> u32 {
        self.uid
    }

    /// Tells whether the caller is root and the server runs under another account.
    pub fn is_other(self) -> bool {
        self.change
    }

    /// Makes a command run under this account, in a folder that it can enter.
    pub(super) fn apply(self, command: &mut Command) {
        command.current_dir("/");
        if self.change {
            command.uid(self.uid).gid(self.gid);
        }
    }

    /// Gives a file or folder to this account.
    pub fn own(self, path: &Path) -> Result<(), ClusterError> {
        if self.change {
            chown(path, Some(self.uid), Some(self.gid))
                .map_err(ClusterError::io("give the server its folder", path))?;
        }
        Ok(())
    }

    /// Tells whether this account may walk through every folder down to `path`, itself included.
    pub(super) fn reaches(self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else {
            return false;
        };
        path.ancestors().all(|folder| {
            fs::metadata(folder).is_ok_and(|meta| {
                let bit = if meta.uid() == self.uid {
                    0o100
                } else if meta.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                meta.mode() & bit != 0
            })
        })
    }
}

/// Finds the numbers of a named account other than root in the text of the account file.
fn numbers(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    // Some systems write the last account's number as -2.
    let mut number = || {
        let value: i64 = fields.next()?.parse().ok()?;
        u32::try_from(value & 0xffff_ffff).ok()
    };
    let (uid, gid) = (number()?, number()?);
    (uid != 0).then_some((uid, gid))
}

const PASSWD: &str = "/etc/passwd";

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn accounts_are_read_and_root_is_never_one_of_them() {
        let text = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104::/:/bin/sh\nnobody:*:-2:-2::/:\nzero:x:0:7::/:\n";
        assert_eq!(numbers(text, "postgres"), Some((101, 104)));
        assert_eq!(numbers(text, "nobody"), Some((u32::MAX - 1, u32::MAX - 1)));
        assert_eq!(numbers(text, "zero"), None);
        assert_eq!(numbers(text, "post"), None);
    }
}

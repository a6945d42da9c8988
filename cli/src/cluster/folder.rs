//! Lays out the folder of a private server and keeps the file that describes it.
//!
//! `DIR/lock` serialises commands, `DIR/server` is the description, `DIR/log` the server's log
//! and `DIR/data` its data. If the server's account cannot reach `DIR` (root's home), the data
//! lies in a folder of its own under `/var/lib/redress`, and the description says where.
//!
//! **Invariant:** the description is replaced whole or not at all.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use super::account::Account;
use super::config;
use super::error::ClusterError;

/// What the description of a private server holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Description {
    /// The data folder.
    pub data: PathBuf,
    /// The folder of the Unix socket.
    pub socket: PathBuf,
    /// The folder of the binaries that started it last.
    pub bin: PathBuf,
    /// The folders of their shared libraries.
    pub libraries: Vec<PathBuf>,
    /// The loopback port, if it has one.
    pub tcp_port: Option<u16>,
}

impl Description {
    /// Reads the description in `dir`; nothing if there is none.
    pub fn read(dir: &Path) -> Result<Option<Self>, ClusterError> {
        let path = dir.join(DESCRIPTION);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text)
                .map(Some)
                .map_err(|line| ClusterError::Handle { path, line }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ClusterError::io("read the server's description", &path)(
                error,
            )),
        }
    }

    /// Writes the description: a temporary file, made durable, then renamed.
    pub fn write(&self, dir: &Path) -> Result<(), ClusterError> {
        let path = dir.join(DESCRIPTION);
        let fresh = dir.join(format!("{DESCRIPTION}.new"));
        let save = || -> io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(&self.text())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(dir)?.sync_all()
        };
        save().map_err(ClusterError::io("write the server's description", &path))
    }

    /// A URL through the socket; its folder stands percent-encoded where a host name would.
    pub fn url(&self, user: &str, database: &str) -> String {
        let host = config::percent(&self.socket.to_string_lossy());
        let (user, database) = (config::percent(user), config::percent(database));
        let port = self.port();
        format!("postgres://{user}@{host}:{port}/{database}")
    }

    /// The number in the socket's name; a server without TCP keeps the usual one.
    pub fn port(&self) -> u16 {
        self.tcp_port.unwrap_or(SOCKET_PORT)
    }

    fn text(&self) -> Vec<u8> {
        let mut text = FORMAT.as_bytes().to_vec();
        let mut line = |key: &str, value: &[u8]| {
            text.push(b'\n');
            text.extend_from_slice(key.as_bytes());
            text.push(b' ');
            text.extend_from_slice(value);
        };
        line("data", self.data.as_os_str().as_bytes());
        line("socket", self.socket.as_os_str().as_bytes());
        line("bin", self.bin.as_os_str().as_bytes());
        for folder in &self.libraries {
            line("library", folder.as_os_str().as_bytes());
        }
        if let Some(port) = self.tcp_port {
            line("tcp_port", port.to_string().as_bytes());
        }
        text.push(b'\n');
        text
    }

    /// Reads strictly; an error is the number of the line that is wrong.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut lines = text.lines().enumerate();
        if lines.next().map(|(_, line)| line) != Some(FORMAT) {
            return Err(1);
        }
        let (mut data, mut socket, mut bin) = (None, None, None);
        let mut libraries = Vec::new();
        let mut tcp_port = None;
        let mut last = 1;
        for (index, line) in lines {
            last = index + 1;
            let (key, value) = line.split_once(' ').ok_or(last)?;
            let path = Path::new(value);
            let place = match key {
                "data" => &mut data,
                "socket" => &mut socket,
                "bin" => &mut bin,
                "library" => {
                    libraries.push(path.to_path_buf());
                    continue;
                }
                "tcp_port" => {
                    tcp_port = Some(value.parse().map_err(|_| last)?);
                    continue;
                }
                _ => return Err(last),
            };
            if !path.is_absolute() || place.replace(path.to_path_buf()).is_some() {
                return Err(last);
            }
        }
        Ok(Self {
            data: data.ok_or(last)?,
            socket: socket.ok_or(last)?,
            bin: bin.ok_or(last)?,
            libraries,
            tcp_port,
        })
    }
}

/// Makes `dir` if it is missing and gives its absolute path without links.
pub(super) fn make(dir: &Path) -> Result<PathBuf, ClusterError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)
        .map_err(ClusterError::io("make the server's folder", dir))?;
    dir.canonicalize()
        .map_err(ClusterError::io("find the server's folder", dir))
}

/// Chooses where the data of `dir` lies: inside, else where the server's account can reach it.
pub(super) fn choose_data(dir: &Path, account: Account) -> Result<PathBuf, ClusterError> {
    if account.reaches(dir) {
        return Ok(dir.join(DATA));
    }
    let apart = Path::new(APART).join(format!("{:08x}", unlikely_number()));
    for dir in [Path::new(APART), &apart] {
        let missing = !dir.exists();
        make(dir)?;
        // Whatever the umask: the server's account has to pass through what we make.
        if missing {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
                .map_err(ClusterError::io("open the server's folder", dir))?;
        }
    }
    Ok(apart.join(DATA))
}

/// Tells whether the data lies in a folder of its own, away from the server's folder.
pub(super) fn is_apart(data: &Path) -> bool {
    data.starts_with(APART)
}

/// Removes a folder and everything in it; a missing one is no error.
pub(super) fn remove(path: &Path) -> Result<(), ClusterError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ClusterError::io("remove the folder", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a data folder, empty and the account's own, if it is missing.
pub(super) fn make_data(data: &Path, account: Account) -> Result<(), ClusterError> {
    match DirBuilder::new().mode(0o700).create(data) {
        Ok(()) => account.own(data),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(ClusterError::io("make the data folder", data)(error)),
    }
}

/// Makes a folder for the socket: private to the account, and short, because the path of a
/// socket may have no more than 107 bytes.
pub(super) fn make_socket(account: Account) -> Result<PathBuf, ClusterError> {
    let places = [env::temp_dir(), PathBuf::from("/tmp")];
    let place = places
        .iter()
        .find(|place| place.as_os_str().len() <= SOCKET_PLACE_BYTES_MAX && account.reaches(place))
        .ok_or_else(|| ClusterError::LongSocket {
            dir: places[0].clone(),
        })?;
    let io = ClusterError::io("make the folder of the socket", place);
    for _ in 0..SOCKET_TRIES_MAX {
        let dir = place.join(format!("rd-{:08x}", unlikely_number()));
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => {
                account.own(&dir)?;
                return Ok(dir);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(io(error)),
        }
    }
    Err(io(io::ErrorKind::AlreadyExists.into()))
}

/// Tells whether the folder of the socket is still there, a real folder, the account's own and
/// closed to others: anybody may have put something else into the temporary folder since.
pub(super) fn socket_stands(socket: &Path, account: Account) -> bool {
    fs::symlink_metadata(socket)
        .is_ok_and(|meta| meta.is_dir() && meta.uid() == account.uid() && meta.mode() & 0o077 == 0)
}

/// A number that another process will hardly choose too; a clash is met by trying again.
fn unlikely_number() -> u32 {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let mut hasher = DefaultHasher::new();
    (process::id(), CALLS.fetch_add(1, Ordering::Relaxed)).hash(&mut hasher);
    SystemTime::now().hash(&mut hasher);
    (hasher.finish() & 0xffff_ffff) as u32
}

/// The name of the description inside the folder.
const DESCRIPTION: &str = "server";
/// The name of the data folder inside the folder.
pub(super) const DATA: &str = "data";
/// The name of the lock file inside the folder.
pub(super) const LOCK: &str = "lock";
/// The name of the server's log inside the folder.
pub(super) const LOG: &str = "log";
const SOCKET_PORT: u16 = 5432;
const FORMAT: &str = "redress private server 1";
const APART: &str = "/var/lib/redress";
/// 107 less `/rd-01234567` and `/.s.PGSQL.12345.lock`.
const SOCKET_PLACE_BYTES_MAX: usize = 107 - 12 - 20;
const SOCKET_TRIES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Description {
        Description {
            data: "/var/a b/data".into(),
            socket: "/tmp/rd-1".into(),
            bin: "/usr/lib/postgresql/15/bin".into(),
            libraries: vec!["/x/lib".into(), "/y".into()],
            tcp_port: Some(4711),
        }
    }

    #[test]
    fn a_description_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Description::read(dir.path()).unwrap(), None);
        sample().write(dir.path()).unwrap();
        assert_eq!(Description::read(dir.path()).unwrap(), Some(sample()));
    }

    #[test]
    fn a_damaged_description_is_refused_with_its_line() {
        let text = String::from_utf8(sample().text()).unwrap();
        let check = |text: &str, line| assert_eq!(Description::parse(text), Err(line));
        check("", 1);
        check("redress private server 2\n", 1);
        check(&text.replace("bin /usr", "bin usr"), 4);
        check(&text.replace("bin ", "nib "), 4);
        check(&text.replace("socket ", "data "), 3);
        check(&text.replace("4711", "471100"), 7);
        check(&text[..text.find("bin").unwrap()], 3);
    }
}

//! The password file of libpq: `host:port:database:user:password`, the first line that fits.
//!
//! **What can go wrong:** the file can be read by others: it is passed over with a warning, as libpq does; then the
//! server's answer says that a password is missing.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use secrecy::SecretString;

/// Whose password is looked for.
pub(super) struct Wanted<'a> {
    /// The names under which the host may stand there: its own, and `localhost` for a socket.
    pub hosts: [&'a str; 2],
    pub port: u16,
    pub database: &'a str,
    pub user: &'a str,
}

/// The password of the first line that fits; `None` when there is none, or no file that may be used.
pub(super) fn look_up(path: &Path, wanted: &Wanted<'_>) -> Option<SecretString> {
    let shown = path.display();
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "no password file, {shown}");
            return None;
        }
    };
    if !found.is_file() {
        tracing::warn!("the password file is not a plain file, it is passed over, {shown}");
        return None;
    }
    if found.mode() & 0o077 != 0 {
        tracing::warn!(
            "the password file can be read by others, it is passed over: chmod 0600 {shown}"
        );
        return None;
    }
    if found.len() > FILE_BYTES_MAX {
        tracing::warn!("the password file is longer than 1 MiB, it is passed over, {shown}");
        return None;
    }
    match fs::read_to_string(path) {
        Ok(text) => text.lines().find_map(|line| password(line, wanted)),
        Err(error) => {
            tracing::warn!(%error, "the password file cannot be read, it is passed over, {shown}");
            None
        }
    }
}

/// The password of a line, if the line fits.
fn password(line: &str, wanted: &Wanted<'_>) -> Option<SecretString> {
    if line.starts_with('#') {
        return None;
    }
    let port = wanted.port.to_string();
    let mut rest = line;
    for options in [
        &wanted.hosts[..],
        &[&port],
        &[wanted.database],
        &[wanted.user],
    ] {
        let (field, wild, left) = field(rest)?;
        if !wild && !options.contains(&&*field) {
            return None;
        }
        rest = left;
    }
    let mut password = String::new();
    let mut characters = rest.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => password.extend(characters.next()),
            // As libpq: what follows a bare colon is not read.
            ':' => break,
            other => password.push(other),
        }
    }
    (!password.is_empty()).then(|| SecretString::from(password))
}

/// A field, whether it is the wildcard, and what stands behind its colon.
fn field(text: &str) -> Option<(String, bool, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            ':' => return Some((value, &text[..at] == "*", &text[at + 1..])),
            other => value.push(other),
        }
    }
    None
}

const FILE_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    fn found(text: &str, mode: u32, wanted: &Wanted<'_>) -> Option<String> {
        let dir = tempfile::TempDir::new().expect("a folder");
        let path = dir.path().join("pgpass");
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode");
        look_up(&path, wanted).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn the_first_line_that_fits_counts() {
        let check = |text: &str, password: Option<&str>| {
            let wanted = Wanted {
                hosts: ["db", "db"],
                port: 5432,
                database: "shop",
                user: "me",
            };
            assert_eq!(found(text, 0o600, &wanted).as_deref(), password, "{text}");
        };
        check("db:5432:shop:me:one\n*:*:*:*:two\n", Some("one"));
        check("other:5432:shop:me:one\n*:*:*:me:two\n", Some("two"));
        check(
            "# db:5432:shop:me:no\ndb:*:shop:*:a\\:b\\\\c\n",
            Some("a:b\\c"),
        );
        check("d\\b:5432:shop:me:one\n", Some("one"));
        check("\\*:5432:shop:me:one\n", None);
        check("db:5432:shop:you:one\n", None);
        check("db:5432:shop:me:\n*:*:*:*:two\n", Some("two"));
        check("db:5432:shop\n\n", None);
        check("db:5432:shop:me:one:rest\n", Some("one"));
        check("db:5432:shop:me:with space \r\n", Some("with space "));
    }

    #[test]
    fn a_socket_stands_there_as_localhost_or_as_its_folder() {
        let wanted = Wanted {
            hosts: ["/run/pg", "localhost"],
            port: 5432,
            database: "shop",
            user: "me",
        };
        for line in ["localhost:5432:shop:me:one\n", "/run/pg:*:*:*:one\n"] {
            assert_eq!(found(line, 0o600, &wanted).as_deref(), Some("one"));
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_passed_over() {
        let wanted = Wanted {
            hosts: ["db", "db"],
            port: 1,
            database: "d",
            user: "u",
        };
        for mode in [0o640, 0o604, 0o666, 0o610] {
            assert_eq!(found("*:*:*:*:one\n", mode, &wanted), None, "{mode:o}");
        }
        assert_eq!(
            found("*:*:*:*:one\n", 0o400, &wanted).as_deref(),
            Some("one")
        );
        assert!(look_up(Path::new("/nonexistent/pgpass"), &wanted).is_none());
        assert!(look_up(Path::new("/"), &wanted).is_none());
    }
}

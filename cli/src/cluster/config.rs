//! Writes the configuration of a private server, anew at every start.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::account::Account;
use super::error::ClusterError;
use super::folder::Description;

/// Refuses settings that could not stand on a line of their own.
pub(super) fn check(settings: &[(String, String)]) -> Result<(), ClusterError> {
    let good = |(name, value): &&(String, String)| {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
        !name.is_empty() && name.chars().all(letters) && !value.contains(['\n', '\r', '\0'])
    };
    match settings.iter().find(|setting| !good(setting)) {
        None => Ok(()),
        Some((name, _)) => Err(ClusterError::Setting {
            name: name.escape_default().to_string(),
        }),
    }
}

/// Makes the server's own configuration end with ours: the last act of making a data folder.
pub(super) fn include(data: &Path, account: Account) -> Result<(), ClusterError> {
    let path = data.join("postgresql.conf");
    let add = || -> std::io::Result<()> {
        fs::write(data.join(OURS), "")?;
        let mut file = OpenOptions::new().append(true).open(&path)?;
        file.write_all(format!("\n{INCLUDE}\n").as_bytes())?;
        file.sync_all()
    };
    add().map_err(ClusterError::io("write the server's configuration", &path))?;
    account.own(&data.join(OURS))
}

/// Tells whether a data folder was made to its end.
pub(super) fn is_whole(data: &Path) -> bool {
    fs::read_to_string(data.join("postgresql.conf")).is_ok_and(|text| text.contains(INCLUDE))
}

/// Writes settings and access rules.
pub(super) fn write(
    description: &Description,
    settings: &[(String, String)],
    account: Account,
) -> Result<(), ClusterError> {
    let mut text = String::from("# Written at every start; changes here are lost.\n");
    let mut line = |name: &str, value: &str| {
        let value = value.replace('\\', "\\\\").replace('\'', "''");
        text.push_str(&format!("{name} = '{value}'\n"));
    };
    let address = description.tcp_port.map_or("", |_| "127.0.0.1");
    line("listen_addresses", address);
    line("port", &description.port().to_string());
    line(
        "unix_socket_directories",
        &description.socket.to_string_lossy(),
    );
    line("unix_socket_permissions", "0700");
    for (name, value) in DEFAULTS {
        line(name, value);
    }
    for (name, value) in settings {
        line(name, value);
    }
    let mut access = String::from("local all all trust\nlocal replication all trust\n");
    if description.tcp_port.is_some() {
        access.push_str("host all all 127.0.0.1/32 trust\n");
    }
    for (name, text) in [(OURS, &text), ("pg_hba.conf", &access)] {
        let path = description.data.join(name);
        fs::write(&path, text)
            .map_err(ClusterError::io("write the server's configuration", &path))?;
        account.own(&path)?;
    }
    Ok(())
}

/// The file of the server's socket.
pub(super) fn socket_file(description: &Description) -> PathBuf {
    description
        .socket
        .join(format!(".s.PGSQL.{}", description.port()))
}

/// Encodes a part of a URL.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

const OURS: &str = "redress.conf";
const INCLUDE: &str = "include 'redress.conf'";

/// What differs from the server's own defaults. `jit` is off because a provisioned server may
/// lack the library; the rest keeps a server for one person small and its log readable.
const DEFAULTS: [(&str, &str); 6] = [
    ("shared_buffers", "32MB"),
    ("max_connections", "200"),
    ("jit", "off"),
    ("logging_collector", "off"),
    ("log_destination", "stderr"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_cannot_bring_a_second_line() {
        let check = |name: &str, value: &str| check(&[(name.into(), value.into())]);
        assert!(check("fsync", "off").is_ok());
        assert!(check("my.flag", "it's \\ ok").is_ok());
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a='", "x"),
            ("a", "x\ny"),
            ("a\n", ""),
        ] {
            assert_eq!(check(name, value).unwrap_err().code(), "RD0859");
        }
    }

    #[test]
    fn url_parts_are_encoded() {
        assert_eq!(percent("/tmp/rd-1 @ä"), "%2Ftmp%2Frd-1%20%40%C3%A4");
    }
}

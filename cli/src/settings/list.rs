//! Every standing setting, in one list: its key in `redress.toml`, its variable, its flag, and what it may be.
//!
//! **Invariant:** the list and the shape of the file ([`redress_adapters::file::File`]) name the same keys; a test holds
//! it both ways, and that each flag exists and names its variable.

use redress::definition::duration;
use redress::{Part, SchemaName};

use crate::args::EMPTY_URL;
use crate::telemetry::Address;

/// What a setting may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Any text.
    Text,
    /// The name of a key, or a path where it looks like one.
    Signer,
    /// A connection; its password is a secret.
    Url,
    /// A path; in a file it is relative to that file.
    Path,
    /// Paths, in a variable with `:` between them.
    Paths,
    /// A whole number.
    Number(u64, u64),
    /// Where to listen.
    Address,
    /// A length of time, at least so many milliseconds.
    Length(u64),
    /// The name of a schema.
    Schema,
    /// The name of a part's role.
    Role(Part),
    /// One of these words.
    Word(&'static [&'static str]),
}

/// One standing setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key in the file; what no file may say has its flag's name here.
    pub key: &'static str,
    /// Its variable.
    pub variable: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// The commands whose flag it is: the words of the command (none: every command), and the argument's id.
    pub flags: &'static [(&'static [&'static str], &'static str)],
    /// What is in force when nobody says anything, in words.
    pub default: &'static str,
}

/// Shortest lease: a heartbeat comes three times within it, over a network and a busy machine.
pub const LEASE_MS_MIN: u64 = 500;
/// Shortest pause between two looks for work.
pub const POLL_MS_MIN: u64 = 10;
const EVERYWHERE: &[&str] = &[];
const ARCHIVES: &[(&[&str], &str)] = &[
    (&["audit", "seal"], "archives"),
    (&["audit", "export"], "archives"),
    (&["audit", "receipt"], "archives"),
    (&["audit", "archive"], "archives"),
];
const LOG_KEY: &[(&[&str], &str)] = &[
    (&["audit", "seal"], "log_key"),
    (&["audit", "export"], "log_key"),
    (&["audit", "archive"], "log_key"),
];

const fn setting(
    key: &'static str,
    variable: &'static str,
    kind: Kind,
    flags: &'static [(&'static [&'static str], &'static str)],
    default: &'static str,
) -> Setting {
    Setting {
        key,
        variable,
        kind,
        flags,
        default,
    }
}

/// The file itself: no file can name it.
pub const CONFIG: Setting = setting(
    "config",
    "REDRESS_CONFIG",
    Kind::Path,
    &[(EVERYWHERE, "config")],
    "STATE/redress.toml, else /etc/redress/redress.toml, when it exists",
);

/// All that a file can set.
pub const SETTINGS: &[Setting] = &[
    setting(
        "database",
        "REDRESS_DATABASE_URL",
        Kind::Url,
        &[(EVERYWHERE, "database")],
        "the private server",
    ),
    setting("direct", "REDRESS_DIRECT_URL", Kind::Url, &[], "none"),
    setting(
        "migrate",
        "REDRESS_MIGRATE_URL",
        Kind::Url,
        &[],
        "as direct, else as database",
    ),
    setting(
        "schema",
        "REDRESS_SCHEMA",
        Kind::Schema,
        &[(EVERYWHERE, "schema")],
        "redress",
    ),
    setting(
        "roles.owner",
        "REDRESS_ROLES_OWNER",
        Kind::Role(Part::Owner),
        &[],
        "SCHEMA_owner",
    ),
    setting(
        "roles.engine",
        "REDRESS_ROLES_ENGINE",
        Kind::Role(Part::Engine),
        &[],
        "SCHEMA_engine",
    ),
    setting(
        "roles.operator",
        "REDRESS_ROLES_OPERATOR",
        Kind::Role(Part::Operator),
        &[],
        "SCHEMA_operator",
    ),
    setting(
        "roles.sealer",
        "REDRESS_ROLES_SEALER",
        Kind::Role(Part::Sealer),
        &[],
        "SCHEMA_sealer",
    ),
    setting(
        "roles.auditor",
        "REDRESS_ROLES_AUDITOR",
        Kind::Role(Part::Auditor),
        &[],
        "SCHEMA_auditor",
    ),
    setting(
        "state_dir",
        "REDRESS_STATE_DIR",
        Kind::Path,
        &[(EVERYWHERE, "state_dir")],
        "~/.local/state/redress",
    ),
    setting(
        "trust",
        "REDRESS_TRUST",
        Kind::Path,
        &[(EVERYWHERE, "trust")],
        "STATE/trust when it exists",
    ),
    setting(
        "as",
        "REDRESS_AS",
        Kind::Signer,
        &[(EVERYWHERE, "signer")],
        "nobody",
    ),
    setting(
        "passphrase_file",
        "REDRESS_KEY_PASSPHRASE_FILE",
        Kind::Path,
        &[(EVERYWHERE, "passphrase_file")],
        "asked for in a terminal",
    ),
    setting(
        "color",
        "REDRESS_COLOR",
        Kind::Word(&["auto", "always", "never"]),
        &[(EVERYWHERE, "color")],
        "auto",
    ),
    setting(
        "work.concurrency",
        "REDRESS_WORK_CONCURRENCY",
        Kind::Number(1, 512),
        &[(&["work"], "concurrency")],
        "4",
    ),
    setting(
        "work.lease",
        "REDRESS_WORK_LEASE",
        Kind::Length(LEASE_MS_MIN),
        &[(&["work"], "lease")],
        "10s",
    ),
    setting(
        "work.poll",
        "REDRESS_WORK_POLL",
        Kind::Length(POLL_MS_MIN),
        &[(&["work"], "poll")],
        "200ms",
    ),
    setting(
        "work.alert_command",
        "REDRESS_WORK_ALERT_COMMAND",
        Kind::Path,
        &[(&["work"], "alert_command")],
        "none",
    ),
    setting(
        "work.metrics",
        "REDRESS_WORK_METRICS",
        Kind::Address,
        &[(&["work"], "metrics")],
        "none are served",
    ),
    setting(
        "seal.metrics",
        "REDRESS_SEAL_METRICS",
        Kind::Address,
        &[(&["audit", "seal"], "metrics")],
        "none are served",
    ),
    setting(
        "seal.log_key",
        "REDRESS_SEAL_LOG_KEY",
        Kind::Path,
        LOG_KEY,
        "the one in STATE/keys",
    ),
    setting(
        "seal.anchor",
        "REDRESS_SEAL_ANCHOR",
        Kind::Path,
        &[(&["audit", "seal"], "anchor")],
        "STATE/anchor/log-gen-N",
    ),
    setting(
        "seal.publish",
        "REDRESS_SEAL_PUBLISH",
        Kind::Path,
        &[(&["audit", "seal"], "publish")],
        "STATE/log/gen-N",
    ),
    setting(
        "seal.archives",
        "REDRESS_SEAL_ARCHIVES",
        Kind::Paths,
        ARCHIVES,
        "none",
    ),
    setting(
        "seal.window_max",
        "REDRESS_SEAL_WINDOW_MAX",
        Kind::Number(0, 1 << 40),
        &[(&["audit", "window"], "max")],
        "none",
    ),
    setting(
        "rehearse.rows_max",
        "REDRESS_REHEARSE_ROWS_MAX",
        Kind::Number(0, 1 << 40),
        &[(&["rehearse"], "rows_max")],
        "1000000",
    ),
    setting(
        "rehearse.lock_ms",
        "REDRESS_REHEARSE_LOCK_MS",
        Kind::Number(1, 600_000),
        &[(&["rehearse"], "lock_ms")],
        "2000",
    ),
    setting(
        "kill.deadline",
        "REDRESS_KILL_DEADLINE",
        Kind::Length(0),
        &[(&["kill"], "deadline")],
        "10s",
    ),
    setting(
        "runbooks.dir",
        "REDRESS_RUNBOOKS_DIR",
        Kind::Path,
        &[],
        "STATE/runbooks when it exists",
    ),
    setting(
        "backup.keys",
        "REDRESS_BACKUP_KEYS",
        Kind::Path,
        &[],
        "none",
    ),
    setting(
        "backup.anchor",
        "REDRESS_BACKUP_ANCHOR",
        Kind::Path,
        &[],
        "none",
    ),
    setting(
        "backup.max_age_days",
        "REDRESS_BACKUP_MAX_AGE_DAYS",
        Kind::Number(1, 3_650),
        &[],
        "7",
    ),
    setting(
        "doctor.xid_age_max",
        "REDRESS_DOCTOR_XID_AGE_MAX",
        Kind::Number(1, 2_000_000_000),
        &[],
        "1500000000",
    ),
    setting(
        "doctor.transaction_seconds_max",
        "REDRESS_DOCTOR_TRANSACTION_SECONDS_MAX",
        Kind::Number(0, 1 << 40),
        &[],
        "3600",
    ),
    setting(
        "doctor.retained_wal_mib_max",
        "REDRESS_DOCTOR_RETAINED_WAL_MIB_MAX",
        Kind::Number(0, 1 << 40),
        &[],
        "10240",
    ),
    setting(
        "doctor.disk_free_mib_min",
        "REDRESS_DOCTOR_DISK_FREE_MIB_MIN",
        Kind::Number(0, 1 << 40),
        &[],
        "1024",
    ),
    setting(
        "doctor.clock_skew_ms_max",
        "REDRESS_DOCTOR_CLOCK_SKEW_MS_MAX",
        Kind::Number(0, 1 << 40),
        &[],
        "2000",
    ),
];

/// Sections of the file that no variable and no flag can say: what definitions may reach is written down whole.
pub const ONLY_IN_A_FILE: &[&str] = &["command", "http", "fileset", "notify"];

/// Variables that are no standing settings and are read all the same.
pub const OTHER_VARIABLES: &[&str] = &["REDRESS_PG_BIN", "REDRESS_PG_SEARCH"];

impl Kind {
    /// Judges a value's text.
    ///
    /// # Errors
    /// What it should have been.
    pub fn judge(self, text: &str) -> Result<(), String> {
        match self {
            Self::Url if text.trim().is_empty() => Err(EMPTY_URL.to_owned()),
            Self::Text | Self::Path | Self::Paths | Self::Signer if text.is_empty() => {
                Err("it is empty".to_owned())
            }
            Self::Text | Self::Url | Self::Path | Self::Paths | Self::Signer => Ok(()),
            Self::Number(from, to) => match text.parse::<u64>() {
                Ok(number) if (from..=to).contains(&number) => Ok(()),
                _ => Err(format!(
                    "a whole number from {from} to {to} is meant, not {text}"
                )),
            },
            Self::Address => text.parse::<Address>().map(drop),
            Self::Length(least) => length(text, least).map(drop),
            Self::Schema => match text.parse::<SchemaName>() {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Self::Role(part) => match SchemaName::default().with_role(part, text) {
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Self::Word(words) if words.contains(&text) => Ok(()),
            Self::Word(words) => Err(format!("it is one of {}, not {text}", words.join(", "))),
        }
    }
}

/// The milliseconds of a length of time.
///
/// # Errors
/// What it should have been.
pub fn length(text: &str, least: u64) -> Result<u64, String> {
    match duration::parse(text) {
        Some(ms) if ms >= least => Ok(ms),
        Some(_) => Err(format!("at least {least}ms is meant, not {text}")),
        None => Err(format!(
            "a length of time is a number and ms, s, m or h, such as 10s, not {text}"
        )),
    }
}

/// The setting of a key.
pub fn by_key(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use redress_adapters::file::File;
    use serde_json::Value;

    use super::*;

    /// The dotted keys of a schema's object, sections opened.
    fn keys(schema: &Value, root: &Value, above: &str, found: &mut BTreeSet<String>) {
        for (key, shape) in schema["properties"].as_object().into_iter().flatten() {
            if above.is_empty() && ONLY_IN_A_FILE.contains(&key.as_str()) {
                continue;
            }
            let name = match above {
                "" => key.clone(),
                above => format!("{above}.{key}"),
            };
            let inner = shape["$ref"]
                .as_str()
                .and_then(|link| link.rsplit('/').next());
            match inner.map(|inner| &root["$defs"][inner]) {
                Some(section) if section["properties"].is_object() => {
                    keys(section, root, &name, found);
                }
                _ => {
                    found.insert(name);
                }
            }
        }
    }

    #[test]
    fn the_list_and_the_file_name_the_same_keys() {
        let schema = File::json_schema();
        let mut of_file = BTreeSet::new();
        keys(&schema, &schema, "", &mut of_file);
        let of_list: BTreeSet<String> = SETTINGS.iter().map(|one| one.key.to_owned()).collect();
        assert_eq!(of_file, of_list);
    }

    #[test]
    fn every_flag_of_a_setting_exists_and_names_its_variable() {
        for setting in SETTINGS.iter().chain([&CONFIG]) {
            assert!(setting.variable.starts_with("REDRESS_"), "{}", setting.key);
            for (words, id) in setting.flags {
                let mut command = crate::command_line();
                for word in *words {
                    command = command.find_subcommand(word).expect(word).clone();
                }
                let mut arguments = command.get_arguments();
                let argument = arguments.find(|one| one.get_id() == *id);
                let argument = argument.unwrap_or_else(|| panic!("{words:?} has no {id}"));
                let help = argument.get_help().map(ToString::to_string);
                let help = help.unwrap_or_default();
                assert!(help.contains(setting.variable), "{words:?} {id}: {help}");
                // What is the default when nobody says anything stands in the help too, or in the parser.
                for default in argument.get_default_values() {
                    assert_eq!(default.to_str(), Some(setting.default), "{words:?} {id}");
                }
            }
        }
    }

    #[test]
    fn a_value_that_is_none_is_refused_in_words() {
        let check = |kind: Kind, good: &[&str], bad: &[&str]| {
            for text in good {
                assert_eq!(kind.judge(text), Ok(()), "{kind:?} {text}");
            }
            for text in bad {
                assert!(kind.judge(text).is_err(), "{kind:?} {text}");
            }
        };
        check(
            Kind::Number(1, 512),
            &["1", "512"],
            &["0", "513", "-1", "4.0", "", "x"],
        );
        check(
            Kind::Length(500),
            &["10s", "500ms"],
            &["10", "s", "", "1 s", "499ms", "0s"],
        );
        check(Kind::Length(0), &["0s"], &["-1s"]);
        check(Kind::Address, &["9464", "[::1]:1"], &["", "notaport"]);
        check(Kind::Url, &["postgres://h/d"], &["", "  "]);
        check(Kind::Schema, &["redress"], &["Red ress", "", "\"x"]);
        check(Kind::Word(&["auto"]), &["auto"], &["Auto", ""]);
        check(Kind::Path, &["a"], &[""]);
    }
}

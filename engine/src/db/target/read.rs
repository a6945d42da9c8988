//! Makes a target of pairs: what was given, what a service says, what the environment says, what is usual.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::super::Pooler;
use super::keys::{self, Meaning};
use super::surroundings::Surroundings;
use super::text::{self, shown_key};
use super::{Attrs, Host, Roots, SslMode, Target, TargetError, Tls};

/// Reads a connection string.
pub(super) fn target(text: &str, around: &Surroundings) -> Result<Target, TargetError> {
    let given = text::read(text)?;
    let mut values = Values::default();
    for (key, value) in given.pairs {
        values.put(key, value, "in the connection string".to_owned())?;
    }
    let named = values.take("service").or_else(|| filled(around, "service"));
    let file = values
        .take("servicefile")
        .or_else(|| filled(around, "servicefile"));
    if let Some(service) = named {
        for (key, value, place) in around.service(&service.text, file.as_ref().map(|f| &*f.text))? {
            values.put(key, value, format!("in the service file ({place})"))?;
        }
    }
    for key in keys::KEYS {
        let Some((variable, value)) = around.fill(key.name) else {
            continue;
        };
        if !matches!(key.name, "service" | "servicefile") && !values.has(key.name) {
            let place = format!("in the environment ({variable})");
            values.put(key.name.to_owned(), value.to_owned(), place)?;
        }
    }
    made(values, given.shown, around)
}

/// A value and where it stands.
#[derive(Clone)]
struct Value {
    text: String,
    place: String,
}

fn filled(around: &Surroundings, key: &str) -> Option<Value> {
    let (variable, text) = around.fill(key)?;
    Some(Value {
        text: text.to_owned(),
        place: format!("in the environment ({variable})"),
    })
}

/// What is known so far; whoever comes first counts.
#[derive(Default)]
struct Values(Vec<(String, Value)>);

impl Values {
    fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Whether a key has a value that is not empty.
    fn says(&self, key: &str) -> bool {
        let mut all = self.0.iter();
        all.any(|(name, value)| name == key && !value.text.is_empty())
    }

    /// Adds a value, if its key has none yet. As for libpq an empty one means the default and is filled by nobody.
    fn put(&mut self, key: String, text: String, place: String) -> Result<(), TargetError> {
        let Some(known) = keys::find(&key) else {
            return Err(TargetError::UnknownKey {
                near: keys::nearest(&key),
                key: shown_key(&key).to_owned(),
                place,
            });
        };
        match known.meaning {
            Meaning::Known => {}
            _ if text.is_empty() => {}
            Meaning::Only(values) if values.contains(&&*text) => return Ok(()),
            Meaning::Only(values) => {
                return Err(TargetError::Unsupported {
                    why: format!("only {} is", values.join(", ")),
                    key,
                    place,
                });
            }
            Meaning::Refused(why) => {
                let why = why.to_owned();
                return Err(TargetError::Unsupported { key, place, why });
            }
        }
        if !self.has(&key) {
            self.0.push((key, Value { text, place }));
        }
        Ok(())
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.text.is_empty())
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|value| value.text)
    }

    fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// One of several words, or the first of them.
    fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<T, TargetError> {
        let Some(value) = self.take(key) else {
            return Ok(words[0].1);
        };
        let found = words.iter().find(|(word, _)| *word == value.text);
        found.map(|(_, meaning)| *meaning).ok_or_else(|| {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            wrong(key, &value, &format!("one of {}", words.join(", ")))
        })
    }

    fn number(&mut self, key: &str) -> Result<Option<i64>, TargetError> {
        let Some(value) = self.take(key) else {
            return Ok(None);
        };
        let number = value.text.trim().parse::<i32>();
        number
            .map(|number| Some(i64::from(number)))
            .map_err(|_| wrong(key, &value, "a whole number"))
    }

    /// A time in seconds (or in what one of it lasts); nothing where it is zero or less.
    fn time(&mut self, key: &str, one: Duration) -> Result<Option<Duration>, TargetError> {
        let number = self
            .number(key)?
            .and_then(|number| u32::try_from(number).ok());
        Ok(number
            .filter(|number| *number > 0)
            .map(|number| one * number))
    }
}

fn wrong(key: &str, value: &Value, wanted: &str) -> TargetError {
    let mut shown: String = value.text.chars().take(VALUE_CHARS_MAX).collect();
    shown = shown.escape_debug().to_string();
    TargetError::Value {
        key: key.to_owned(),
        place: value.place.clone(),
        problem: format!("`{shown}` is not {wanted}"),
    }
}

fn made(mut values: Values, shown: String, around: &Surroundings) -> Result<Target, TargetError> {
    let hosts = hosts(&mut values)?;
    let user = match values.text("user") {
        Some(user) => user,
        None => whoami::username().map_err(|error| {
            TargetError::Conflict(format!(
                "no user is given and the account has no name: {error}"
            ))
        })?,
    };
    let database = values.text("dbname").unwrap_or_else(|| user.clone());
    let tls = tls(&mut values, around, &hosts)?;
    let pooler = values.word(
        "pooler",
        &[("none", Pooler::None), ("transaction", Pooler::Transaction)],
    )?;
    let mut base = base(&mut values, &tls)?;
    base.user(&user).dbname(&database);
    if pooler == Pooler::Transaction && base.get_options().is_some() {
        return Err(TargetError::Conflict(
            "`options` and `pooler=transaction` do not go together: a pooler does not pass them on, or gives them to \
             others too; set what is needed for the role or the database"
                .to_owned(),
        ));
    }
    let attrs = values.word(
        "target_session_attrs",
        &[
            ("any", Attrs::Any),
            ("read-write", Attrs::ReadWrite),
            ("read-only", Attrs::ReadOnly),
            ("primary", Attrs::Primary),
            ("standby", Attrs::Standby),
            ("prefer-standby", Attrs::PreferStandby),
        ],
    )?;
    let shuffled = values.word(
        "load_balance_hosts",
        &[("disable", false), ("random", true)],
    )?;
    let waits = values.says("connect_timeout");
    let limit = values.time("connect_timeout", Duration::from_secs(1))?;
    let passfile = values.path("passfile");
    Ok(Target {
        shown,
        base,
        hosts,
        user,
        database,
        password: values.text("password").map(SecretString::from),
        passfile: passfile.or_else(|| around.at_home(".pgpass")),
        tls,
        attrs,
        shuffled,
        limit: if waits { limit } else { Some(CONNECT_LIMIT) },
        pooler,
    })
}

fn base(values: &mut Values, tls: &Tls) -> Result<Config, TargetError> {
    let mut base = Config::new();
    let fallback = values.text("fallback_application_name");
    let name = values.text("application_name").or(fallback);
    base.application_name(name.as_deref().unwrap_or("redress"));
    if let Some(options) = values.text("options") {
        base.options(&options);
    }
    base.channel_binding(values.word(
        "channel_binding",
        &[
            ("prefer", ChannelBinding::Prefer),
            ("disable", ChannelBinding::Disable),
            ("require", ChannelBinding::Require),
        ],
    )?);
    if tls.direct {
        base.ssl_negotiation(SslNegotiation::Direct);
    }
    base.keepalives(values.number("keepalives")? != Some(0));
    let second = Duration::from_secs(1);
    if let Some(idle) = values.time("keepalives_idle", second)? {
        base.keepalives_idle(idle);
    }
    if let Some(interval) = values.time("keepalives_interval", second)? {
        base.keepalives_interval(interval);
    }
    if let Some(count) = values.number("keepalives_count")?.filter(|n| *n > 0) {
        base.keepalives_retries(count as u32);
    }
    if let Some(limit) = values.time("tcp_user_timeout", Duration::from_millis(1))? {
        base.tcp_user_timeout(limit);
    }
    Ok(base)
}

fn hosts(values: &mut Values) -> Result<Vec<Host>, TargetError> {
    let (names, addresses) = (values.take("host"), values.take("hostaddr"));
    let ports = values.take("port");
    let list = |value: &Option<Value>| -> Vec<String> {
        let text = value.as_ref().map(|value| value.text.split(','));
        text.into_iter()
            .flatten()
            .map(|one| one.trim().to_owned())
            .collect()
    };
    let (names, addresses, numbers) = (list(&names), list(&addresses), list(&ports));
    let count = names.len().max(addresses.len()).max(1);
    let fits = |length: usize| length == 0 || length == count;
    if !fits(names.len()) || !fits(addresses.len()) || !(fits(numbers.len()) || numbers.len() == 1)
    {
        return Err(TargetError::Conflict(format!(
            "{} hosts, {} addresses and {} ports do not go together: one of each for each host, or one port for all",
            names.len(),
            addresses.len(),
            numbers.len()
        )));
    }
    if count > HOSTS_MAX {
        return Err(TargetError::Conflict(format!(
            "{count} hosts are more than {HOSTS_MAX}"
        )));
    }
    (0..count)
        .map(|at| {
            let number = numbers
                .get(at)
                .or(numbers.first().filter(|_| numbers.len() == 1));
            let port = match (number.filter(|text| !text.is_empty()), &ports) {
                (Some(text), Some(value)) => text
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(|| wrong("port", value, "a port (1 to 65535)"))?,
                _ => PORT,
            };
            let name = names.get(at).filter(|name| !name.is_empty());
            let address = addresses.get(at).filter(|address| !address.is_empty());
            host(name, address, port)
        })
        .collect()
}

fn host(name: Option<&String>, address: Option<&String>, port: u16) -> Result<Host, TargetError> {
    let address = address.map(|text| {
        text.parse::<IpAddr>().map_err(|_| {
            let text = text.escape_debug();
            TargetError::Conflict(format!("`hostaddr`: `{text}` is not an address"))
        })
    });
    let address = address.transpose()?;
    if name.is_some_and(|name| name.starts_with('@')) {
        return Err(TargetError::Unsupported {
            key: "host".to_owned(),
            place: "that begins with @".to_owned(),
            why: "abstract sockets are not reached".to_owned(),
        });
    }
    let name = match (name, &address) {
        (Some(name), _) => name.clone(),
        (None, Some(address)) => address.to_string(),
        (None, None) => usual_socket(port),
    };
    Ok(Host {
        name,
        address,
        port,
    })
}

/// The folder where libpq looks: Debian's, else the one of PostgreSQL itself.
fn usual_socket(port: u16) -> String {
    let socket = format!(".s.PGSQL.{port}");
    let has = |folder: &&&str| Path::new(folder).join(&socket).exists();
    let folder = SOCKET_FOLDERS
        .iter()
        .find(has)
        .unwrap_or(&SOCKET_FOLDERS[0]);
    (*folder).to_owned()
}

fn tls(values: &mut Values, around: &Surroundings, hosts: &[Host]) -> Result<Tls, TargetError> {
    let root = values.take("sslrootcert");
    let system = root.as_ref().is_some_and(|root| root.text == "system");
    let modes = [
        ("prefer", SslMode::Prefer),
        ("disable", SslMode::Disable),
        ("allow", SslMode::Allow),
        ("require", SslMode::Require),
        ("verify-ca", SslMode::VerifyCa),
        ("verify-full", SslMode::VerifyFull),
    ];
    let said = values.says("sslmode");
    let mut mode = values.word("sslmode", &modes)?;
    let network = hosts.iter().any(|host| !host.is_socket());
    if system {
        if said && mode != SslMode::VerifyFull && network {
            return Err(TargetError::Conflict(
                "`sslrootcert=system` needs `sslmode=verify-full`: anybody can have a certificate of a public authority"
                    .to_owned(),
            ));
        }
        mode = SslMode::VerifyFull;
    }
    let roots = match root {
        _ if system => Roots::System,
        Some(root) => Roots::File {
            path: PathBuf::from(root.text),
            named: true,
        },
        None => match around.at_home(".postgresql/root.crt") {
            Some(path) => Roots::File { path, named: false },
            None => Roots::None,
        },
    };
    let (oldest, newest) = (
        values.word("ssl_min_protocol_version", &VERSIONS)?,
        values.word("ssl_max_protocol_version", &VERSIONS_BACK)?,
    );
    let (oldest, newest) = (oldest.max(OLDEST), newest);
    if newest < oldest {
        return Err(TargetError::Conflict(
            "no TLS version is left: 1.2 and 1.3 are spoken".to_owned(),
        ));
    }
    let direct = values.word("sslnegotiation", &[("postgres", false), ("direct", true)])?;
    if direct && mode < SslMode::Require && network {
        return Err(TargetError::Conflict(
            "`sslnegotiation=direct` needs `sslmode=require` or more".to_owned(),
        ));
    }
    if cfg!(not(feature = "tls")) && mode >= SslMode::Require && network {
        return Err(TargetError::Conflict(
            "this program was built without TLS (feature `tls`): `sslmode` can be disable, allow or prefer".to_owned(),
        ));
    }
    Ok(Tls {
        mode,
        roots,
        client: client(values, around)?,
        sni: values.word("sslsni", &[("1", true), ("0", false)])?,
        versions: (oldest, newest),
        direct,
    })
}

/// The client's certificate and key: those that were named, else the usual ones if they are there.
fn client(
    values: &mut Values,
    around: &Surroundings,
) -> Result<Option<(PathBuf, PathBuf)>, TargetError> {
    let (certificate, key) = (values.path("sslcert"), values.path("sslkey"));
    let wanted = values.word("sslcertmode", &[("allow", true), ("disable", false)])?;
    let usual = |name: &str| around.at_home(&format!(".postgresql/{name}"));
    let named = certificate.is_some();
    let certificate = certificate.or_else(|| usual("postgresql.crt").filter(|path| path.exists()));
    let key = key.or_else(|| usual("postgresql.key"));
    match (certificate, key) {
        _ if !wanted => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
        (Some(_), None) if named => Err(TargetError::Conflict(
            "`sslcert` needs `sslkey`: there is no home folder to look into".to_owned(),
        )),
        _ => Ok(None),
    }
}

/// Time for each address, when nobody says.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;
/// Most hosts of a connection string.
const HOSTS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 60;
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
const OLDEST: u8 = 2;
const VERSIONS: [(&str, u8); 4] = [("TLSv1.2", 2), ("TLSv1", 0), ("TLSv1.1", 1), ("TLSv1.3", 3)];
const VERSIONS_BACK: [(&str, u8); 4] =
    [("TLSv1.3", 3), ("TLSv1.2", 2), ("TLSv1.1", 1), ("TLSv1", 0)];

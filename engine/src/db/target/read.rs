//! Makes a target of pairs: what was given, what a service says, what the environment says, what is usual.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, SslNegotiation};

use super::super::Pooler;
use super::keys::{self, Meaning};
use super::secure;
use super::surroundings::Surroundings;
use super::text::{self, shown_key};
use super::{Attrs, Host, Target, TargetError, Tls};

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
pub(super) struct Value {
    pub text: String,
    pub place: String,
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
pub(super) struct Values(Vec<(String, Value)>);

impl Values {
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(name, _)| name == key)
    }

    /// Whether a key has a value that is not empty.
    pub fn says(&self, key: &str) -> bool {
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

    pub fn take(&mut self, key: &str) -> Option<Value> {
        let at = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.swap_remove(at).1).filter(|value| !value.text.is_empty())
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take(key).map(|value| value.text)
    }

    pub fn path(&mut self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// One of several words, or the first of them.
    pub fn word<T: Copy>(&mut self, key: &str, words: &[(&str, T)]) -> Result<T, TargetError> {
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
    let tls = secure::tls(&mut values, around, &hosts)?;
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

/// Time for each address, when nobody says.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 5432;
/// Most hosts of a connection string.
const HOSTS_MAX: usize = 64;
const VALUE_CHARS_MAX: usize = 60;
const SOCKET_FOLDERS: [&str; 2] = ["/var/run/postgresql", "/tmp"];
#[cfg(test)]
mod tests {
    use super::super::SslMode;
    use super::*;

    /// A target with these variables around it, and no home.
    fn around(text: &str, variables: &[(&str, &str)]) -> Result<Target, TargetError> {
        let read = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        target(text, &Surroundings::of(read))
    }

    #[test]
    fn what_is_given_wins_over_the_environment_and_gaps_are_filled() {
        let variables = [
            ("PGHOST", "far"),
            ("PGPORT", "7"),
            ("PGUSER", "them"),
            ("PGDATABASE", "theirs"),
            ("PGSSLMODE", "require"),
            ("PGCONNECT_TIMEOUT", "3"),
        ];
        let all = around("postgres://", &variables).expect("filled");
        assert_eq!(all.hosts(), ["far:7"]);
        assert_eq!((all.user(), all.database()), ("them", "theirs"));
        assert_eq!(all.ssl_mode(), SslMode::Require);
        assert_eq!(all.limit, Some(Duration::from_secs(3)));
        let text = "postgres://me@near:8/mine?sslmode=disable&connect_timeout=0";
        let none = around(text, &variables).expect("given");
        assert_eq!(none.hosts(), ["near:8"]);
        assert_eq!((none.user(), none.database()), ("me", "mine"));
        assert_eq!((none.ssl_mode(), none.limit), (SslMode::Disable, None));
        let empty = around("user=me host=h sslmode=''", &variables).expect("given");
        assert_eq!(
            (empty.ssl_mode(), empty.database()),
            (SslMode::Prefer, "theirs")
        );
        let alone = Target::alone("postgres://me@h").expect("alone");
        assert_eq!((alone.database(), alone.limit), ("me", Some(CONNECT_LIMIT)));
        assert_eq!(alone.base.get_application_name(), Some("redress"));
    }

    #[test]
    fn hosts_addresses_and_ports_belong_together() {
        let check = |text: &str, wanted: &[&str]| {
            let found = Target::alone(&format!("{text} user=me")).expect(text);
            assert_eq!(found.hosts(), wanted, "{text}");
        };
        check("host=a,b,c port=1,,3", &["a:1", "b:5432", "c:3"]);
        check("host=a,b port=9", &["a:9", "b:9"]);
        check("host=::1 port=9", &["[::1]:9"]);
        check("hostaddr=127.0.0.1", &["127.0.0.1:5432"]);
        check("host=a,b hostaddr=127.0.0.1,::1", &["a:5432", "b:5432"]);
        check("host=/run/x", &["/run/x:5432"]);
        for wrong in [
            "host=a,b port=1,2,3",
            "host=a hostaddr=127.0.0.1,127.0.0.2",
            "host=a port=0",
            "host=a port=65536",
            "host=a port=x",
            "hostaddr=here",
            "host=@hidden",
        ] {
            let error = Target::alone(&format!("{wrong} user=me")).expect_err(wrong);
            assert_eq!(error.code(), "RD0810", "{wrong}: {error}");
        }
        let many = vec!["h"; HOSTS_MAX + 1].join(",");
        assert!(Target::alone(&format!("host={many} user=me")).is_err());
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused() {
        let check = |text: &str, part: &str| {
            let error = Target::alone(&format!("host=h user=me {text}")).expect_err(text);
            assert_eq!(error.class(), redress_ledger::Class::Refused);
            assert!(error.to_string().contains(part), "{text}: {error}");
        };
        check("sslrootcert=system sslmode=require", "verify-full");
        check("sslnegotiation=direct", "sslmode=require");
        check("pooler=transaction options='-c a=b'", "pooler");
        check(
            "ssl_min_protocol_version=TLSv1.3 ssl_max_protocol_version=TLSv1.2",
            "TLS version",
        );
        check("gssencmode=require", "disable, prefer");
        check("sslcrl=/x", "revoked");
        check("sslmode=Require", "verify-full");
        check("colour=blue", "`colour`");
        check("target_session_attr=any", "`target_session_attrs`");
        let full = Target::alone("host=h user=me sslrootcert=system").expect("a target");
        assert_eq!(full.ssl_mode(), SslMode::VerifyFull);
        let pooled = Target::alone("postgres://me@h/x?pooler=transaction").expect("a target");
        assert_eq!(pooled.pooler(), Pooler::Transaction);
        let (given, refused) = (&[("PGSSLCRL", "/x")], &[("PGGSSENCMODE", "require")]);
        for variables in [given, refused] {
            let error = around("host=h user=me", variables).expect_err("refused");
            assert!(
                error.to_string().contains("in the environment (PG"),
                "{error}"
            );
        }
    }
}

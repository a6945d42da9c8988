//! Reads a connection string, a URL or `key=value`, into pairs; knows nothing of what they mean.
//!
//! **Invariant:** no error repeats what could be part of a password: a `/` or `@` that was not written `%2F` or
//! `%40` moves the password into the host, the port or the path.

use super::TargetError;

/// A connection string as pairs, in the order in which they stand.
#[derive(Debug)]
pub(super) struct Given {
    pub pairs: Vec<(String, String)>,
    /// The text with passwords masked.
    pub shown: String,
}

/// Reads a connection string.
pub(super) fn read(text: &str) -> Result<Given, TargetError> {
    let text = text.trim();
    if text.len() > TEXT_BYTES_MAX {
        return Err(syntax("it is longer than 16 KiB"));
    }
    if text.contains('\0') {
        return Err(syntax("it holds a zero byte"));
    }
    let given = if let Some(scheme) = SCHEMES.iter().find(|scheme| text.starts_with(**scheme)) {
        Url::read(scheme, &text[scheme.len()..])?
    } else if text.contains("://") && !text.split("://").next().is_some_and(|s| s.contains('=')) {
        return Err(syntax(
            "a URL begins with postgres:// or postgresql://; the other form is `host=... dbname=...`",
        ));
    } else {
        words(text)?
    };
    for (at, (key, _)) in given.pairs.iter().enumerate() {
        if given.pairs[..at].iter().any(|(before, _)| before == key) {
            return Err(syntax(&format!("`{}` is given twice", shown_key(key))));
        }
    }
    Ok(given)
}

/// A key as an error may show it: a word that cannot be one may be the rest of a password.
pub(super) fn shown_key(key: &str) -> &str {
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_uppercase() || c == '_';
    if key.len() <= KEY_BYTES_MAX && !key.is_empty() && key.chars().all(is_name) {
        key
    } else {
        "(not a name)"
    }
}

struct Url {
    given: Given,
}

impl Url {
    fn read(scheme: &str, rest: &str) -> Result<Given, TargetError> {
        let mut url = Self {
            given: Given {
                pairs: Vec::new(),
                shown: scheme.to_owned(),
            },
        };
        // As libpq: a question mark before the first @ belongs to the login.
        let rest = match login_end(rest) {
            Some(at) => {
                url.login(&rest[..at])?;
                &rest[at + 1..]
            }
            None => rest,
        };
        let (authority, query) = match rest.split_once('?') {
            Some((authority, query)) => (authority, Some(query)),
            None => (rest, None),
        };
        let (hosts, database) = match authority.split_once('/') {
            Some((hosts, database)) => (hosts, Some(database)),
            None => (authority, None),
        };
        if authority.contains('@') {
            return Err(syntax(MISPLACED));
        }
        url.hosts(hosts)?;
        if let Some(database) = database {
            url.given.shown.push('/');
            url.given.shown.push_str(database);
            url.put("dbname", &decoded(database, "the database's name")?);
        }
        if let Some(query) = query {
            url.query(query)?;
        }
        Ok(url.given)
    }

    fn put(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.given.pairs.push((key.to_owned(), value.to_owned()));
        }
    }

    fn login(&mut self, login: &str) -> Result<(), TargetError> {
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        self.given.shown.push_str(user);
        self.put("user", &decoded(user, "the user")?);
        if let Some(password) = password {
            self.given.shown.push_str(":***");
            self.put("password", &decoded(password, "the password")?);
        }
        self.given.shown.push('@');
        Ok(())
    }

    fn hosts(&mut self, hosts: &str) -> Result<(), TargetError> {
        self.given.shown.push_str(hosts);
        let (mut names, mut ports) = (Vec::new(), Vec::new());
        for host in hosts.split(',') {
            let (name, port) = split_port(host)?;
            names.push(decoded(name, "a host")?);
            ports.push(decoded(port, "a port")?);
        }
        if ports.iter().any(|p| p.bytes().any(|b| !b.is_ascii_digit())) {
            return Err(syntax(&format!("a port is not a number ({MISPLACED})")));
        }
        self.put("host", &names.join(","));
        self.put("port", &ports.join(","));
        Ok(())
    }

    fn query(&mut self, query: &str) -> Result<(), TargetError> {
        self.given.shown.push('?');
        for (at, pair) in query.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            let Some((key, value)) = pair.split_once('=') else {
                let place = at + 1;
                return Err(syntax(&format!("parameter {place} has no `=`")));
            };
            let key = decoded(key, "a key")?;
            let value = decoded(value, shown_key(&key))?;
            if at > 0 {
                self.given.shown.push('&');
            }
            if is_secret(&key) {
                self.given.shown.push_str(&format!("{key}=***"));
            } else {
                self.given.shown.push_str(pair);
            }
            // As libpq reads the URIs of JDBC.
            if key == "ssl" && value == "true" {
                self.put("sslmode", "require");
            } else {
                self.given.pairs.push((key, value));
            }
        }
        Ok(())
    }
}

/// Where user and password end, as libpq finds it.
fn login_end(text: &str) -> Option<usize> {
    let at = text.find(['@', '/'])?;
    text[at..].starts_with('@').then_some(at)
}

fn split_port(host: &str) -> Result<(&str, &str), TargetError> {
    if let Some(inner) = host.strip_prefix('[') {
        let Some((address, rest)) = inner.split_once(']') else {
            return Err(syntax("an IPv6 address has no closing bracket"));
        };
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if rest.is_empty() => Ok((address, "")),
            None => Err(syntax(
                "behind an IPv6 address stands neither a port nor the end",
            )),
        };
    }
    Ok(host.split_once(':').unwrap_or((host, "")))
}

/// `%41` is `A`; anything else behind a percent sign is an error.
fn decoded(text: &str, what: &str) -> Result<String, TargetError> {
    let broken = || {
        syntax(&format!(
            "{what}: a percent sign is followed by two hexadecimal digits (a percent sign itself is %25)"
        ))
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, tail @ ..] = tail else {
            return Err(broken());
        };
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(high), digit(low)) else {
            return Err(broken());
        };
        bytes.push((high * 16 + low) as u8);
        rest = tail;
    }
    if bytes.contains(&0) {
        return Err(syntax(&format!("{what}: %00 is not allowed")));
    }
    String::from_utf8(bytes).map_err(|_| syntax(&format!("{what} is not UTF-8")))
}

/// `key = value` pairs; a value with spaces stands in single quotes, a backslash takes the next character as it is.
fn words(text: &str) -> Result<Given, TargetError> {
    let mut given = Given {
        pairs: Vec::new(),
        shown: String::new(),
    };
    let mut rest = text;
    while !rest.is_empty() {
        let number = given.pairs.len() + 1;
        let end = rest.find(|c: char| c == '=' || c.is_whitespace());
        let key = &rest[..end.unwrap_or(rest.len())];
        let behind = rest[key.len()..].trim_start();
        let Some(behind) = behind.strip_prefix('=') else {
            return Err(syntax(&format!(
                "word {number} has no `=`: a value with spaces stands in single quotes"
            )));
        };
        let behind = behind.trim_start();
        let (value, left) = value(behind, number)?;
        if number > 1 {
            given.shown.push(' ');
        }
        let raw = &behind[..behind.len() - left.len()];
        given.shown.push_str(&if is_secret(key) {
            format!("{key}=***")
        } else {
            format!("{key}={raw}")
        });
        given.pairs.push((key.to_owned(), value));
        rest = left.trim_start();
    }
    Ok(given)
}

/// A value and what stands behind it.
fn value(text: &str, number: usize) -> Result<(String, &str), TargetError> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut characters = text.char_indices().skip(usize::from(quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, next)| next)),
            '\'' if quoted => return Ok((value, &text[at + 1..])),
            c if c.is_whitespace() && !quoted => return Ok((value, &text[at..])),
            other => value.push(other),
        }
    }
    if quoted {
        return Err(syntax(&format!("the quotes of pair {number} do not close")));
    }
    Ok((value, ""))
}

/// Whether a key's value may never be shown, known or not.
fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.contains("pass") && key != "passfile" || key.contains("secret") || key.ends_with("_key")
}

fn syntax(text: &str) -> TargetError {
    TargetError::Syntax(text.to_owned())
}

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
const TEXT_BYTES_MAX: usize = 16 * 1024;
const KEY_BYTES_MAX: usize = 40;
const MISPLACED: &str = "in a user or a password, @ is written %40, / is %2F and : is %3A";

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        read(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .pairs
    }

    #[test]
    fn both_forms_are_read() {
        let check = |text: &str, wanted: &[(&str, &str)]| {
            let found = pairs(text);
            let found: Vec<(&str, &str)> = found.iter().map(|(k, v)| (&**k, &**v)).collect();
            assert_eq!(found, wanted, "{text}");
        };
        check("postgres://", &[]);
        check("postgresql:///shop", &[("dbname", "shop")]);
        check(
            "postgres://me:p%40ss@db.example:6432/shop?sslmode=require",
            &[
                ("user", "me"),
                ("password", "p@ss"),
                ("host", "db.example"),
                ("port", "6432"),
                ("dbname", "shop"),
                ("sslmode", "require"),
            ],
        );
        check(
            "postgres://a,b:2,[::1]:3/x",
            &[("host", "a,b,::1"), ("port", ",2,3"), ("dbname", "x")],
        );
        check(
            "postgres://%2Frun%2Fpg/x",
            &[("host", "/run/pg"), ("dbname", "x")],
        );
        check(
            "postgres://me:wh?y@h/x?port=5",
            &[
                ("user", "me"),
                ("password", "wh?y"),
                ("host", "h"),
                ("dbname", "x"),
                ("port", "5"),
            ],
        );
        check(
            "postgres://h?ssl=true",
            &[("host", "h"), ("sslmode", "require")],
        );
        check(
            r"host = db  user=me password='it\'s \\ so' dbname=a\ b options=''",
            &[
                ("host", "db"),
                ("user", "me"),
                ("password", r"it's \ so"),
                ("dbname", "a b"),
                ("options", ""),
            ],
        );
        check("", &[]);
    }

    #[test]
    fn what_is_wrong_is_told_without_what_could_be_a_password() {
        let check = |text: &str, part: &str| {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
            assert!(!error.contains("hush"), "{text}: {error}");
        };
        check("mysql://me:hush@h/x", "postgres://");
        check("nonsense://", "postgres://");
        check("postgres://me:a@hush@h/x", "%40");
        check("postgres://me:hush/y@h/x", "%2F");
        check("postgres://me:%zzhush@h/x", "%25");
        check("postgres://me:%00hush@h/x", "%00");
        check("postgres://[::1/x", "bracket");
        check("postgres://h/x?hush", "parameter 1");
        check("postgres://h/x?host=g&host=i", "twice");
        check("host=h password=my hush", "single quotes");
        check("password='hush", "do not close");
        check(&format!("dbname={}", "x".repeat(20_000)), "16 KiB");
    }

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        let check = |text: &str, shown: &str| assert_eq!(read(text).expect(text).shown, shown);
        check(
            "postgres://me:hush@db:5432/x?sslmode=require",
            "postgres://me:***@db:5432/x?sslmode=require",
        );
        check(
            "postgres://db/x?password=hush&port=1",
            "postgres://db/x?password=***&port=1",
        );
        check(
            "postgres://db/x?pass%77ord=hush",
            "postgres://db/x?password=***",
        );
        check(
            "host=db password='hu sh' user=me",
            "host=db password=*** user=me",
        );
        check("host=db password = hush", "host=db password=***");
        check("postgres://me@%2Ftmp/x", "postgres://me@%2Ftmp/x");
        check("postgres://db/x?passfile=/p", "postgres://db/x?passfile=/p");
    }
}

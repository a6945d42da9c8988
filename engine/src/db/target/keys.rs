//! The keys of a connection string: which are known, which are refused and why.
//!
//! **Invariant:** every key that libpq knows stands here. One that would be left out in silence could be the one
//! that somebody relies on.

/// What is done with a key.
pub(super) enum Meaning {
    /// It is understood.
    Known,
    /// Only these values are taken: what we do anyway.
    Only(&'static [&'static str]),
    /// It is refused; why.
    Refused(&'static str),
}

/// One key.
pub(super) struct Key {
    pub name: &'static str,
    /// The variable that fills the gap, where libpq has one and it matters here.
    pub variable: Option<&'static str>,
    pub meaning: Meaning,
}

/// The key of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The known key that is nearest to one that is not known, if any is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let known = KEYS
        .iter()
        .filter(|key| !matches!(key.meaning, Meaning::Refused(_)));
    let (distance, near) = known
        .map(|key| (strsim::osa_distance(name, key.name), key.name))
        .min()?;
    (distance <= near.len().div_ceil(3)).then_some(near)
}

const fn known(name: &'static str, variable: &'static str) -> Key {
    Key {
        name,
        variable: Some(variable),
        meaning: Meaning::Known,
    }
}

const fn plain(name: &'static str) -> Key {
    Key {
        name,
        variable: None,
        meaning: Meaning::Known,
    }
}

const fn only(name: &'static str, values: &'static [&'static str]) -> Key {
    Key {
        name,
        variable: None,
        meaning: Meaning::Only(values),
    }
}

const fn refused(name: &'static str, variable: Option<&'static str>, why: &'static str) -> Key {
    Key {
        name,
        variable,
        meaning: Meaning::Refused(why),
    }
}

/// Longest name for which a suggestion is looked for.
const NAME_BYTES_MAX: usize = 64;
const NO_CRL: &str = "lists of revoked certificates are not read";
const NO_GSS: &str = "GSSAPI is not supported";
const NO_OAUTH: &str = "OAuth is not supported";
const NO_KEYS: &str = "SCRAM keys in place of a password are not supported";

/// Every key, those of libpq 18 and ours.
pub(super) const KEYS: &[Key] = &[
    known("host", "PGHOST"),
    known("hostaddr", "PGHOSTADDR"),
    known("port", "PGPORT"),
    known("dbname", "PGDATABASE"),
    known("user", "PGUSER"),
    known("password", "PGPASSWORD"),
    known("passfile", "PGPASSFILE"),
    known("service", "PGSERVICE"),
    known("servicefile", "PGSERVICEFILE"),
    known("connect_timeout", "PGCONNECT_TIMEOUT"),
    known("options", "PGOPTIONS"),
    known("application_name", "PGAPPNAME"),
    plain("fallback_application_name"),
    plain("keepalives"),
    plain("keepalives_idle"),
    plain("keepalives_interval"),
    plain("keepalives_count"),
    plain("tcp_user_timeout"),
    known("sslmode", "PGSSLMODE"),
    known("sslnegotiation", "PGSSLNEGOTIATION"),
    known("sslrootcert", "PGSSLROOTCERT"),
    known("sslcert", "PGSSLCERT"),
    known("sslkey", "PGSSLKEY"),
    known("sslcertmode", "PGSSLCERTMODE"),
    known("sslsni", "PGSSLSNI"),
    known("ssl_min_protocol_version", "PGSSLMINPROTOCOLVERSION"),
    known("ssl_max_protocol_version", "PGSSLMAXPROTOCOLVERSION"),
    known("channel_binding", "PGCHANNELBINDING"),
    known("target_session_attrs", "PGTARGETSESSIONATTRS"),
    known("load_balance_hosts", "PGLOADBALANCEHOSTS"),
    plain("pooler"),
    only(
        "client_encoding",
        &["UTF8", "utf8", "UTF-8", "utf-8", "auto"],
    ),
    only("sslcompression", &["0"]),
    only("replication", &["false", "off", "no", "0"]),
    only("min_protocol_version", &["3.0"]),
    only("max_protocol_version", &["3.0", "3.2", "latest"]),
    Key {
        name: "gssencmode",
        variable: Some("PGGSSENCMODE"),
        meaning: Meaning::Only(&["disable", "prefer"]),
    },
    refused("sslcrl", Some("PGSSLCRL"), NO_CRL),
    refused("sslcrldir", Some("PGSSLCRLDIR"), NO_CRL),
    refused(
        "sslpassword",
        None,
        "an encrypted client key is not supported: keep the key in a file of mode 0600",
    ),
    refused(
        "sslkeylogfile",
        None,
        "the keys of a connection are not written out",
    ),
    refused(
        "requirepeer",
        Some("PGREQUIREPEER"),
        "the account of the server's process is not checked",
    ),
    refused(
        "require_auth",
        Some("PGREQUIREAUTH"),
        "the way of logging in is not checked; channel_binding=require excludes the weak ones",
    ),
    refused("requiressl", None, "write sslmode=require"),
    refused("krbsrvname", None, NO_GSS),
    refused("gsslib", None, NO_GSS),
    refused("gssdelegation", None, NO_GSS),
    refused("oauth_issuer", None, NO_OAUTH),
    refused("oauth_client_id", None, NO_OAUTH),
    refused("oauth_client_secret", None, NO_OAUTH),
    refused("oauth_scope", None, NO_OAUTH),
    refused("scram_client_key", None, NO_KEYS),
    refused("scram_server_key", None, NO_KEYS),
    refused("authtype", None, "it has no meaning any more"),
    refused("tty", None, "it has no meaning any more"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_suggested_and_nothing_that_is_refused() {
        let check = |name: &str, near: Option<&str>| assert_eq!(nearest(name), near, "{name}");
        check("ssl_mode", Some("sslmode"));
        check("sslrootcrt", Some("sslrootcert"));
        check("keepalive_count", Some("keepalives_count"));
        check("favourite_colour", None);
        check("poolr", Some("pooler"));
        check(&"x".repeat(1000), None);
    }

    #[test]
    fn no_key_stands_twice() {
        for key in KEYS {
            assert_eq!(KEYS.iter().filter(|k| k.name == key.name).count(), 1);
        }
    }
}

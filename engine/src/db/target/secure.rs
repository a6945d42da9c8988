//! What a connection string asks of TLS, judged before any file is read.
//!
//! **Invariant:** what goes together in libpq goes together here: `system` only with `verify-full`, `direct` only where TLS is
//! demanded.

use std::path::PathBuf;

use super::read::Values;
use super::surroundings::Surroundings;
use super::{Host, Roots, SslMode, TargetError, Tls};

/// Takes what belongs to TLS.
pub(super) fn tls(
    values: &mut Values,
    around: &Surroundings,
    hosts: &[Host],
) -> Result<Tls, TargetError> {
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

const OLDEST: u8 = 2;
const VERSIONS: [(&str, u8); 4] = [("TLSv1.2", 2), ("TLSv1", 0), ("TLSv1.1", 1), ("TLSv1.3", 3)];
const VERSIONS_BACK: [(&str, u8); 4] =
    [("TLSv1.3", 3), ("TLSv1.2", 2), ("TLSv1.1", 1), ("TLSv1", 0)];

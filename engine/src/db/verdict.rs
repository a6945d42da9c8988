//! What the failure of a connection means: the driver's error, read down to the certificate or the server's word.
//!
//! **What can go wrong:** the server speaks another language than English: a missing client certificate is then told as
//! a refused login.

use super::Reason;

/// Only a pooler refuses settings that come with the login.
const POOLER_HINT: &str = "; a pooler stands between: say pooler=transaction in the connection string, or, where it keeps \
                           sessions, `ignore_startup_parameters = options` in its configuration (docs/poolers.md)";

/// What a failed login means.
pub(super) fn judge(error: &tokio_postgres::Error) -> (Reason, String) {
    if let Some(said) = error.as_db_error() {
        let mut text = format!("{} [{}]", said.message(), said.code().code());
        if said.message().contains("startup parameter") {
            text.push_str(POOLER_HINT);
        }
        let reason = match said.code().code() {
            "28000" if said.message().contains("certificate") => Reason::OwnCertificate,
            "28000" | "28P01" | "3D000" | "42501" => Reason::Login,
            _ => Reason::Away,
        };
        return (reason, text);
    }
    let source = std::error::Error::source(error);
    #[cfg(feature = "tls")]
    if let Some(found) = source.and_then(handshake) {
        return found;
    }
    let Some(source) = source else {
        return (Reason::Away, error.to_string());
    };
    let (what, why) = (error.to_string(), source.to_string());
    match &*what {
        "authentication error" => (Reason::Login, format!("the login failed: {why}")),
        "invalid configuration" if why.contains("password") => (
            Reason::Login,
            "the server asks for a password and none is given (URL, PGPASSWORD or a password file)"
                .to_owned(),
        ),
        "error performing TLS handshake" if why.contains("does not support TLS") => {
            (Reason::WithoutTls, "the server speaks no TLS".to_owned())
        }
        "error performing TLS handshake" => (Reason::Handshake, format!("TLS: {why}")),
        _ => (Reason::Away, why),
    }
}

/// A moment for people.
#[cfg(feature = "tls")]
fn date(at: rustls::pki_types::UnixTime) -> String {
    let seconds = i64::try_from(at.as_secs()).ok();
    let at = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    at.map_or_else(|| "a time out of range".to_owned(), |at| at.to_string())
}

#[cfg(feature = "tls")]
fn handshake(source: &(dyn std::error::Error + 'static)) -> Option<(Reason, String)> {
    use rustls::{AlertDescription as Alert, CertificateError as Bad, Error};
    let inner = source.downcast_ref::<std::io::Error>()?.get_ref()?;
    let error = inner.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(bad) => match bad {
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => (
                Reason::OtherName,
                format!("TLS: {bad} (only the names in subjectAltName count)"),
            ),
            Bad::ExpiredContext { not_after, .. } => {
                let since = date(*not_after);
                let text = format!("TLS: the server's certificate expired at {since}");
                (Reason::OutOfTime, text)
            }
            Bad::NotValidYetContext { not_before, .. } => {
                let from = date(*not_before);
                let text = format!("TLS: the server's certificate is valid from {from} on only");
                (Reason::OutOfTime, text)
            }
            Bad::Expired | Bad::NotValidYet => (Reason::OutOfTime, format!("TLS: {bad}")),
            bad => {
                let said = bad.to_string();
                let why = if matches!(bad, Bad::UnknownIssuer) {
                    "no authority that is believed here has signed it".to_owned()
                } else if said.contains("UnsupportedCertVersion") {
                    "it is of version 1, which can be used with sslmode=require and no sslrootcert only (nobody is checked then); \
                     make it with extensions"
                        .to_owned()
                } else if said.contains("CaUsedAsEndEntity") {
                    "it is an authority's own; name a copy of it as sslrootcert, or give the server one of its own"
                        .to_owned()
                } else {
                    said
                };
                let text = format!("TLS: the server's certificate is not accepted: {why}");
                (Reason::Untrusted, text)
            }
        },
        Error::AlertReceived(
            alert @ (Alert::CertificateRequired
            | Alert::BadCertificate
            | Alert::UnknownCA
            | Alert::CertificateUnknown
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::UnsupportedCertificate
            | Alert::AccessDenied),
        ) => (
            Reason::OwnCertificate,
            format!("TLS: the server does not accept our certificate: {alert:?}"),
        ),
        other => (Reason::Handshake, format!("TLS: {other}")),
    })
}

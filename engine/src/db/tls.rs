//! TLS to the server: whose certificate counts, and which one we show.
//!
//! **Invariant:** one verifier for every `sslmode`. `verify-full` checks chain, time and name; `verify-ca` chain and
//! time; `require` without authorities nothing but that the server has the key of the certificate it shows, without
//! which channel binding would be worth nothing.
//!
//! **What can go wrong:** a file cannot be used: RD0811, before anything is sent. The server's certificate is not
//! accepted: the handshake ends, no password was sent.
//!
//! **Not here:** revocation; `sslcrl` is refused by name.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    self, CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature,
    verify_tls13_signature, verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore,
    SignatureScheme, SupportedProtocolVersion, version,
};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::der::{Decode, Encode};

use super::TargetError;
use super::target::{Roots, SslMode, Tls};

/// Makes the connector of one connection; the files are read now.
pub(super) fn connector(wish: &Tls) -> Result<MakeRustlsConnect, TargetError> {
    let provider = Arc::new(crypto::ring::default_provider());
    let judge = Judge {
        authorities: authorities(wish)?,
        by_name: wish.mode == SslMode::VerifyFull,
        algorithms: provider.signature_verification_algorithms,
    };
    let versions: Vec<&'static SupportedProtocolVersion> =
        [(2, &version::TLS12), (3, &version::TLS13)]
            .into_iter()
            .filter(|(number, _)| (wish.versions.0..=wish.versions.1).contains(number))
            .map(|(_, version)| version)
            .collect();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|error| TargetError::Conflict(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(judge));
    let mut config = match &wish.client {
        Some((certificate, key)) => {
            let (chain, key) = (certificates("sslcert", certificate)?, own_key(key)?);
            let own = own_certificate(&provider, chain, key)
                .map_err(|error| file("sslcert", certificate, error.to_string()))?;
            builder.with_client_cert_resolver(Arc::new(own))
        }
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = wish.sni;
    if wish.direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

/// What we show: whether it counts is for the server to say, so one of version 1, which rustls does not read, is sent too.
fn own_certificate(
    provider: &CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<SingleCertAndKey, Error> {
    let key = provider.key_provider.load_private_key(key)?;
    let own = CertifiedKey::new(chain, key);
    if let (Some(of_key), [shown, ..]) = (own.key.public_key(), own.cert.as_slice())
        && of_key != public_key(shown)?
    {
        return Err(InconsistentKeys::KeyMismatch.into());
    }
    Ok(own.into())
}

/// Who is believed; `None` where nobody has to be.
fn authorities(wish: &Tls) -> Result<Option<Authorities>, TargetError> {
    let verifies = wish.mode >= SslMode::VerifyCa;
    match &wish.roots {
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(found.certs);
            if store.is_empty() {
                return Err(TargetError::Conflict(
                    "`sslrootcert=system`: no authorities are installed on this system (package ca-certificates)"
                        .to_owned(),
                ));
            }
            Ok(Some(Authorities {
                store: Arc::new(store),
                listed: Vec::new(),
            }))
        }
        Roots::File { path, named } if path.exists() => {
            // A file in its usual place that nobody named may be meant for other servers.
            if !named && wish.mode < SslMode::Require {
                return Ok(None);
            }
            let listed = certificates("sslrootcert", path)?;
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(listed.iter().cloned());
            if store.is_empty() {
                let text = "holds no certificate of an authority".to_owned();
                return Err(file("sslrootcert", path, text));
            }
            Ok(Some(Authorities {
                store: Arc::new(store),
                listed,
            }))
        }
        Roots::File { path, named } if verifies || *named => {
            let text = if *named {
                "there is no such file".to_owned()
            } else {
                "sslmode=verify-ca and verify-full need the certificate of the authority: name its file, or `system`"
                    .to_owned()
            };
            Err(file("sslrootcert", path, text))
        }
        Roots::None if verifies => Err(TargetError::Conflict(
            "`sslmode=verify-ca` and `verify-full` need `sslrootcert`: a file, or `system`"
                .to_owned(),
        )),
        Roots::File { .. } | Roots::None => Ok(None),
    }
}

fn certificates(
    key: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TargetError> {
    let bytes = bounded(key, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|error| file(key, path, error.to_string()))?;
    if found.is_empty() {
        return Err(file(
            key,
            path,
            "holds no certificate in PEM form".to_owned(),
        ));
    }
    Ok(found)
}

/// The client's key; as libpq, only from a file that nobody else can read.
fn own_key(path: &Path) -> Result<PrivateKeyDer<'static>, TargetError> {
    let found = fs::metadata(path).map_err(|error| file("sslkey", path, error.to_string()))?;
    // A key of root's may be read by a group, as Debian has it.
    let (forbidden, allowed) = if found.uid() == 0 {
        (0o037, "0640")
    } else {
        (0o077, "0600")
    };
    if found.mode() & forbidden != 0 {
        let text = format!("the private key can be read by others: chmod {allowed}");
        return Err(file("sslkey", path, text));
    }
    let bytes = bounded("sslkey", path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let encrypted = bytes.windows(9).any(|word| word == b"ENCRYPTED");
        let text = if encrypted {
            "the private key is encrypted, which is not supported"
        } else {
            "holds no private key in PEM form"
        };
        file("sslkey", path, text.to_owned())
    })
}

fn bounded(key: &'static str, path: &Path) -> Result<Vec<u8>, TargetError> {
    let wrong = |error: std::io::Error| file(key, path, error.to_string());
    let found = fs::metadata(path).map_err(wrong)?;
    if !found.is_file() || found.len() > FILE_BYTES_MAX {
        return Err(file(
            key,
            path,
            "not a plain file of at most 4 MiB".to_owned(),
        ));
    }
    fs::read(path).map_err(wrong)
}

fn file(key: &'static str, path: &Path, problem: String) -> TargetError {
    TargetError::File {
        key,
        path: path.to_owned(),
        problem,
    }
}

/// Who is believed.
#[derive(Debug)]
struct Authorities {
    store: Arc<RootCertStore>,
    /// Every certificate of the file: a server may show one of them itself.
    listed: Vec<CertificateDer<'static>>,
}

/// Decides about the server's certificate.
#[derive(Debug)]
struct Judge {
    authorities: Option<Authorities>,
    by_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authorities) = &self.authorities else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(shown)?;
        if authorities.listed.iter().any(|listed| listed == shown) {
            in_time(shown, now)?;
        } else {
            let (store, all) = (&authorities.store, self.algorithms.all);
            verify_server_cert_signed_by_trust_anchor(&parsed, store, between, now, all)?;
        }
        if self.by_name {
            verify_server_name(&parsed, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, shown, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if self.authorities.is_none() && ParsedCertificate::try_from(shown).is_err() {
            // Version 1, which PostgreSQL's own manual shows how to make: who it is does not matter here, that it has
            // the key does.
            let key = public_key(shown)?;
            return verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms);
        }
        verify_tls13_signature(message, shown, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A certificate that is listed itself needs no chain, but its time counts.
fn in_time(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let parsed = parsed(shown)?;
    let validity = &parsed.tbs_certificate.validity;
    let not_after = UnixTime::since_unix_epoch(validity.not_after.to_unix_duration());
    if now > not_after {
        return Err(CertificateError::ExpiredContext {
            time: now,
            not_after,
        }
        .into());
    }
    let not_before = UnixTime::since_unix_epoch(validity.not_before.to_unix_duration());
    if now < not_before {
        return Err(CertificateError::NotValidYetContext {
            time: now,
            not_before,
        }
        .into());
    }
    Ok(())
}

fn public_key(shown: &CertificateDer<'_>) -> Result<SubjectPublicKeyInfoDer<'static>, Error> {
    let parsed = parsed(shown)?;
    let key = parsed.tbs_certificate.subject_public_key_info.to_der();
    let key = key.map_err(|_| Error::from(CertificateError::BadEncoding))?;
    Ok(SubjectPublicKeyInfoDer::from(key))
}

fn parsed(shown: &CertificateDer<'_>) -> Result<x509_cert::Certificate, Error> {
    x509_cert::Certificate::from_der(shown).map_err(|_| CertificateError::BadEncoding.into())
}

const FILE_BYTES_MAX: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// `openssl x509 -req` without `-extfile` made it.
    const VERSION_1: &str = "\
-----BEGIN CERTIFICATE-----
MIIBHzCBxwIUCnRL5BBh2XmmJDsIBrQIt3DclzIwCgYIKoZIzj0EAwIwEjEQMA4G
A1UEAwwHY2VydGFpbjAgFw0yNjExMjIwNzI0NDlaGA8yMTI2MTAyOTA3MjQ0OVow
EjEQMA4GA1UEAwwHY2VydGFpbjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABObh
48hJpy1DLTA2xjCDn3cqBMTveQGIygQAJY4N3vN3gcKa3PtgJEBVs2Bibad2Zer5
LFSFXPUNiPd900y8Tl4wCgYIKoZIzj0EAwIDRwAwRAIgMFgS+YPadtxu1TYP6+/U
wOZTNadOOjwd5NYuXR4WshUCIG2FrDv/OZQymbnYULbVudS4xkoyb0GKoyhalxMI
vTC0
-----END CERTIFICATE-----
";
    const ITS_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgP3NEVPMIcqKkbHod
czMCs4dNRuLs8UieuW50hb0YReihRANCAATm4ePISactQy0wNsYwg593KgTE73kB
iMoEACWODd7zd4HCmtz7YCRAVbNgYm2ndmXq+SxUhVz1DYj3fdNMvE5e
-----END PRIVATE KEY-----
";
    const ANOTHER_KEY: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWIrynE1wHVBbUOWj
u3zDC7Rtxeifsnm6Rb71+1dMqAWhRANCAASF9iSxQpO5J79qsEGBfW11W5bvxBoG
0t/c/3Tu13SmAFzGQAgZ7pYy2pqOup/6hDXvm62yq5Irzq8LRlB0YPBY
-----END PRIVATE KEY-----
";

    #[test]
    fn a_certificate_of_version_1_is_shown_with_its_own_key_and_with_no_other() {
        let provider = crypto::ring::default_provider();
        let shown = |key: &str| {
            let chain = CertificateDer::pem_slice_iter(VERSION_1.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            own_certificate(&provider, chain, key).map(drop)
        };
        assert_eq!(shown(ITS_KEY), Ok(()));
        assert_eq!(
            shown(ANOTHER_KEY),
            Err(InconsistentKeys::KeyMismatch.into())
        );
    }
}

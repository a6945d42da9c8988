//! Makes a connection: hosts in their order, each address with its own limit, and says why each one failed.
//!
//! **Invariant:** a server that said no to who we are is not followed by the next host: the same password would be
//! offered to each of them.
//!
//! **What can go wrong:** every host fails. The error has the code of those that answered, and RD0801 when none did or
//! their reasons differ; each host is named with its own.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rand_core::{OsRng, RngCore};
use redress_ledger::Class;
use secrecy::ExposeSecret;
use thiserror::Error;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Config, NoTls, SimpleQueryMessage, Socket};

use super::manager::drive;
use super::target::{Attrs, Host, SslMode, Target};
use super::verdict::judge;
use super::{DbError, Pooler, Session, TargetError};

/// Why a host gave no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nobody answers there, or not in time; or the server takes no sessions now.
    Away,
    /// Its certificate is not from an authority that is believed.
    Untrusted,
    /// Its certificate is for another name.
    OtherName,
    /// Its certificate is not valid at this time.
    OutOfTime,
    /// It speaks no TLS, which was demanded.
    WithoutTls,
    /// The TLS handshake failed otherwise.
    Handshake,
    /// It wants a certificate of ours, or does not accept the one it got.
    OwnCertificate,
    /// It does not let this user in.
    Login,
    /// It is not what `target_session_attrs` asks for.
    Attributes,
}

impl Reason {
    fn code(self) -> &'static str {
        match self {
            Self::Away => "RD0801",
            Self::Untrusted => "RD0812",
            Self::OtherName => "RD0813",
            Self::OutOfTime => "RD0814",
            Self::WithoutTls => "RD0815",
            Self::Handshake => "RD0816",
            Self::OwnCertificate => "RD0817",
            Self::Login => "RD0818",
            Self::Attributes => "RD0819",
        }
    }
}

/// One host that gave no session.
#[derive(Clone, Debug)]
pub struct HostFailure {
    /// The host with its port, and the address where it has several.
    pub host: String,
    /// Why.
    pub reason: Reason,
    /// The same in words.
    pub text: String,
}

/// No host gave a session; nothing was sent but who we are.
#[derive(Clone, Debug, Error)]
pub struct NotConnected {
    /// Every host that was tried, in order.
    pub failed: Vec<HostFailure>,
}

impl NotConnected {
    /// What must be done: the way may be open again in a moment.
    pub fn class(&self) -> Class {
        Class::Retry
    }

    /// The stable code: that of the hosts that answered, where they agree.
    pub fn code(&self) -> &'static str {
        let answered = self.failed.iter().map(|failure| failure.reason);
        let mut codes = answered
            .filter(|reason| *reason != Reason::Away)
            .map(Reason::code);
        let Some(first) = codes.next() else {
            return Reason::Away.code();
        };
        if codes.all(|code| code == first) {
            first
        } else {
            Reason::Away.code()
        }
    }
}

impl fmt::Display for NotConnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differ = self
            .failed
            .iter()
            .any(|one| one.reason.code() != self.code());
        write!(f, "no connection could be made")?;
        for (at, failure) in self.failed.iter().enumerate() {
            let mark = if at == 0 { ": " } else { "; " };
            write!(f, "{mark}{}: {}", failure.host, failure.text)?;
            if differ {
                write!(f, " [{}]", failure.reason.code())?;
            }
        }
        Ok(())
    }
}

/// Makes a session; `settings` are the startup options of the pool, if there are none in the target.
pub(super) async fn dial(target: &Target, settings: Option<&str>) -> Result<Session, DbError> {
    let mut failed = Vec::new();
    let rounds: &[Attrs] = match target.attrs {
        Attrs::PreferStandby => &[Attrs::Standby, Attrs::Any],
        _ => std::slice::from_ref(&target.attrs),
    };
    for wanted in rounds {
        for host in order(target) {
            let places = match addresses(host, target.limit).await {
                Ok(places) => places,
                Err(failure) => {
                    failed.push(failure);
                    continue;
                }
            };
            for place in places {
                let way = Way {
                    target,
                    host,
                    place,
                    settings,
                };
                match way.within_limit(*wanted).await? {
                    Ok(session) => return Ok(session),
                    Err(failure) => {
                        let over = matches!(failure.reason, Reason::Login | Reason::OwnCertificate);
                        failed.push(failure);
                        if over {
                            return Err(DbError::NotConnected(NotConnected { failed }));
                        }
                    }
                }
            }
        }
    }
    Err(DbError::NotConnected(NotConnected { failed }))
}

/// The hosts as they stand, or in an order of chance.
fn order(target: &Target) -> Vec<&Host> {
    let mut hosts: Vec<&Host> = target.hosts.iter().collect();
    if target.shuffled {
        for at in (1..hosts.len()).rev() {
            hosts.swap(at, OsRng.next_u32() as usize % (at + 1));
        }
    }
    hosts
}

/// Where a host is: nothing for a socket, else every address of its name.
async fn addresses(
    host: &Host,
    limit: Option<Duration>,
) -> Result<Vec<Option<IpAddr>>, HostFailure> {
    if host.is_socket() {
        return Ok(vec![None]);
    }
    if let Some(address) = host.address {
        return Ok(vec![Some(address)]);
    }
    let look = async {
        let found = tokio::net::lookup_host((&*host.name, host.port)).await;
        found.map_err(|error| error.to_string())
    };
    let found = match limit {
        Some(limit) => tokio::time::timeout(limit, look)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))),
        None => look.await,
    };
    let mut places: Vec<Option<IpAddr>> = match found {
        Ok(found) => found.map(|one| Some(one.ip())).collect(),
        Err(text) => {
            return Err(away(
                host.to_string(),
                format!("its address is not known: {text}"),
            ));
        }
    };
    places.dedup();
    if places.is_empty() {
        return Err(away(host.to_string(), "its name has no address".to_owned()));
    }
    Ok(places)
}

fn away(host: String, text: String) -> HostFailure {
    HostFailure {
        host,
        reason: Reason::Away,
        text,
    }
}

/// One try at one address.
struct Way<'a> {
    target: &'a Target,
    host: &'a Host,
    place: Option<IpAddr>,
    settings: Option<&'a str>,
}

impl Way<'_> {
    /// A session that is as it must be. The outer error is about files of ours.
    async fn within_limit(
        &self,
        wanted: Attrs,
    ) -> Result<Result<Session, HostFailure>, TargetError> {
        let work = self.session(wanted);
        let Some(limit) = self.target.limit else {
            return work.await;
        };
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
            Ok(Err(away(
                self.name(),
                format!("no answer within {limit:?}"),
            )))
        })
    }

    async fn session(&self, wanted: Attrs) -> Result<Result<Session, HostFailure>, TargetError> {
        let mode = if self.host.is_socket() {
            SslMode::Disable
        } else {
            self.target.tls.mode
        };
        let mut made = self.login(mode).await?;
        if let (SslMode::Allow, Err((Reason::Login, _))) = (mode, &made) {
            made = self.login(SslMode::Require).await?;
        }
        let made = match made {
            Ok(session) => fits(&session, wanted).await.map(|()| session),
            Err(failure) => Err(failure),
        };
        Ok(made.map_err(|(reason, text)| HostFailure {
            host: self.name(),
            reason,
            text,
        }))
    }

    async fn login(&self, mode: SslMode) -> Result<Result<Session, (Reason, String)>, TargetError> {
        use tokio_postgres::config::SslMode as Driver;
        let (mut config, pooler) = (self.config(), self.target.pooler());
        match mode {
            SslMode::Disable | SslMode::Allow => {
                config.ssl_mode(Driver::Disable);
                Ok(over(&config, NoTls, pooler)
                    .await
                    .map_err(|(reason, text)| {
                        let wants_tls = text.contains("no encryption");
                        let hint = if wants_tls {
                            "; say sslmode=verify-full"
                        } else {
                            ""
                        };
                        (reason, format!("{text}{hint}"))
                    }))
            }
            #[cfg(not(feature = "tls"))]
            _ => {
                config.ssl_mode(Driver::Disable);
                Ok(over(&config, NoTls, pooler).await)
            }
            #[cfg(feature = "tls")]
            _ => {
                let optional = mode == SslMode::Prefer;
                config.ssl_mode(if optional {
                    Driver::Prefer
                } else {
                    Driver::Require
                });
                Ok(over(&config, super::tls::connector(&self.target.tls)?, pooler).await)
            }
        }
    }

    fn config(&self) -> Config {
        let mut config = self.target.base.clone();
        if self.host.is_socket() {
            config.host_path(&self.host.name);
        } else {
            config.host(&self.host.name);
        }
        if let Some(address) = self.place {
            config.hostaddr(address);
        }
        config.port(self.host.port);
        if let Some(password) = self.target.password(self.host) {
            config.password(password.expose_secret());
        }
        if let (None, Some(settings)) = (config.get_options(), self.settings) {
            config.options(settings);
        }
        config
    }

    fn name(&self) -> String {
        match self.place {
            Some(address) if address.to_string() != self.host.name => {
                format!("{} ({address})", self.host)
            }
            _ => self.host.to_string(),
        }
    }
}

async fn over<T>(config: &Config, tls: T, pooler: Pooler) -> Result<Session, (Reason, String)>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let made = Box::pin(config.connect(tls)).await;
    let (client, connection) = made.map_err(|error| judge(&error))?;
    Ok(drive(client, connection, pooler))
}

/// Whether a session is what was asked for.
async fn fits(session: &Session, wanted: Attrs) -> Result<(), (Reason, String)> {
    if wanted == Attrs::Any {
        return Ok(());
    }
    let found = session.simple_query(WHAT_IT_IS).await;
    let found = found.map_err(|error| judge(&error))?;
    let row = found.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0) == Some("t"), row.get(1) == Some("on"))),
        _ => None,
    });
    let Some((standby, read_only)) = row else {
        return Err((Reason::Away, "no answer to what it is".to_owned()));
    };
    let fits = match wanted {
        Attrs::Any | Attrs::PreferStandby => true,
        Attrs::ReadWrite => !read_only && !standby,
        Attrs::ReadOnly => read_only || standby,
        Attrs::Primary => !standby,
        Attrs::Standby => standby,
    };
    if fits {
        return Ok(());
    }
    let is = match (standby, read_only) {
        (true, _) => "a standby",
        (false, true) => "a primary whose sessions are read-only",
        (false, false) => "a primary",
    };
    let asked = wanted.as_str();
    Err((
        Reason::Attributes,
        format!("it is {is}, target_session_attrs={asked}"),
    ))
}

/// Standby or not, read-only or not.
const WHAT_IT_IS: &str =
    "select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_that_answer_decide_what_the_error_is() {
        let check = |reasons: &[Reason], code: &str, told: &str| {
            let failed = reasons.iter().map(|reason| HostFailure {
                host: "db:5432".to_owned(),
                reason: *reason,
                text: "no".to_owned(),
            });
            let error = NotConnected {
                failed: failed.collect(),
            };
            assert_eq!((error.code(), &*error.to_string()), (code, told));
        };
        let (away, name) = (Reason::Away, Reason::OtherName);
        let one = "no connection could be made: db:5432: no";
        check(&[away], "RD0801", one);
        check(&[name], "RD0813", one);
        let both = "no connection could be made: db:5432: no [RD0801]; db:5432: no [RD0813]";
        check(&[away, name], "RD0813", both);
        let two = "no connection could be made: db:5432: no [RD0813]; db:5432: no [RD0819]";
        check(&[name, Reason::Attributes], "RD0801", two);
        check(&[], "RD0801", "no connection could be made");
    }
}

//! Where figures are served: loopback unless an address is named.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

/// An address to listen on: `9464`, `:9464`, `127.0.0.1:9464`, `[::]:9464`. A bare port is loopback's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Address(pub SocketAddr);

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix(':').unwrap_or(text);
        if let Ok(port) = bare.parse::<u16>() {
            return Ok(Self((IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()));
        }
        text.parse().map(Self).map_err(|_| {
            format!("a port or an address with a port is meant, such as 9464 or 127.0.0.1:9464, not {text}")
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_loopbacks_and_nothing_else_is_guessed() {
        let check = |text: &str, meant: Option<&str>| {
            let read = text.parse::<Address>().ok().map(|one| one.to_string());
            assert_eq!(read.as_deref(), meant, "{text}");
        };
        check("9464", Some("127.0.0.1:9464"));
        check(":9464", Some("127.0.0.1:9464"));
        check("0.0.0.0:1", Some("0.0.0.0:1"));
        check("[::1]:0", Some("[::1]:0"));
        for wrong in ["", ":", "65536", "localhost:1", "1.2.3.4", "-1"] {
            check(wrong, None);
        }
    }
}

//! Which hosts a worker's requests may reach.
//!
//! **Invariant:** without TLS only a loopback address is reached, or a host that the list names with `http://`.

use reqwest::Url;

/// An entry of the worker's list.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Host {
    name: String,
    port: Option<u16>,
    plain: bool,
}

impl Host {
    /// Reads an entry: a host, perhaps with a port, perhaps behind `http://`.
    pub fn parse(text: &str) -> Option<Self> {
        let (plain, rest) = match text.strip_prefix("http://") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let odd =
            |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?' | '#' | '*' | '\\' | '%');
        if rest.is_empty() || rest.contains(odd) {
            return None;
        }
        let url = Url::parse(&format!("https://{rest}")).ok()?;
        let port = match url.port() {
            // The usual port of the scheme is left out of a parsed URL.
            None if rest.ends_with(":443") => Some(443),
            port => port,
        };
        Some(Self {
            name: url.host_str()?.to_owned(),
            port,
            plain,
        })
    }

    fn admits(&self, url: &Url) -> bool {
        let same = url.host_str() == Some(self.name.as_str())
            && (self.port.is_none() || self.port == url.port_or_known_default());
        same && (url.scheme() == "https" || self.plain || is_loopback(url))
    }
}

fn is_loopback(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let ip = address.parse::<std::net::IpAddr>();
    ip.is_ok_and(|ip| ip.is_loopback()) || name == "localhost"
}

/// Why a URL may not be reached from this worker.
pub(super) fn unlisted(url: &Url, hosts: &[String]) -> Option<String> {
    let mut listed = hosts.iter().filter_map(|text| Host::parse(text));
    if listed.any(|host| host.admits(url)) {
        return None;
    }
    let place = format!("{}://{}", url.scheme(), authority(url));
    Some(format!(
        "this worker does not list the host (http.hosts): {place}"
    ))
}

fn authority(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_reached() {
        let check = |host: &str, url: &str, admitted: bool| {
            let url = Url::parse(url).unwrap();
            let found = unlisted(&url, &[host.to_owned()]);
            assert_eq!(found.is_none(), admitted, "{host} {url}: {found:?}");
        };
        check("api.example", "https://api.example/x", true);
        check("api.example", "https://API.example:8443/x", true);
        check("api.example:8443", "https://api.example:8443/x", true);
        check("api.example:8443", "https://api.example/x", false);
        check("api.example:443", "https://api.example/x", true);
        check("api.example", "http://api.example/x", false);
        check("http://api.example:80", "http://api.example/x", true);
        check("http://api.example:80", "https://api.example/x", false);
        check("api.example", "https://evil.example/x", false);
        check("api.example", "https://api.example.evil.example/", false);
        check("api.example", "https://sub.api.example/", false);
        check("127.0.0.1:8080", "http://127.0.0.1:8080/x", true);
        check("127.0.0.1:8080", "http://127.0.0.1:8081/x", false);
        check("localhost", "http://localhost:9/x", true);
        check("[::1]:8080", "http://[::1]:8080/", true);
        check("10.0.0.1", "http://10.0.0.1/", false);
        check("127.0.0.1", "http://2130706433:9/", true);
        check("api.example", "ftp://api.example/", false);
    }
}

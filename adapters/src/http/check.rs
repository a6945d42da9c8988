//! Judges a `with` of the `http` adapter against what this worker allows.

use redress::adapter::Finding;
use reqwest::header::HeaderName;
use reqwest::{Method, Url};

use super::host::unlisted;
use super::secret;
use super::with::{Ask, Header, ProbeRequest, With};
use crate::config::HttpConfig;
use crate::finding::{NO_WAY_BACK, NOT_LISTED, SHAPE, finding};
use crate::pieces::{When, misdirected, pointers_in};

/// Headers that the request itself decides about.
const OWN: [&str; 6] = [
    "connection",
    "content-length",
    "host",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Everything that is wrong; empty when nothing is.
pub(super) fn check(with: &With, config: &HttpConfig) -> Vec<Finding> {
    let mut judge = Judge {
        config,
        key_header: with.key_header.as_deref(),
        findings: Vec::new(),
    };
    judge.request("", with.request(), When::Forth);
    judge.statuses("/expect", &with.expect);
    judge.statuses("/retry", &with.retry);
    if with.method.is_none() {
        judge.find("/method", SHAPE, "the method is missing");
    }
    if let Some(name) = &with.key_header
        && !is_header(name)
    {
        judge.find("/key_header", SHAPE, "this is no header that can be set");
    }
    if let Some(capture) = &with.capture {
        judge.request("/capture", capture.request(), When::Before);
    }
    if let Some(probe) = &with.probe {
        judge.probe("/probe", probe, When::Forth);
    }
    if let Some(undo) = &with.undo {
        judge.request("/undo", undo.request(), When::Back);
        judge.statuses("/undo/expect", &undo.expect);
        judge.statuses("/undo/retry", &undo.retry);
        if undo.method.is_none() {
            judge.find("/undo/method", SHAPE, "the method is missing");
        }
        if let Some(probe) = &undo.probe {
            judge.probe("/undo/probe", probe, When::Back);
        }
    }
    match (with.read_only, &with.probe, &with.undo) {
        (false, None, _) => judge.find(
            "/url",
            NO_WAY_BACK,
            "give a `probe`: after a crash nobody else can say whether it was done (or say `read_only: true`)",
        ),
        (true, _, Some(_)) => {
            judge.find("/undo", SHAPE, "what is `read_only` has nothing to undo");
        }
        _ => {}
    }
    judge.findings
}

fn is_header(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
        && !OWN.contains(&name.to_ascii_lowercase().as_str())
}

struct Judge<'c> {
    config: &'c HttpConfig,
    key_header: Option<&'c str>,
    findings: Vec<Finding>,
}

impl Judge<'_> {
    fn find(&mut self, path: impl Into<String>, code: &'static str, message: impl Into<String>) {
        self.findings.push(finding(path, code, message));
    }

    fn request(&mut self, path: &str, ask: Ask<'_>, when: When) {
        if let Some(method) = ask.method
            && (Method::from_bytes(method.as_bytes()).is_err() || method != method.to_uppercase())
        {
            self.find(
                format!("{path}/method"),
                SHAPE,
                "a method is a word such as `POST`",
            );
        }
        self.url(&format!("{path}/url"), ask.url);
        let mut pointers = Vec::new();
        for (at, piece) in ask.path.iter().enumerate() {
            pointers.extend(
                piece
                    .pointer()
                    .map(|p| (format!("{path}/path/{at}"), p.clone())),
            );
        }
        for (name, piece) in ask.query {
            let place = format!("{path}/query/{}", escaped(name));
            pointers.extend(piece.pointer().map(|p| (place, p.clone())));
        }
        for (name, value) in ask.headers {
            let place = format!("{path}/headers/{}", escaped(name));
            let taken = self.key_header.unwrap_or(super::KEY_HEADER);
            if !is_header(name) || name.eq_ignore_ascii_case(taken) {
                self.find(place.clone(), SHAPE, "this header cannot be set here");
            }
            match value {
                Header::Piece(piece) => {
                    pointers.extend(piece.pointer().map(|p| (place, p.clone())));
                }
                Header::Secret { secret, .. } => {
                    if let Some(why) = secret::unlisted(secret, self.config) {
                        self.find(format!("{place}/secret"), NOT_LISTED, why);
                    }
                }
            }
        }
        if let Some(body) = ask.body {
            pointers_in(
                body,
                &format!("{path}/body"),
                &mut pointers,
                &mut self.findings,
            );
        }
        for (place, pointer) in pointers {
            self.findings.extend(misdirected(&place, &pointer, when));
        }
    }

    fn url(&mut self, path: &str, text: &str) {
        let url = match Url::parse(text) {
            Ok(url) => url,
            Err(error) => return self.find(path, SHAPE, format!("this is no URL: {error}")),
        };
        let userinfo = !url.username().is_empty() || url.password().is_some();
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            self.find(path, SHAPE, "a URL begins with https:// and a host");
        } else if userinfo || url.fragment().is_some() {
            let message = "a URL here has no user, password or fragment; a secret is a header's `{secret: …}`";
            self.find(path, SHAPE, message);
        } else if let Some(why) = unlisted(&url, &self.config.hosts) {
            self.find(path, NOT_LISTED, why);
        }
    }

    fn probe(&mut self, path: &str, probe: &ProbeRequest, when: When) {
        self.request(path, probe.request(), when);
        self.statuses(&format!("{path}/done"), &probe.done);
        self.statuses(&format!("{path}/not_done"), &probe.not_done);
        if let Some(both) = probe.done.iter().find(|one| probe.not_done.contains(one)) {
            let message = format!("this status stands under `done` too: {both}");
            self.find(format!("{path}/not_done"), SHAPE, message);
        }
    }

    fn statuses(&mut self, path: &str, statuses: &[u16]) {
        for (at, status) in statuses.iter().enumerate() {
            if !(200..=599).contains(status) {
                self.find(format!("{path}/{at}"), SHAPE, "a status is from 200 to 599");
            }
        }
    }
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

//! Puts one request together and sends it once: what was answered, and whether it can have been heard.
//!
//! **Invariant:** a request goes to the host of its fixed URL, which the worker lists, and follows no redirect.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use redress::adapter::AdapterError;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::host::unlisted;
use super::secret;
use super::with::{Ask, Header};
use crate::config::HttpConfig;
use crate::pieces::filled;

/// Most bytes that are kept of an answer.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A request that can be sent, with what must not be repeated of it.
pub(super) struct Ready {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
    pub secrets: Vec<SecretString>,
}

impl Ready {
    pub fn of(
        method: Method,
        url: Url,
        headers: HeaderMap,
        body: Option<Vec<u8>>,
        secrets: Vec<SecretString>,
    ) -> Self {
        Self {
            method,
            url,
            headers,
            body,
            secrets,
        }
    }
}

/// What became of a request.
pub(super) enum Answer {
    /// The server answered; `broken` when the rest of its answer did not come.
    Got {
        status: u16,
        body: Vec<u8>,
        more: bool,
        broken: Option<String>,
    },
    /// No connection: nobody can have heard it.
    NotSent(String),
    /// It may have been heard.
    Lost(String),
}

/// The client, made when it is first needed: the system's certificates are read by it.
#[derive(Debug, Default)]
pub(super) struct Wire(OnceLock<Result<Client, String>>);

impl Wire {
    fn client(&self, ca: Option<&Path>) -> Result<&Client, AdapterError> {
        let made = self.0.get_or_init(|| client(ca));
        made.as_ref()
            .map_err(|why| AdapterError::Hold(format!("no HTTP client: {why}")))
    }

    /// Sends a request once.
    pub async fn send(
        &self,
        ready: &Ready,
        config: &HttpConfig,
        limit: Duration,
    ) -> Result<Answer, AdapterError> {
        let client = self.client(config.ca.as_deref())?;
        let mut request = client.request(ready.method.clone(), ready.url.clone());
        request = request.headers(ready.headers.clone());
        if let Some(body) = &ready.body {
            request = request.body(body.clone());
        }
        let said =
            |error: reqwest::Error| secret::hidden(&told(error.without_url()), &ready.secrets);
        let exchange = async {
            match request.send().await {
                Ok(response) => received(response, said).await,
                Err(error) if error.is_connect() || error.is_builder() => {
                    Answer::NotSent(said(error))
                }
                Err(error) => Answer::Lost(said(error)),
            }
        };
        Ok(tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Answer::Lost(format!("no answer within {} ms", limit.as_millis()))))
    }
}

async fn received(
    mut response: reqwest::Response,
    said: impl Fn(reqwest::Error) -> String,
) -> Answer {
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let (mut more, mut broken) = (false, None);
    loop {
        match response.chunk().await {
            Ok(None) => break,
            Ok(Some(chunk)) => {
                let room = BODY_BYTES_MAX - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    more = true;
                    break;
                }
            }
            Err(error) => {
                broken = Some(said(error));
                break;
            }
        }
    }
    Answer::Got {
        status,
        body,
        more,
        broken,
    }
}

fn client(ca: Option<&Path>) -> Result<Client, String> {
    // Whoever was first may have chosen another one, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .pool_max_idle_per_host(0)
        .connect_timeout(CONNECT_MAX)
        .user_agent(concat!("redress/", env!("CARGO_PKG_VERSION")));
    if let Some(path) = ca {
        let place = path.display();
        let pem = std::fs::read(path).map_err(|error| format!("{error}, {place}"))?;
        let more =
            Certificate::from_pem_bundle(&pem).map_err(|error| format!("{error}, {place}"))?;
        builder = builder.tls_certs_merge(more);
    }
    builder.build().map_err(told)
}

/// An error with its causes.
fn told(error: reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(deeper) = cause {
        text.push_str(": ");
        text.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    text
}

/// Puts a request together; an error means that nothing was sent.
pub(super) fn ready(
    ask: Ask<'_>,
    context: &Value,
    config: &HttpConfig,
    key: (&str, &str),
    usual: Method,
) -> Result<Ready, AdapterError> {
    let refused = |text: String| AdapterError::Business(text);
    let url = url_of(ask, context, config)?;
    let method = match ask.method {
        None => usual,
        Some(name) => Method::from_bytes(name.as_bytes())
            .map_err(|_| AdapterError::Hold(format!("no method: {name}")))?,
    };
    let mut headers = HeaderMap::new();
    let mut secrets = Vec::new();
    for (name, value) in ask.headers {
        let header = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| AdapterError::Hold(format!("no header: {name}")))?;
        let mut value = match value {
            Header::Piece(piece) => HeaderValue::from_str(&piece.text(context)?),
            Header::Secret { secret, prefix } => {
                let found = secret::read(secret, config)?;
                let text = format!(
                    "{}{}",
                    prefix.as_deref().unwrap_or(""),
                    found.expose_secret()
                );
                secrets.push(found);
                HeaderValue::from_str(&text)
            }
        }
        .map_err(|_| refused(format!("the value cannot stand in a header: {name}")))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    let name = HeaderName::from_bytes(key.0.as_bytes())
        .map_err(|_| AdapterError::Hold(format!("no header: {}", key.0)))?;
    let value = HeaderValue::from_str(key.1)
        .map_err(|_| AdapterError::Hold("the key cannot stand in a header".to_owned()))?;
    headers.insert(name, value);
    let body = match ask.body {
        None => None,
        Some(template) => {
            headers
                .entry(CONTENT_TYPE)
                .or_insert(HeaderValue::from_static("application/json"));
            Some(filled(template, context)?.to_string().into_bytes())
        }
    };
    Ok(Ready {
        method,
        url,
        headers,
        body,
        secrets,
    })
}

fn url_of(ask: Ask<'_>, context: &Value, config: &HttpConfig) -> Result<Url, AdapterError> {
    let mut url = Url::parse(ask.url)
        .map_err(|error| AdapterError::Hold(format!("no URL: {error}, {}", ask.url)))?;
    // Looked at again: a definition is older than the configuration of today.
    if let Some(why) = unlisted(&url, &config.hosts) {
        return Err(AdapterError::Hold(why));
    }
    if !ask.path.is_empty() {
        let mut texts = Vec::with_capacity(ask.path.len());
        for piece in ask.path {
            let text = piece.text(context)?;
            // The first three would be another path, or none.
            if matches!(text.as_str(), "" | "." | "..") || text.contains('\0') {
                let text = format!("a segment of a path cannot be {text:?}");
                return Err(AdapterError::Business(text));
            }
            texts.push(text);
        }
        let mut segments = url
            .path_segments_mut()
            .map_err(|()| AdapterError::Hold(format!("no path can follow: {}", ask.url)))?;
        segments.pop_if_empty().extend(texts);
    }
    if !ask.query.is_empty() {
        let mut pairs = url.query_pairs_mut();
        for (name, piece) in ask.query {
            pairs.append_pair(name, &piece.text(context)?);
        }
    }
    Ok(url)
}

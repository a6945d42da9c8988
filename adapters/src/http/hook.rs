//! A web hook: a notification as JSON in one POST, told again by whoever calls until the server has taken it.
//!
//! **Invariant:** success is a status of 200 to 299 and nothing else. The notification's id goes along as the idempotency key,
//! so a server that took it and could not say so takes it once.

use std::time::Duration;

use async_trait::async_trait;
use redress::alert::AlertSink;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::secret;
use super::send::{Answer, Ready, Wire};
use crate::config::HttpConfig;
use crate::told::HookSecret;

/// How long one delivery may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Posts notifications to one URL.
#[derive(Debug)]
pub struct WebhookSink {
    url: Url,
    header: Option<HookSecret>,
    config: HttpConfig,
    wire: Wire,
}

impl WebhookSink {
    /// A hook at a URL, with a secret header if the server asks for one.
    ///
    /// # Errors
    /// Why the URL cannot be used: no HTTP, or without TLS to another machine.
    pub fn new(url: &str, header: Option<HookSecret>, config: &HttpConfig) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("{error}, {url}"))?;
        super::host::unlisted(&url, &config.hosts).map_or(Ok(()), Err)?;
        Ok(Self {
            url,
            header,
            config: config.clone(),
            wire: Wire::default(),
        })
    }

    fn ready(&self, notification: &Value) -> Result<Ready, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(id) = notification.get("id").and_then(Value::as_str) {
            let id = HeaderValue::from_str(id).map_err(|error| error.to_string())?;
            headers.insert(HeaderName::from_static("idempotency-key"), id);
        }
        let mut secrets: Vec<SecretString> = Vec::new();
        if let Some(header) = &self.header {
            let name = HeaderName::from_bytes(header.name.as_bytes());
            let name = name.map_err(|_| format!("no header: {}", header.name))?;
            let found = secret::read(&header.source(), &self.config);
            let found = found.map_err(|error| error.to_string())?;
            let text = format!("{}{}", header.prefix, found.expose_secret());
            let value = HeaderValue::from_str(&text);
            let mut value = value.map_err(|_| "the secret is no header's value".to_owned())?;
            value.set_sensitive(true);
            headers.insert(name, value);
            secrets.push(found);
        }
        let body = Some(notification.to_string().into_bytes());
        Ok(Ready::of(
            Method::POST,
            self.url.clone(),
            headers,
            body,
            secrets,
        ))
    }
}

#[async_trait]
impl AlertSink for WebhookSink {
    async fn deliver(&self, alert: &Value) -> Result<(), String> {
        let ready = self.ready(alert)?;
        let answer = self.wire.send(&ready, &self.config, LIMIT).await;
        match answer.map_err(|error| error.to_string())? {
            Answer::Got { status, .. } if (200..300).contains(&status) => Ok(()),
            Answer::Got { status, .. } => Err(format!("the server answered {status}")),
            Answer::NotSent(why) | Answer::Lost(why) => Err(why),
        }
    }
}

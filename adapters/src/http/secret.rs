//! Secrets of requests: read where the worker allows it, sent, and nowhere else.
//!
//! **Invariant:** no text that leaves this adapter (output, error, log) holds a secret that the request was made with.

use std::io::Read;

use redress::adapter::AdapterError;
use secrecy::{ExposeSecret, SecretString};

use super::with::Source;
use crate::config::HttpConfig;

/// Most bytes of a secret.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// What stands where a secret stood.
const HIDDEN: &str = "[secret]";

/// Why a secret may not be used here.
pub(super) fn unlisted(source: &Source, config: &HttpConfig) -> Option<String> {
    match source {
        Source::Env(name) if !config.secret_env.contains(name) => Some(format!(
            "this worker does not list the variable (http.secret_env): {name}"
        )),
        Source::File(path) if !config.secret_files.contains(path) => Some(format!(
            "this worker does not list the file (http.secret_files): {}",
            path.display()
        )),
        Source::Env(_) | Source::File(_) => None,
    }
}

/// Reads a secret anew: it may have been changed.
pub(super) fn read(source: &Source, config: &HttpConfig) -> Result<SecretString, AdapterError> {
    if let Some(why) = unlisted(source, config) {
        return Err(AdapterError::Hold(why));
    }
    let missing = |what: String| AdapterError::Hold(format!("the secret cannot be read: {what}"));
    let text = match source {
        Source::Env(name) => {
            std::env::var(name).map_err(|_| missing(format!("variable {name}")))?
        }
        Source::File(path) => {
            let place = path.display();
            let file = std::fs::File::open(path);
            let file = file.map_err(|error| missing(format!("{error}, {place}")))?;
            let mut text = String::new();
            let read = file.take(SECRET_BYTES_MAX).read_to_string(&mut text);
            read.map_err(|error| missing(format!("{error}, {place}")))?;
            text
        }
    };
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(missing("it is empty".to_owned()));
    }
    Ok(SecretString::from(secret))
}

/// A text without the secrets, as they are and as JSON writes them.
pub(super) fn hidden(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets {
        let plain = secret.expose_secret();
        text = text.replace(plain, HIDDEN);
        let quoted = serde_json::Value::from(plain).to_string();
        let quoted = quoted.trim_matches('"');
        if quoted != plain {
            text = text.replace(quoted, HIDDEN);
        }
    }
    text
}

//! Spans for a collector, by OTLP over HTTP: on where `OTEL_EXPORTER_OTLP_ENDPOINT` (or `..._TRACES_ENDPOINT`) is set.
//!
//! **Invariant:** a run never waits for a collector: spans go into a bounded queue that a thread of its own empties; what does
//! not fit or cannot be sent is dropped.
//!
//! **Not here:** trace context from outside. A run may be driven by several processes over days; its spans carry its id, and a
//! parent given at the start would have to be kept in a record.

use std::env;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracerProvider, Tracer};
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long the end of a command waits for what is not sent yet.
const FLUSH_MAX: Duration = Duration::from_secs(3);
/// How long one request to a collector may take.
const REQUEST_MAX: Duration = Duration::from_secs(10);
/// Variables that name a collector.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
];

/// Spans that are on their way.
pub(super) struct Spans(SdkTracerProvider);

impl Spans {
    /// Sends what waits, for a bounded time.
    pub fn flush(self) {
        let (done, ended) = std::sync::mpsc::channel();
        // In a thread: a collector that swallows everything is not waited for.
        std::thread::spawn(move || {
            let result = self.0.shutdown_with_timeout(FLUSH_MAX);
            let _ = done.send(result);
        });
        match ended.recv_timeout(FLUSH_MAX) {
            Ok(Ok(())) => {}
            _ => tracing::debug!("not every span was sent"),
        }
    }
}

/// A layer that sends spans, where the environment names a collector.
pub(super) fn spans<S>() -> Option<(impl Layer<S>, Spans)>
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    if !wanted(|name| env::var(name).ok()) {
        return None;
    }
    match provider() {
        Ok(provider) => {
            let tracer = provider.tracer("redress");
            Some((layer(tracer), Spans(provider)))
        }
        Err(error) => {
            // No subscriber listens yet.
            eprintln!("redress: no spans are sent: {error}");
            None
        }
    }
}

fn layer<S>(tracer: Tracer) -> impl Layer<S>
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    // Ours and at `info`: what hyper or the collector's own client says would be about this very sending.
    let ours = Targets::new()
        .with_default(LevelFilter::OFF)
        .with_target("redress", Level::INFO);
    OpenTelemetryLayer::new(tracer)
        .with_location(false)
        .with_threads(false)
        .with_filter(ours)
}

fn wanted(get: impl Fn(&str) -> Option<String>) -> bool {
    let is = |name: &str, word: &str| {
        get(name).is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
    };
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return false;
    }
    let named = |name: &&str| get(name).is_some_and(|value| !value.trim().is_empty());
    ENDPOINTS.iter().any(|name| named(name))
}

fn provider() -> Result<SdkTracerProvider, String> {
    // Whoever was first may have chosen another one, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::blocking::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(REQUEST_MAX)
        .user_agent(concat!("redress/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .build()
        .map_err(|error| error.to_string())?;
    let mut resource = Resource::builder();
    if env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("redress");
    }
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.with_attribute(version).build())
        .with_batch_exporter(exporter)
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_sent_where_the_environment_names_a_collector_and_does_not_forbid_it() {
        let check = |variables: &[(&str, &str)], meant: bool| {
            let get = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(wanted(get), meant, "{variables:?}");
        };
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        check(&[], false);
        check(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false);
        check(&[endpoint], true);
        check(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x")], true);
        check(&[endpoint, ("OTEL_SDK_DISABLED", "TRUE")], false);
        check(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")], false);
    }
}

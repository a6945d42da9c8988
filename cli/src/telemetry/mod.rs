//! What leaves the process of what is told and counted: lines on standard error, figures for Prometheus, spans by OTLP.
//!
//! **Invariant:** whoever listens never slows or fails a run: figures are read when somebody asks, spans wait in a bounded
//! queue that drops what does not fit, and an end waits for them a bounded time.
//!
//! **Not here:** names and meanings: `redress::telemetry` and `redress::metric`.

mod address;
#[cfg(feature = "otel")]
mod otel;
#[cfg(feature = "prometheus")]
mod serve;

pub use address::Address;
#[cfg(feature = "prometheus")]
pub use serve::{Served, serve};
#[cfg(not(feature = "prometheus"))]
pub use without::{Served, serve};

use std::io;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::args::Globals;

/// What still has to be sent when the command ends.
#[must_use = "what is dropped is not sent"]
#[derive(Default)]
pub struct Listening {
    #[cfg(feature = "otel")]
    spans: Option<otel::Spans>,
}

impl Listening {
    /// Sends what waits, for a bounded time.
    pub fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(spans) = self.spans {
            spans.flush();
        }
    }
}

/// Sends what the engine tells to standard error, and its spans to a collector where the environment names one.
pub fn listen(globals: &Globals) -> Listening {
    let level = match (globals.quiet, globals.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, 2) => "debug",
        (false, _) => "trace",
    };
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("warn,redress={level}")));
    // The driver tells every statement with its parameters at `debug`: those are a run's values.
    let filter = match "tokio_postgres=warn".parse() {
        Ok(quiet) => filter.add_directive(quiet),
        Err(_) => filter,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false)
        .with_filter(filter);
    let subscriber = tracing_subscriber::registry().with(lines);
    #[cfg(feature = "otel")]
    {
        let (layer, spans) = otel::spans().unzip();
        // A second subscriber is refused; then somebody listens already.
        let _ = subscriber.with(layer).try_init();
        Listening { spans }
    }
    #[cfg(not(feature = "otel"))]
    {
        let _ = subscriber.try_init();
        Listening::default()
    }
}

/// A build without the feature `prometheus` says so, where figures are asked for.
#[cfg(not(feature = "prometheus"))]
mod without {
    use redress::Engine;

    use super::Address;
    use crate::fail::Fail;
    use crate::place::Place;

    /// Nothing is served.
    #[derive(Debug)]
    pub struct Served;

    impl Served {
        /// Nothing to end.
        pub fn end(self) {}
    }

    /// Refuses to serve.
    ///
    /// # Errors
    /// RD0938 when an address was given.
    pub async fn serve(
        _: &Place,
        _: &Engine,
        address: Option<&Address>,
    ) -> Result<Option<Served>, Fail> {
        match address {
            None => Ok(None),
            Some(_) => Err(Fail::own(
                "RD0938",
                "this command was built without the feature `prometheus`",
            )),
        }
    }
}

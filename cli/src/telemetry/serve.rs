//! `/metrics` in Prometheus' text, `/healthz` (the process lives) and `/readyz` (the database answers and no kill is in force).
//!
//! **Invariant:** only GET and HEAD of these three; a request has a time limit, its body is never read, and so many connections
//! are served at once and no more.
//!
//! **What can go wrong:** the database does not answer: the figures are what was last known, with `redress_up 0` and their age.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use redress::Engine;
use redress::metric::{self, Kind, Sampler};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::Address;
use crate::fail::Fail;
use crate::place::Place;

/// Connections that are served at once.
const CONNECTIONS_MAX: usize = 16;
/// How long a request's head may take.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// How long a connection may stay.
const CONNECTION_MAX: Duration = Duration::from_secs(60);
/// Figures of the database that are younger are shown again.
const YOUNG: Duration = Duration::from_secs(1);
/// How long whoever asks waits for younger ones.
const WAIT: Duration = Duration::from_secs(2);
/// How often what was measured is folded into the buckets, so that it does not pile up where nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);
/// Pause after a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(100);

/// Figures that are being served; ends when it is dropped.
#[derive(Debug)]
pub struct Served {
    tasks: [JoinHandle<()>; 2],
}

impl Served {
    /// Serves no more.
    pub fn end(self) {}
}

impl Drop for Served {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

struct Figures {
    handle: PrometheusHandle,
    sampler: Sampler,
}

/// Begins to serve, where an address was given.
///
/// # Errors
/// RD0938 when nobody can listen there.
pub async fn serve(
    place: &Place,
    engine: &Engine,
    address: Option<&Address>,
) -> Result<Option<Served>, Fail> {
    let Some(Address(address)) = address else {
        return Ok(None);
    };
    let refused = |why: String| Fail::own("RD0938", format!("no figures can be served: {why}"));
    let handle = recorder().map_err(refused)?;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|error| refused(format!("{error}, {address}")))?;
    let bound = listener.local_addr();
    let bound = bound.map_err(|error| refused(error.to_string()))?;
    place
        .say
        .notice(&format!("figures on http://{bound}/metrics"));
    let figures = Arc::new(Figures {
        handle: handle.clone(),
        sampler: engine.sampler(),
    });
    let upkeep = async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            handle.run_upkeep();
        }
    };
    let tasks = [
        tokio::spawn(accept(listener, figures)),
        tokio::spawn(upkeep),
    ];
    Ok(Some(Served { tasks }))
}

fn recorder() -> Result<PrometheusHandle, String> {
    let mut builder = PrometheusBuilder::new();
    for metric in metric::ALL {
        if metric.kind == Kind::Histogram {
            let name = Matcher::Full(metric.name.to_owned());
            builder = builder
                .set_buckets_for_metric(name, metric::BUCKETS_SECONDS)
                .map_err(|error| error.to_string())?;
        }
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    metric::describe();
    Ok(handle)
}

async fn accept(listener: TcpListener, figures: Arc<Figures>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(stream, Arc::clone(&figures), slot));
            }
            // Too many open files, say: no reason to spin.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, figures: Arc<Figures>, _slot: OwnedSemaphorePermit) {
    let service = service_fn(|request: Request<Incoming>| {
        let figures = Arc::clone(&figures);
        async move { Ok::<_, Infallible>(figures.answer(request.method(), request.uri().path()).await) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever hangs up or stays too long has no answer, which is nobody's error.
    let _ = tokio::time::timeout(CONNECTION_MAX, serving).await;
}

impl Figures {
    async fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(path, "/metrics" | "/healthz" | "/readyz") {
            let text = "there are /metrics, /healthz and /readyz\n";
            return plain(StatusCode::NOT_FOUND, text.to_owned());
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET\n".to_owned());
            response
                .headers_mut()
                .insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if path == "/healthz" {
            return plain(StatusCode::OK, "alive\n".to_owned());
        }
        self.sampler.fresh(YOUNG, WAIT).await;
        if path == "/metrics" {
            return plain(StatusCode::OK, self.handle.render());
        }
        match self.sampler.ready() {
            Ok(()) => plain(StatusCode::OK, "ready\n".to_owned()),
            Err(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        }
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

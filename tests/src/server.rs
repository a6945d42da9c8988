//! A small HTTP server on a loopback address, which remembers what it heard and behaves as badly as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// One request as it was heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// The method.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers whole.
    Say(u16, String),
    /// Answers with a redirect.
    Redirect(String),
    /// Never answers.
    Hang,
    /// Closes without an answer.
    Close,
    /// Promises more than it sends, and closes.
    Cut(u16, String),
    /// Answers with so many bytes.
    Flood(u16, usize),
}

type Serve = dyn Fn(&Heard) -> Reply + Send + Sync;

/// The server; dropping it ends it.
pub struct Server {
    /// `127.0.0.1:PORT`.
    pub host: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Serves on a free port.
    pub async fn start(serve: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        Self::behind(None, serve).await
    }

    /// Serves over TLS, with a certificate for `localhost` that nobody knows; gives it too, as PEM.
    pub async fn start_tls(
        serve: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let chain = vec![CertificateDer::from(made.cert.der().to_vec())];
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("its key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions of TLS")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut server = Self::behind(Some(acceptor), serve).await;
        server.host = server.host.replace("127.0.0.1", "localhost");
        (server, made.cert.pem())
    }

    async fn behind(
        tls: Option<TlsAcceptor>,
        serve: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (all, serve): (_, Arc<Serve>) = (Arc::clone(&heard), Arc::new(serve));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (all, serve, tls) = (Arc::clone(&all), Arc::clone(&serve), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => answer(stream, all, serve).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                answer(stream, all, serve).await;
                            }
                        }
                    }
                });
            }
        });
        Self { host, heard, task }
    }

    /// Every request so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Method and target of every request so far.
    pub fn lines(&self) -> Vec<String> {
        let heard = self.heard();
        heard
            .iter()
            .map(|one| format!("{} {}", one.method, one.target))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    all: Arc<Mutex<Vec<Heard>>>,
    serve: Arc<Serve>,
) {
    let Some(heard) = listen(&mut stream).await else {
        return;
    };
    let reply = serve(&heard);
    all.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(heard);
    let head = |status: u16, length: usize, more: &str| {
        format!(
            "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nconnection: close\r\n{more}\r\n"
        )
    };
    let text = match reply {
        Reply::Say(status, body) => format!("{}{body}", head(status, body.len(), "")),
        Reply::Redirect(to) => head(307, 0, &format!("location: {to}\r\n")),
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(600)).await;
            return;
        }
        Reply::Close => return,
        Reply::Cut(status, body) => format!("{}{body}", head(status, body.len() + 100, "")),
        Reply::Flood(status, bytes) => {
            let head = head(status, bytes, "");
            let _ = stream.write_all(head.as_bytes()).await;
            let block = vec![b'x'; 64 * 1024];
            for _ in 0..bytes / block.len() {
                if stream.write_all(&block).await.is_err() {
                    return;
                }
            }
            return;
        }
    };
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

async fn listen<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Heard> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        match stream.read(&mut buffer).await {
            Ok(n @ 1..) => bytes.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let pairs = lines.filter_map(|line| line.split_once(": "));
    let headers: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers
        .get("content-length")
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    let mut body = bytes[end + 4..].to_vec();
    while body.len() < length {
        match stream.read(&mut buffer).await {
            Ok(n @ 1..) => body.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
    Some(Heard {
        method,
        target,
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

//! A relay before a server that cuts, swallows, stalls or dribbles at a chosen moment.
//!
//! Clients come in over TCP; the relay goes on to the server's Unix socket. It reads messages,
//! not packets, so it finds a COMMIT that was sent in one flight with other statements.
//!
//! **Invariant:** a fault is counted before the client can notice it, and only if it takes place:
//! one that waits for a COMMIT's answer stays armed when the server answers an error instead.
//!
//! **Not here:** TLS (a client that asks is told no), and faults of the server itself.

mod link;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::HashSet;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use redress_cli::cluster::tcp_url;

use crate::cluster::TestCluster;

/// Which of a client's messages a fault waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A message that makes the server execute COMMIT.
    Commit,
    /// A message that makes the server execute SQL containing this text.
    Sql(String),
}

/// What happens at the message. "Before it" means that what the client sent earlier, in the same
/// flight or not, still goes to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The server's side is cut before it; the client's side only when the server has ended the
    /// session. So the client finds a transaction that is already rolled back.
    Cut,
    /// It and all after it are swallowed: both sides are cut at once, the client's first. The
    /// client has sent it, the server never reads it.
    Swallow,
    /// As `Swallow`, but the server is not told: its session stays open in its transaction until
    /// its own timeout or [`Relay::resume`].
    SwallowOpen,
    /// It goes to the server, and when the server has answered it, both sides are cut before the
    /// answer reaches the client. Only a COMMIT that was carried out counts.
    SwallowAnswer,
    /// The connection goes silent before it, both ways, until [`Relay::resume`].
    Stall,
    /// It goes to the server; when the server has answered, the connection goes silent before the
    /// answer, until [`Relay::resume`]. Only a COMMIT that was carried out counts.
    StallAnswer,
}

/// A fault that waits for its message.
#[derive(Debug, Clone)]
struct Armed {
    trigger: Trigger,
    fault: Fault,
    nth: u64,
    seen: u64,
    again: bool,
}

/// What the relay's threads share.
#[derive(Debug, Default)]
struct State {
    armed: Vec<Armed>,
    fired: u64,
    commits: u64,
    connections: u64,
    /// Pieces of this many bytes, with a pause after each; 0 sends as it comes.
    dribble: (usize, Duration),
    silent: bool,
    silent_links: HashSet<u64>,
    refusing: bool,
    closed: bool,
    links: Vec<(u64, TcpStream, UnixStream)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment; a panic in between leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits while the connection has to be silent.
    fn wait_open(&self, link: u64) {
        let mut state = self.state();
        while !state.closed && (state.silent || state.silent_links.contains(&link)) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A running relay; dropping it cuts every connection.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl Relay {
    /// Starts a relay before a test server.
    pub fn before(cluster: &TestCluster) -> Self {
        Self::to_socket(&cluster.socket())
    }

    /// Starts a relay before a server's Unix socket.
    pub fn to_socket(server: &Path) -> Self {
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).expect("the loopback address has a free port");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let acceptor = {
            let (shared, server) = (Arc::clone(&shared), server.to_path_buf());
            thread::spawn(move || accept(&listener, &shared, &server))
        };
        Self {
            shared,
            address,
            acceptor: Some(acceptor),
        }
    }

    /// A superuser's URL through the relay.
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// A URL through the relay.
    pub fn url_as(&self, role: &str, database: &str) -> String {
        tcp_url(self.address.port(), role, database)
    }

    /// The relay's port on the loopback address.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Arms a fault for the n-th COMMIT from now, counted over all connections, from 1.
    pub fn arm_commit(&self, fault: Fault, nth: u64) {
        self.arm(Trigger::Commit, fault, nth, false);
    }

    /// Arms a fault for the n-th message of a kind from now, from 1; `again` arms it anew each
    /// time it has been met.
    pub fn arm(&self, trigger: Trigger, fault: Fault, nth: u64, again: bool) {
        assert!(nth > 0, "messages are counted from 1");
        let armed = Armed {
            trigger,
            fault,
            nth,
            seen: 0,
            again,
        };
        self.shared.change(|state| state.armed.push(armed));
    }

    /// Takes back every fault that has not been met yet.
    pub fn disarm(&self) {
        self.shared.change(|state| state.armed.clear());
    }

    /// How many faults were carried out.
    pub fn fired(&self) -> u64 {
        self.shared.state().fired
    }

    /// How many COMMITs clients have sent.
    pub fn commits(&self) -> u64 {
        self.shared.state().commits
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared.state().connections
    }

    /// Waits until that many faults were carried out; false when the deadline passes first.
    pub fn wait_fired(&self, count: u64, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.shared.state();
        while state.fired < count {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            (state, _) = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        true
    }

    /// Goes silent on every connection, new ones too: half-open, as when a cable is pulled.
    pub fn stall(&self) {
        self.shared.change(|state| state.silent = true);
    }

    /// Ends every silence, and lets servers know of the clients that were cut from them.
    pub fn resume(&self) {
        self.shared.change(|state| {
            state.silent = false;
            state.silent_links.clear();
        });
    }

    /// Sends on in pieces of `bytes`, each followed by a pause; 0 ends it.
    pub fn dribble(&self, bytes: usize, pause: Duration) {
        self.shared.change(|state| state.dribble = (bytes, pause));
    }

    /// Cuts every connection that there is now.
    pub fn cut_all(&self) {
        for (_, client, server) in &self.shared.state().links {
            cut(client, server);
        }
    }

    /// Refuses new connections, or takes them again.
    pub fn refuse(&self, refusing: bool) {
        self.shared.change(|state| state.refusing = refusing);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.change(|state| state.closed = true);
        self.cut_all();
        // Wakes the acceptor, which then sees that the relay is closed.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, server: &Path) {
    for client in listener.incoming() {
        let (closed, refusing) = {
            let state = shared.state();
            (state.closed, state.refusing)
        };
        if closed {
            return;
        }
        if let (Ok(client), false) = (client, refusing) {
            // A server that is down shows as a connection that ends at once.
            let _ = link::open(client, server, shared);
        }
    }
}

/// Cuts both sides; a side that is gone already needs no cutting.
fn cut(client: &TcpStream, server: &UnixStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

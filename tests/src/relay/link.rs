//! One connection through the relay: a thread for each direction.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::wire::{Message, Opening, Session, Splitter, commits};
use super::{Armed, Fault, Shared, State, Trigger, cut};

/// Connects a client to the server and starts both threads.
pub(super) fn open(client: TcpStream, server: &Path, shared: &Arc<Shared>) -> io::Result<()> {
    let server = UnixStream::connect(server)?;
    client.set_nodelay(true)?;
    let (client_view, server_view) = (client.try_clone()?, server.try_clone()?);
    let (client_back, server_back) = (client.try_clone()?, server.try_clone()?);
    let mut number = 0;
    shared.change(|state| {
        state.connections += 1;
        number = state.connections;
        state.links.push((number, client_view, server_view));
    });
    let between = Arc::new(Mutex::new(Between::default()));
    let front = Link {
        shared: Arc::clone(shared),
        number,
        client,
        server,
        between: Arc::clone(&between),
    };
    let back = Link {
        shared: Arc::clone(shared),
        number,
        client: client_back,
        server: server_back,
        between,
    };
    thread::spawn(move || front.forward());
    thread::spawn(move || back.answer());
    Ok(())
}

/// A fault that waits for the server's answer to a COMMIT.
struct Awaited {
    armed: Armed,
    /// COMMITs of this connection that were sent earlier and are not answered yet.
    skip: u64,
}

/// What one thread of a connection leaves to the other.
#[derive(Default)]
struct Between {
    awaited: Option<Awaited>,
    /// The client is cut by the thread that forwards, after the server's end.
    cutting: bool,
}

/// What both threads of one connection have.
struct Link {
    shared: Arc<Shared>,
    number: u64,
    client: TcpStream,
    server: UnixStream,
    between: Arc<Mutex<Between>>,
}

/// Whether the thread goes on after a message.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    End,
}

impl Link {
    /// Sends a client's messages on to the server.
    fn forward(mut self) {
        // An end is an end: a connection that broke is what this relay is for.
        let _ = self.forward_all();
        cut(&self.client, &self.server);
        self.forget();
    }

    fn forward_all(&mut self) -> io::Result<()> {
        let mut splitter = Splitter::of_client();
        let mut session = Session::default();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut unanswered = 0;
        loop {
            let read = (&self.client).read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            splitter.push(&chunk[..read]);
            let mut flight = Vec::new();
            while let Some(message) = splitter.next().map_err(io::Error::other)? {
                if message.tag.is_none() && message.opening() == Opening::Encryption {
                    (&self.client).write_all(b"N")?;
                    continue;
                }
                let sql = session.executes(&message);
                if let Some(armed) = sql.as_deref().and_then(|sql| self.meet(sql)) {
                    self.to_server(&flight)?;
                    flight.clear();
                    if self.strike(armed, unanswered)? == Next::End {
                        return Ok(());
                    }
                }
                unanswered += u64::from(sql.is_some_and(|sql| commits(&sql)));
                if message.tag == Some(b'S') {
                    unanswered = 0;
                }
                flight.extend(message.bytes);
            }
            self.to_server(&flight)?;
        }
    }

    /// Counts an executed statement; gives the fault that it meets, if any.
    fn meet(&self, sql: &str) -> Option<Armed> {
        let mut state = self.shared.state();
        state.commits += u64::from(commits(sql));
        let mut met = None;
        for (index, armed) in state.armed.iter_mut().enumerate() {
            let fits = match &armed.trigger {
                Trigger::Commit => commits(sql),
                Trigger::Sql(text) => sql.contains(text.as_str()),
            };
            if fits {
                armed.seen += 1;
                if armed.seen >= armed.nth && met.is_none() {
                    met = Some(index);
                }
            }
        }
        let armed = state.armed.remove(met?);
        Some(armed)
    }

    /// Carries out a fault that stands before a message, or prepares one that waits for the answer.
    fn strike(&mut self, armed: Armed, skip: u64) -> io::Result<Next> {
        match armed.fault {
            Fault::Cut => {
                self.between().cutting = true;
                self.server.shutdown(Shutdown::Write)?;
                self.await_server_end()?;
                self.fired(armed);
                cut(&self.client, &self.server);
                Ok(Next::End)
            }
            Fault::Swallow => {
                self.fired(armed);
                cut(&self.client, &self.server);
                Ok(Next::End)
            }
            Fault::SwallowOpen => {
                self.silence();
                self.fired(armed);
                let _ = self.client.shutdown(Shutdown::Both);
                self.shared.wait_open(self.number);
                Ok(Next::End)
            }
            Fault::Stall => {
                self.silence();
                self.fired(armed);
                Ok(Next::Go)
            }
            Fault::SwallowAnswer | Fault::StallAnswer => {
                self.between().awaited = Some(Awaited { armed, skip });
                Ok(Next::Go)
            }
        }
    }

    /// Waits until the other thread has seen the server end the session.
    fn await_server_end(&self) -> io::Result<()> {
        let mut state = self.shared.state();
        while !state.closed
            && state
                .links
                .iter()
                .any(|(number, ..)| *number == self.number)
        {
            let (next, waited) = self
                .shared
                .changed
                .wait_timeout(state, SERVER_END_LIMIT)
                .unwrap_or_else(PoisonError::into_inner);
            state = next;
            if waited.timed_out() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }

    /// Sends the server's messages back to the client.
    fn answer(mut self) {
        let _ = self.answer_all();
        // Who waits for the server's end may go on now.
        self.forget();
        if !self.between().cutting {
            cut(&self.client, &self.server);
        }
    }

    fn answer_all(&mut self) -> io::Result<()> {
        let mut splitter = Splitter::of_server();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = (&self.server).read(&mut chunk)?;
            if read == 0 {
                return Ok(());
            }
            splitter.push(&chunk[..read]);
            let mut flight = Vec::new();
            while let Some(message) = splitter.next().map_err(io::Error::other)? {
                if let Some(armed) = self.judge(&message) {
                    self.to_client(&flight)?;
                    flight.clear();
                    if armed.fault != Fault::StallAnswer {
                        self.fired(armed);
                        return Ok(());
                    }
                    self.silence();
                    self.fired(armed);
                }
                flight.extend(message.bytes);
            }
            self.to_client(&flight)?;
        }
    }

    /// Gives the fault whose answer this message is; arms it again if there was no COMMIT.
    fn judge(&self, message: &Message) -> Option<Armed> {
        let mut between = self.between();
        let waiting = between.awaited.as_mut()?;
        if message.says_committed() && waiting.skip == 0 {
            return between.awaited.take().map(|waiting| waiting.armed);
        }
        if message.is_error() || (message.says_rolled_back() && waiting.skip == 0) {
            let armed = between.awaited.take().map(|waiting| waiting.armed);
            self.shared.change(|state| rearm(state, armed, 1));
        } else if message.says_committed() || message.says_rolled_back() {
            waiting.skip -= 1;
        }
        None
    }

    /// Counts a fault that was carried out.
    fn fired(&self, armed: Armed) {
        self.shared.change(|state| {
            state.fired += 1;
            if armed.again {
                let nth = armed.nth;
                rearm(state, Some(armed), nth);
            }
        });
    }

    /// Makes this connection go silent.
    fn silence(&self) {
        self.shared.change(|state| {
            state.silent_links.insert(self.number);
        });
    }

    fn between(&self) -> MutexGuard<'_, Between> {
        self.between.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to_server(&self, bytes: &[u8]) -> io::Result<()> {
        self.send(&self.server, bytes)
    }

    fn to_client(&self, bytes: &[u8]) -> io::Result<()> {
        self.send(&self.client, bytes)
    }

    fn send(&self, mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.shared.wait_open(self.number);
        let (size, pause) = self.shared.state().dribble;
        if size == 0 {
            return to.write_all(bytes);
        }
        for piece in bytes.chunks(size) {
            to.write_all(piece)?;
            thread::sleep(pause);
            self.shared.wait_open(self.number);
        }
        Ok(())
    }

    fn forget(&self) {
        self.shared
            .change(|state| state.links.retain(|(number, ..)| *number != self.number));
    }
}

/// Puts a fault back, to be met at the nth message from now.
fn rearm(state: &mut State, armed: Option<Armed>, nth: u64) {
    if let Some(mut armed) = armed {
        armed.seen = armed.nth - nth.min(armed.nth);
        state.armed.push(armed);
    }
}

const CHUNK_BYTES: usize = 64 * 1024;
const SERVER_END_LIMIT: Duration = Duration::from_secs(30);

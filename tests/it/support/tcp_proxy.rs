//! A small proxy between a client and a server, with switches for the network's bad moments:
//! refuse, hold a request before the server sees it, drop or hold or cut the answer after the
//! server has acted.
//!
//! Knows just enough of HTTP/1.1 to tell one request from the next on a connection that is kept
//! alive: bytes from the client after bytes from the server begin a new request (nobody here
//! pipelines). Switches apply to requests whose first bytes contain the text given to
//! [`TcpProxy::only`]; all others pass. What happens is counted, and waited for by event.

use super::ports;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What happens to the requests that are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Everything goes through.
    Pass,
    /// Nobody listens: new connections are refused, those that are open are cut.
    Refuse,
    /// The request waits at the proxy until another mode is set; the server knows nothing of it.
    HoldRequest,
    /// The server has acted; its answer waits at the proxy until another mode is set.
    HoldAnswer,
    /// The server has acted; its answer is thrown away and the connection closed.
    DropAnswer,
    /// The answer is cut after so many bytes.
    CutAnswer(usize),
}

/// What has happened so far, of the requests that are meant.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken, whatever they were for.
    pub connections: u64,
    /// Requests that waited at the proxy before the server saw them.
    pub held_requests: u64,
    /// Requests passed on to the server.
    pub forwarded: u64,
    /// Requests whose answer has begun to arrive from the server: it has acted.
    pub acted: u64,
    /// Answers that were passed on, at least in part.
    pub answered: u64,
}

struct State {
    mode: Mode,
    only: Option<String>,
    counts: Counts,
    open: BTreeMap<u64, [TcpStream; 2]>,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    bell: Condvar,
    port: u16,
    target: u16,
}

/// A proxy on a port of loopback; stops with the value.
pub struct TcpProxy {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl TcpProxy {
    /// A proxy in front of a port of loopback, passing everything.
    pub fn start(target: u16) -> Self {
        let state = State {
            mode: Mode::Pass,
            only: None,
            counts: Counts::default(),
            open: BTreeMap::new(),
            ended: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            bell: Condvar::new(),
            port: ports::free_port(),
            target,
        });
        let listener = TcpListener::bind(("127.0.0.1", shared.port)).expect("opening the proxy");
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || shared.accept(Some(listener)))
        };
        Self { shared, acceptor: Some(acceptor) }
    }

    /// The port to give to the client.
    pub fn port(&self) -> u16 {
        self.shared.port
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.shared.port)
    }

    /// Sets the mode; what is held goes on under the new one.
    pub fn set(&self, mode: Mode) {
        let mut state = self.shared.lock();
        let was = std::mem::replace(&mut state.mode, mode);
        if mode == Mode::Refuse {
            state.cut_all();
        }
        self.shared.bell.notify_all();
        drop(state);
        if mode == Mode::Refuse && was != Mode::Refuse {
            // wakes the acceptor, which then closes its listener
            let _ = TcpStream::connect(("127.0.0.1", self.shared.port));
            super::wait::eventually(super::wait::SOON, "the proxy refuses", || {
                TcpStream::connect(("127.0.0.1", self.shared.port)).err()
            });
        } else if was == Mode::Refuse && mode != Mode::Refuse {
            ports::wait_listening(self.shared.port, "the proxy");
        }
    }

    /// From now on only requests whose first bytes contain the text are meant: `POST /token`.
    pub fn only(&self, text: &str) {
        self.shared.lock().only = Some(text.to_owned());
    }

    /// Cuts every open connection.
    pub fn cut_all(&self) {
        self.shared.lock().cut_all();
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Waits until the counts are as wanted and returns them.
    pub fn wait(&self, deadline: Duration, what: &str, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let end = Instant::now() + deadline;
        let mut state = self.shared.lock();
        while !wanted(&state.counts) {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not within {deadline:?}: {what}; {:?}", state.counts);
            state = self.shared.bell.wait_timeout(state, left).expect("the proxy").0;
        }
        state.counts
    }

    /// Waits until the server has acted on the n-th request that is meant.
    pub fn wait_acted(&self, n: u64) -> Counts {
        self.wait(super::wait::SOON, &format!("request {n} acted on"), |c| c.acted >= n)
    }

    /// Waits until the n-th request that is meant waits at the proxy ([`Mode::HoldRequest`]).
    pub fn wait_held_request(&self, n: u64) -> Counts {
        self.wait(super::wait::SOON, &format!("request {n} held"), |c| c.held_requests >= n)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.ended = true;
            state.cut_all();
        }
        self.shared.bell.notify_all();
        let _ = TcpStream::connect(("127.0.0.1", self.shared.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl State {
    fn cut_all(&mut self) {
        for pair in std::mem::take(&mut self.open).into_values() {
            for stream in pair {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

/// Where a connection stands between two requests.
#[derive(Default)]
struct Turn {
    /// The client's next bytes belong to a request that has begun.
    in_request: bool,
    meant: bool,
    /// The server's next bytes belong to an answer that has begun.
    in_answer: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // a test that failed while it waited must not take the clean-up with it
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the proxy lives and `held` says so; answers with the mode then in force.
    fn wait_while(&self, held: impl Fn(Mode) -> bool) -> Option<Mode> {
        let state = self.lock();
        let state = self.bell.wait_while(state, |s| !s.ended && held(s.mode));
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (!state.ended).then_some(state.mode)
    }

    fn accept(self: &Arc<Self>, mut listener: Option<TcpListener>) {
        let mut number = 0;
        loop {
            let client = match listener.as_ref().map(TcpListener::accept) {
                Some(Ok((client, _))) => Some(client),
                _ => None,
            };
            let mode = {
                let state = self.lock();
                if state.ended {
                    return;
                }
                state.mode
            };
            if mode == Mode::Refuse {
                drop((listener.take(), client));
                if self.wait_while(|mode| mode == Mode::Refuse).is_none() {
                    return;
                }
                listener = TcpListener::bind(("127.0.0.1", self.port)).ok();
                continue;
            }
            let (Some(client), Ok(server)) =
                (client, TcpStream::connect(("127.0.0.1", self.target)))
            else {
                continue; // dropped: the client sees a closed connection, as with a dead server
            };
            number += 1;
            self.lock().counts.connections += 1;
            self.bell.notify_all();
            self.clone().carry(number, client, server);
        }
    }

    fn carry(self: Arc<Self>, number: u64, client: TcpStream, server: TcpStream) {
        let copy = |stream: &TcpStream| stream.try_clone().expect("copying a socket");
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        self.lock().open.insert(number, [copy(&client), copy(&server)]);
        let turn = Arc::new(Mutex::new(Turn::default()));
        let (from, to, shared, t) = (copy(&client), copy(&server), self.clone(), turn.clone());
        std::thread::spawn(move || {
            shared.requests(from, &to, &t);
            let _ = to.shutdown(Shutdown::Write);
        });
        std::thread::spawn(move || {
            self.answers(server, &client, &turn);
            if let Some(pair) = self.lock().open.remove(&number) {
                for stream in pair {
                    let _ = stream.shutdown(Shutdown::Both);
                }
            }
        });
    }

    fn requests(&self, mut from: TcpStream, mut to: &TcpStream, turn: &Mutex<Turn>) {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let first = {
                let mut turn = turn.lock().expect("turn");
                let first = !std::mem::replace(&mut turn.in_request, true);
                if first {
                    turn.in_answer = false;
                    let text = String::from_utf8_lossy(&buffer[..n]);
                    turn.meant = self.lock().only.as_ref().is_none_or(|o| text.contains(o));
                }
                first && turn.meant
            };
            if first {
                let mut state = self.lock();
                if state.mode == Mode::HoldRequest {
                    state.counts.held_requests += 1;
                    self.bell.notify_all();
                    drop(state);
                    if self.wait_while(|mode| mode == Mode::HoldRequest).is_none() {
                        return;
                    }
                }
            }
            if first {
                // counted before: whoever sees the effect of a request sees it counted
                self.lock().counts.forwarded += 1;
                self.bell.notify_all();
            }
            if to.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
    }

    fn answers(&self, mut from: TcpStream, mut to: &TcpStream, turn: &Mutex<Turn>) {
        let mut buffer = vec![0; 64 << 10];
        let mut left = usize::MAX;
        while let Ok(n @ 1..) = from.read(&mut buffer) {
            let (first, meant) = {
                let mut turn = turn.lock().expect("turn");
                turn.in_request = false;
                (!std::mem::replace(&mut turn.in_answer, true), turn.meant)
            };
            if first {
                left = usize::MAX;
            }
            if first && meant {
                self.lock().counts.acted += 1;
                self.bell.notify_all();
                match self.wait_while(|mode| mode == Mode::HoldAnswer) {
                    None | Some(Mode::DropAnswer | Mode::Refuse) => return,
                    Some(Mode::CutAnswer(bytes)) => left = bytes,
                    Some(Mode::Pass | Mode::HoldRequest | Mode::HoldAnswer) => {}
                }
            }
            let part = n.min(left);
            if first && meant {
                self.lock().counts.answered += 1;
                self.bell.notify_all();
            }
            if to.write_all(&buffer[..part]).is_err() {
                return;
            }
            left -= if left == usize::MAX { 0 } else { part };
            if left == 0 {
                return;
            }
        }
    }
}

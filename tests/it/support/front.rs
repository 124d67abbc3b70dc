//! Stands between a client and a plain HTTP server: keeps every byte of both directions (for
//! tests that look for secrets), and can answer in the server's place with anything at all.
//!
//! One request to a connection; the server is asked anew for each. Knows requests with a
//! content-length, which is all that the programs here send.

use super::ports;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Writes a whole answer, head included, or as much of one as it likes.
pub type Liar = Arc<dyn Fn(&mut dyn Write) -> std::io::Result<()> + Send + Sync>;

#[derive(Default)]
struct State {
    target: u16,
    /// Requests whose first line contains the text are answered by this.
    lie: Option<(String, Liar)>,
    lies: u64,
    seen: Vec<Exchange>,
}

/// A request and its answer, as they went over the wire.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Head and body.
    pub request: String,
    /// Head and body.
    pub answer: String,
}

/// Listens until the test ends.
pub struct Front {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Front {
    /// Listens at once; [`Front::aim`] tells where the server is.
    pub fn start() -> Self {
        let port = ports::free_port();
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("opening the front");
        let state: Arc<Mutex<State>> = Arc::default();
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || {
                    let _ = carry(&client, &shared);
                    let _ = client.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, state }
    }

    /// The port of the server behind.
    pub fn aim(&self, port: u16) {
        self.state.lock().expect("the front").target = port;
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// From now on requests whose first line contains `path` are answered by `liar`.
    pub fn lie(&self, path: &str, liar: Liar) {
        self.state.lock().expect("the front").lie = Some((path.to_owned(), liar));
    }

    /// Honest again; how many lies were told since the last time.
    pub fn honest(&self) -> u64 {
        let mut state = self.state.lock().expect("the front");
        state.lie = None;
        std::mem::take(&mut state.lies)
    }

    /// How many lies were told so far.
    pub fn lies(&self) -> u64 {
        self.state.lock().expect("the front").lies
    }

    /// Everything that was passed on so far.
    pub fn seen(&self) -> Vec<Exchange> {
        self.state.lock().expect("the front").seen.clone()
    }
}

/// A liar with a whole answer of status 200.
pub fn json(body: Vec<u8>) -> Liar {
    Arc::new(move |out| {
        let length = body.len();
        write!(
            out,
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )?;
        out.write_all(&body)
    })
}

fn carry(mut client: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut from = BufReader::new(client);
    let mut head = String::new();
    let mut length = 0usize;
    loop {
        let start = head.len();
        if from.read_line(&mut head)? == 0 {
            return Ok(());
        }
        // Answers are to be read here: not packed.
        if head[start..].to_ascii_lowercase().starts_with("accept-encoding") {
            head.truncate(start);
            continue;
        }
        let line = head[start..].trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    let first = head.lines().next().unwrap_or_default().to_owned();
    let (target, lie) = {
        let mut state = state.lock().expect("the front");
        let lie = state.lie.as_ref().filter(|(path, _)| first.contains(path));
        let lie = lie.map(|(_, liar)| Arc::clone(liar));
        state.lies += u64::from(lie.is_some());
        (state.target, lie)
    };
    if let Some(lie) = lie {
        return lie(&mut client);
    }
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    let (line, rest) = head.split_once("\r\n").unwrap_or((&head, ""));
    server.write_all(format!("{line}\r\nconnection: close\r\n{rest}").as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let seen = Exchange { request: head + &text(&body), answer: text(&answer) };
    state.lock().expect("the front").seen.push(seen);
    // The server said that it closes: so do we.
    client.write_all(&answer)
}

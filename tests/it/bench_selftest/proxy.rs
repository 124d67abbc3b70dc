//! The proxy against a small server of the test's own: each switch does what it says.

use crate::support::http::{get, try_request};
use crate::support::tcp_proxy::{Mode, TcpProxy};
use crate::support::wait::{SOON, eventually};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Answers each request of each connection with `n:PATH`; n counts what it has acted on.
fn server() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let acted = Arc::new(AtomicU64::new(0));
    let counter = acted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let counter = counter.clone();
            std::thread::spawn(move || serve(&stream, &counter));
        }
    });
    (port, acted)
}

fn serve(stream: &TcpStream, acted: &AtomicU64) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
        let n = acted.fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!("{n}:{}", first.split(' ').nth(1).unwrap_or_default());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut stream = stream;
        if stream.write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn only_the_meant_requests_are_touched() {
    let (port, acted) = server();
    let proxy = TcpProxy::start(port);
    proxy.only("GET /token");
    proxy.set(Mode::DropAnswer);
    assert_eq!(get(&format!("{}/data", proxy.url())).text(), "1:/data");
    try_request("GET", &format!("{}/token", proxy.url()), &[], b"").expect_err("dropped");
    assert_eq!(acted.load(Ordering::SeqCst), 2, "the server has acted");
    let counts = proxy.wait_acted(1);
    assert_eq!((counts.connections, counts.forwarded, counts.answered), (2, 1, 0));
    proxy.set(Mode::CutAnswer(20));
    try_request("GET", &format!("{}/token", proxy.url()), &[], b"").expect_err("cut");
    proxy.set(Mode::Pass);
    assert_eq!(get(&format!("{}/token", proxy.url())).text(), "4:/token");
}

#[test]
fn requests_on_one_connection_are_told_apart() {
    let (port, _) = server();
    let proxy = TcpProxy::start(port);
    proxy.only("/token");
    let stream = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for (n, path) in ["/a", "/token", "/b", "/token"].iter().enumerate() {
        (&stream).write_all(format!("GET {path} HTTP/1.1\r\n\r\n").as_bytes()).unwrap();
        let mut line = String::new();
        while !line.trim_end().is_empty() || line.is_empty() {
            line.clear();
            assert_ne!(answers.read_line(&mut line).unwrap(), 0);
        }
        let mut body = vec![0; path.len() + 2];
        std::io::Read::read_exact(&mut answers, &mut body).unwrap();
        assert_eq!(String::from_utf8_lossy(&body), format!("{}:{path}", n + 1));
    }
    assert_eq!(proxy.counts().acted, 2);
    assert_eq!(proxy.counts().connections, 1);
}

#[test]
fn requests_and_answers_are_held_until_released() {
    let (port, acted) = server();
    let proxy = TcpProxy::start(port);
    proxy.set(Mode::HoldRequest);
    let address = format!("{}/x", proxy.url());
    let caller = std::thread::spawn({
        let address = address.clone();
        move || get(&address).text()
    });
    proxy.wait_held_request(1);
    assert_eq!(acted.load(Ordering::SeqCst), 0, "the server knows nothing of it");
    proxy.set(Mode::HoldAnswer);
    proxy.wait_acted(1);
    assert_eq!(proxy.counts().answered, 0);
    proxy.set(Mode::Pass);
    assert_eq!(caller.join().unwrap(), "1:/x");
    assert_eq!(proxy.counts().answered, 1);
}

#[test]
fn a_refusing_proxy_refuses_and_comes_back() {
    let (port, _) = server();
    let proxy = TcpProxy::start(port);
    let address = format!("{}/x", proxy.url());
    proxy.set(Mode::Refuse);
    let refused = try_request("GET", &address, &[], b"").expect_err("refused");
    assert!(refused.contains("refused"), "{refused}");
    proxy.set(Mode::Pass);
    let text =
        eventually(SOON, "the proxy passes again", || try_request("GET", &address, &[], b"").ok());
    assert_eq!(text.status, 200);
}

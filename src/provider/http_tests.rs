use super::*;
use crate::provider::test_server::{Counter, http, serve};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

async fn get(http: &Http, url: Url, limit: usize) -> Result<Answer, SendError> {
    let request = http.request(Method::GET, url).unwrap().build().unwrap();
    http.send(request, limit).await
}

/// A server that reads a request, writes `reply` and closes.
async fn raw(reply: &'static [u8]) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 1024];
            let _ = socket.read(&mut buffer).await;
            let _ = socket.write_all(reply).await;
        }
    });
    url(&format!("http://{at}/path?token=CANARY"))
}

fn passing(error: SendError) -> String {
    let (SendError::NotSent(fault) | SendError::Unanswered(fault) | SendError::TooLarge(fault)) =
        error
    else {
        panic!("held");
    };
    let Fault::Passing { what, .. } = fault else { panic!("{fault:?}") };
    assert!(!what.contains("CANARY"), "{what}");
    what
}

#[test]
fn only_https_but_to_loopback() {
    for fine in
        ["https://x.example/", "http://127.0.0.1:80/", "http://[::1]/", "http://localhost:8080/x"]
    {
        assert_eq!(check_url(&url(fine)), Ok(()), "{fine}");
    }
    for bad in [
        "http://x.example/",
        "http://10.0.0.1/",
        "ftp://x/",
        "file:///etc/passwd",
        "http://localhost.evil.example/",
    ] {
        assert!(check_url(&url(bad)).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn what_did_not_leave_is_told_from_what_was_not_answered() {
    let http = http();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = get(&http, url(&format!("http://127.0.0.1:{port}/?t=CANARY")), 10).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
    assert!(passing(error).contains("connecting failed: Connection refused"));

    let error = get(&http, url("https://no-such-host.invalid/?t=CANARY"), 10).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
    assert!(passing(error).starts_with("no-such-host.invalid: name lookup failed"));

    for reply in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
        b"nonsense\r\n\r\n",
    ] {
        let error = get(&http, raw(reply).await, 1000).await.unwrap_err();
        assert!(matches!(error, SendError::Unanswered(_)), "{error:?}");
        passing(error);
    }

    // TLS against a server that speaks none.
    let mut plain = raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    plain.set_scheme("https").unwrap();
    let error = get(&http, plain, 1000).await.unwrap_err();
    assert!(matches!(error, SendError::NotSent(_)), "{error:?}");
    passing(error);
}

#[tokio::test]
async fn bodies_are_bounded_and_redirects_not_followed() {
    let http = http();
    let big = serve(|_| (200, vec![], "x".repeat(5000))).await;
    assert!(matches!(get(&http, big.base.clone(), 4999).await, Err(SendError::TooLarge(_))));
    assert_eq!(get(&http, big.base.clone(), 5000).await.unwrap().body.len(), 5000);
    let away =
        serve(|_| (302, vec![("location", "http://127.0.0.1:1/".into())], String::new())).await;
    assert_eq!(get(&http, away.base.clone(), 10).await.unwrap().status, 302);
    let agent = big.seen.lock().unwrap()[0].headers["user-agent"].to_str().unwrap().to_owned();
    assert!(agent.starts_with("crmsync/"), "{agent}");
}

#[tokio::test]
async fn the_toll_is_paid_around_each_request() {
    let http = http();
    let usage = |headers: &HeaderMap| {
        let used = headers["x-used"].to_str().unwrap().parse().unwrap();
        vec![Usage { limit: "L".into(), used, max: 10, resets: None }]
    };
    let server = serve(|_| (500, vec![("x-used", "7".into())], "x".into())).await;
    let toll = Counter { open: Some(3), ..Counter::default() };
    let request = |url: Url| http.request(Method::GET, url).unwrap().build().unwrap();
    let (answer, told) =
        http.paid(&toll, 2, request(server.base.clone()), 10, usage).await.unwrap();
    assert_eq!((answer.status, told[0].used), (500, 7));
    assert_eq!(toll.counts(), (2, 2));
    assert_eq!(toll.told.lock().unwrap().len(), 1);
    // Held: nothing leaves.
    let held = http.paid(&toll, 2, request(server.base.clone()), 10, usage).await;
    assert!(matches!(held, Err(SendError::Held)));
    assert_eq!(server.targets().len(), 1);
    // No answer: reserved, never settled.
    let toll = Counter::default();
    let cut = http.paid(&toll, 1, request(raw(b"").await), 10, usage).await;
    assert!(matches!(cut, Err(SendError::Unanswered(_))));
    assert_eq!(toll.counts(), (1, 0));
}

#[tokio::test]
async fn a_stream_settles_at_its_end_and_is_lost_when_it_is_cut_or_left() {
    let http = http();
    let request = |url: Url| http.request(Method::GET, url).unwrap().build().unwrap();
    let usage = |_: &HeaderMap| Vec::new();
    let server = serve(|_| (200, vec![("x-a", "1".into())], "x".repeat(100_000))).await;
    let toll = Counter::default();
    let (mut stream, _) =
        http.paid_stream(&toll, 1, request(server.base.clone()), usage).await.unwrap();
    assert_eq!((stream.head.status, &stream.head.headers["x-a"]), (200, &"1".parse().unwrap()));
    assert!(stream.head.server_time().is_some());
    let mut length = 0;
    assert_eq!(toll.counts(), (1, 0));
    while let Some(chunk) = stream.chunk().await.unwrap() {
        length += chunk.len();
    }
    assert_eq!((length, toll.counts()), (100_000, (1, 1)));
    // Left before its end, and cut by the other side.
    let left = http.paid_stream(&toll, 1, request(server.base.clone()), usage).await;
    drop(left);
    let cut = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf").await;
    let (mut stream, _) = http.paid_stream(&toll, 1, request(cut), usage).await.unwrap();
    let error = loop {
        match stream.chunk().await {
            Ok(chunk) => assert!(chunk.is_some()),
            Err(error) => break error,
        }
    };
    assert!(passing(error).contains("the answer was cut"));
    drop(stream);
    assert_eq!(toll.counts(), (3, 1));
}

fn patient(patience: Duration) -> Http {
    let mut inner = Arc::into_inner(Http::new(&Network::default()).unwrap().inner).unwrap();
    inner.patience = patience;
    Http { inner: Arc::new(inner) }
}

#[tokio::test]
async fn a_silent_server_is_given_up_before_its_head_and_within_its_body() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf";
    for reply in [&b""[..], begun] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = url(&format!("http://{}/?t=CANARY", listener.local_addr().unwrap()));
        // Holds the connection open and says no more.
        let silence = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 1024]).await;
            socket.write_all(reply).await.unwrap();
            std::future::pending::<()>().await;
        });
        let error = get(&patient(Duration::from_millis(300)), at, 1000).await.unwrap_err();
        assert!(matches!(error, SendError::Unanswered(_)), "{error:?}");
        let what = passing(error);
        assert!(what.contains("no answer in time"), "{what}");
        silence.abort();
    }
}

/// The clock of the server's silence does not run while the reader is busy with what came.
#[tokio::test]
async fn a_slow_reader_is_not_a_silent_server() {
    let patience = Duration::from_secs(2);
    let http = patient(patience);
    let body = "x".repeat(4 << 20);
    let server = serve(move |_| (200, vec![], body.clone())).await;
    let request = http.request(Method::GET, server.base.clone()).unwrap().build().unwrap();
    let toll = Counter::default();
    let (mut stream, _) = http.paid_stream(&toll, 1, request, |_| Vec::new()).await.unwrap();
    let mut length = stream.chunk().await.unwrap().unwrap().len();
    // The slow reader itself.
    tokio::time::sleep(patience + Duration::from_millis(200)).await;
    while let Some(chunk) = stream.chunk().await.unwrap() {
        length += chunk.len();
    }
    assert_eq!((length, toll.counts()), (4 << 20, (1, 1)));
}

#[test]
fn ca_files_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let network =
        |name: &str| Network { ca_file: Some(dir.path().join(name)), ..Network::default() };
    assert!(matches!(Http::new(&network("absent")), Err(HttpError::CaFile { .. })));
    std::fs::write(dir.path().join("empty"), "").unwrap();
    assert!(matches!(Http::new(&network("empty")), Err(HttpError::CaText { .. })));
    let proxy = Network { proxy: Some("http://".into()), ..Network::default() };
    assert!(matches!(Http::new(&proxy), Err(HttpError::Proxy { .. })));
}

proptest! {
    #[test]
    fn excerpts_are_short_lines(text in "\\PC{0,900}|[\\x00-\\x7f]{0,900}") {
        let short = excerpt(&text);
        prop_assert!(short.len() <= 404);
        prop_assert!(!short.chars().any(char::is_control));
    }
}

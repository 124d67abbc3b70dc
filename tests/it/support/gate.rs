//! A resource server in front of a sandbox for access tokens of another OAuth server: each
//! request's bearer is asked about at that server's introspection endpoint (RFC 7662); an active
//! one is exchanged for a token of the sandbox and the request passed on, any other answered as
//! Salesforce answers a dead session. So a grant of `oidc-provider` reads the sandbox's data.

use super::http;
use super::oidc::Oidc;
use super::sandbox::Sandbox;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

struct Shared {
    introspect: String,
    target: String,
    token: String,
    ended: AtomicBool,
}

/// A gate on a port of loopback; stops with the value.
pub struct Gate {
    shared: Arc<Shared>,
    port: u16,
    acceptor: Option<JoinHandle<()>>,
}

impl Gate {
    /// Lets bearers of `oidc` through to `sandbox`.
    pub fn start(oidc: &Oidc, sandbox: &Sandbox) -> Self {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", &sandbox.client_id),
            ("client_secret", &sandbox.client_secret),
        ];
        let address = format!("{}/services/oauth2/token", sandbox.http);
        let granted = http::post_form(&address, &[], &fields).expect(200).json();
        let shared = Arc::new(Shared {
            introspect: format!("{}/services/oauth2/introspect", oidc.url()),
            target: sandbox.http.clone(),
            token: granted["access_token"].as_str().expect("an access token").to_owned(),
            ended: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("opening the gate");
        let port = listener.local_addr().expect("the gate's port").port();
        let acceptor = {
            let shared = shared.clone();
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(stream) = stream else { continue };
                    let shared = shared.clone();
                    // a client that is killed in between is no failure
                    std::thread::spawn(move || shared.serve(stream));
                }
            })
        };
        Self { shared, port, acceptor: Some(acceptor) }
    }

    /// `http://127.0.0.1:PORT`, the `instance_url` to give out.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    /// One request, one connection.
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let mut from = BufReader::new(stream.try_clone().ok()?);
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let mut words = line.split_whitespace();
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = vec![];
        let (mut bearer, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            from.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
            match name.as_str() {
                "authorization" => bearer = value.replacen("Bearer ", "", 1),
                "content-length" => length = value.parse().ok()?,
                // said by our own client, or not understood by it
                "host" | "connection" | "accept-encoding" => {}
                _ => headers.push((name, value)),
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).ok()?;
        if !self.active(&bearer)? {
            let text =
                r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#;
            let head = "HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\n";
            let end = format!("connection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len());
            return stream.write_all(format!("{head}{end}").as_bytes()).ok();
        }
        headers.push(("authorization".into(), format!("Bearer {}", self.token)));
        let headers: Vec<_> = headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let answer =
            http::try_request(&method, &format!("{}{path}", self.target), &headers, &body).ok()?;
        let mut head = format!("HTTP/1.1 {} As-Told\r\n", answer.status);
        for (name, value) in &answer.headers {
            if !matches!(name.as_str(), "connection" | "content-length" | "transfer-encoding") {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(&format!(
            "connection: close\r\ncontent-length: {}\r\n\r\n",
            answer.body.len()
        ));
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&answer.body).ok()
    }

    fn active(&self, bearer: &str) -> Option<bool> {
        let fields = [
            ("token", bearer),
            ("client_id", super::oidc::CLIENT_ID),
            ("client_secret", super::oidc::CLIENT_SECRET),
        ];
        let body = http::form(&fields);
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let told = http::try_request("POST", &self.introspect, &kind, body.as_bytes()).ok()?;
        Some(told.json()["active"] == true)
    }
}

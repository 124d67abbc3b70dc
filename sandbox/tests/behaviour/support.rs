//! A sandbox process and the smallest HTTP client that can talk to it, with no code of the sandbox.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

pub struct Sandbox {
    child: Child,
    pub ready: Value,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub whole: bool,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// `errorCode` of an error array.
    pub fn code(&self) -> String {
        self.json()[0]["errorCode"].as_str().unwrap_or("").to_owned()
    }

    /// Status, error and description of an OAuth error.
    pub fn oauth(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap_or("").to_owned();
        (self.status, text("error"), text("error_description"))
    }
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

impl Sandbox {
    pub fn start(options: &[&str]) -> Sandbox {
        let mut child = Command::new(env!("CARGO_BIN_EXE_crmsync-sandbox"))
            .arg("serve")
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        Sandbox { child, ready }
    }

    pub fn text(&self, name: &str) -> &str {
        self.ready[name].as_str().unwrap()
    }

    /// Sends a request; `None` when the connection was closed without an answer.
    pub fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Answer> {
        let host = self.text("http").strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            head = head + name + ": " + value + "\r\n";
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // A reset after the answer's last byte is as good as an end.
        let _ = stream.read_to_end(&mut bytes);
        parse(&bytes)
    }

    pub fn get(&self, target: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.send("GET", target, &[("Authorization", &bearer)], "").unwrap()
    }

    pub fn post_form(&self, target: &str, pairs: &[(&str, &str)]) -> Answer {
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        self.send("POST", target, &headers, &form(pairs)).unwrap()
    }

    pub fn json(&self, method: &str, target: &str, token: &str, body: &Value) -> Answer {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        self.send(method, target, &headers, &body.to_string()).unwrap()
    }

    /// A control verb; it must be understood.
    pub fn ctl(&self, verb: &str, args: &[&str]) -> Value {
        let answer = self.ctl_raw(verb, args);
        assert_eq!(answer.status, 200, "{verb}: {}", answer.text());
        answer.json()
    }

    pub fn ctl_raw(&self, verb: &str, args: &[&str]) -> Answer {
        let pairs: Vec<(&str, &str)> = args
            .iter()
            .map(|arg| match arg.split_once('=') {
                Some((name, value))
                    if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') =>
                {
                    (name, value)
                }
                _ => ("arg", *arg),
            })
            .collect();
        self.post_form(&format!("/_sandbox/{verb}"), &pairs)
    }

    pub fn wait(&self, kind: &str, count: &str) {
        let kind = format!("kind={kind}");
        let count = format!("count={count}");
        let seen = self.ctl("wait", &[&kind, &count, "timeout=30"]);
        assert_eq!(seen["reached"], true, "{kind}: {seen}");
    }

    /// A token by client credentials, for the user the app runs as.
    pub fn token(&self) -> String {
        let answer = self.post_form(
            "/services/oauth2/token",
            &[
                ("grant_type", "client_credentials"),
                ("client_id", self.text("client_id")),
                ("client_secret", self.text("client_secret")),
            ],
        );
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// A token for another user.
    pub fn token_of(&self, user: &str) -> String {
        self.ctl("run-as", &[user]);
        self.token()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = &bytes[end + 4..];
    let chunked =
        headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let (body, whole) = if chunked { unchunk(rest) } else { (rest.to_vec(), true) };
    Some(Answer { status, headers, body, whole })
}

fn unchunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return (body, true);
        }
        let from = end + 2;
        if rest.len() < from + size + 2 {
            body.extend_from_slice(&rest[from.min(rest.len())..]);
            return (body, false);
        }
        body.extend_from_slice(&rest[from..from + size]);
        rest = &rest[from + size + 2..];
    }
}

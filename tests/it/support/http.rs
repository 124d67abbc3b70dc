//! A small blocking HTTP/1.1 client over a plain socket: one request, one connection.
//!
//! Written here so that the bench shares no code with the programs it tests. Understands
//! content-length, chunked and read-to-end bodies; knows no TLS and follows no redirects (a test
//! wants to see them). [`Jar`] adds cookies for walks through log-in pages.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Headers, names in lower case, in order.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from its transfer encoding.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, or a panic with the text.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| {
            panic!("an answer is not JSON ({e}): {} {}", self.status, self.text())
        })
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Itself, or a panic with everything when the status is another.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "unexpected answer: {:?} {}", self.headers, self.text());
        self
    }
}

/// Sends one request to an `http://` URL.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_request(method, url, headers, body).unwrap_or_else(|e| panic!("{method} {url}: {e}"))
}

/// Like [`request`], with what went wrong on the way.
pub fn try_request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, String> {
    let url = url::Url::parse(url).map_err(|e| e.to_string())?;
    if url.scheme() != "http" {
        return Err(format!("the bench speaks plain http only, not {}", url.scheme()));
    }
    let host = url.host_str().ok_or("no host")?;
    let port = url.port_or_known_default().ok_or("no port")?;
    let mut stream = TcpStream::connect((host, port)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(|e| e.to_string())?;
    let path = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}:{port}\r\nconnection: close\r\ncontent-length: \
         {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).map_err(|e| e.to_string())?;
    // a server may answer and close before it has read a body that it refuses
    let _ = stream.write_all(body);
    read_answer(&mut BufReader::new(stream), method == "HEAD").map_err(|e| e.to_string())
}

fn read_answer(from: &mut impl BufRead, head_only: bool) -> std::io::Result<Answer> {
    let bad = |what: &str| std::io::Error::other(what.to_owned());
    let mut line = String::new();
    from.read_line(&mut line)?;
    let status = line
        .split_whitespace()
        .nth(1)
        .and_then(|s| s.parse().ok())
        .ok_or_else(|| bad(&format!("no status line: {line:?}")))?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if from.read_line(&mut line)? == 0 {
            return Err(bad("cut in the middle of the headers"));
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if head_only || status == 204 || status == 304 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad("a bad chunk size"))?;
            let got = from.by_ref().take(size).read_to_end(&mut answer.body)?;
            if got as u64 != size {
                return Err(bad("cut in the middle of a chunk"));
            }
            line.clear();
            from.read_line(&mut line)?;
            if size == 0 {
                return Ok(answer);
            }
        }
    }
    match answer.header("content-length").and_then(|v| v.parse::<u64>().ok()) {
        Some(size) => {
            let got = from.by_ref().take(size).read_to_end(&mut answer.body)?;
            if got as u64 != size {
                return Err(bad("cut in the middle of the body"));
            }
        }
        None => {
            from.read_to_end(&mut answer.body)?;
        }
    }
    Ok(answer)
}

/// GET.
pub fn get(url: &str) -> Answer {
    request("GET", url, &[], b"")
}

/// POST of a JSON value.
pub fn post_json(url: &str, headers: &[(&str, &str)], body: &serde_json::Value) -> Answer {
    let mut all = vec![("content-type", "application/json")];
    all.extend_from_slice(headers);
    request("POST", url, &all, body.to_string().as_bytes())
}

/// POST of a form.
pub fn post_form(url: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Answer {
    let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
    all.extend_from_slice(headers);
    request("POST", url, &all, form(fields).as_bytes())
}

/// Fields as `application/x-www-form-urlencoded`.
pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// A client that keeps cookies by path prefix, as far as log-in pages need them.
#[derive(Default)]
pub struct Jar {
    cookies: BTreeMap<(String, String), String>,
}

impl Jar {
    /// One request with the cookies that fit the path; cookies of the answer are kept.
    pub fn send(&mut self, method: &str, url: &str, fields: Option<&[(&str, &str)]>) -> Answer {
        let path = url::Url::parse(url).map(|u| u.path().to_owned()).unwrap_or_default();
        let cookie = self
            .cookies
            .iter()
            .filter(|((prefix, _), _)| path.starts_with(prefix.as_str()))
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join("; ");
        let body = fields.map(form).unwrap_or_default();
        let mut headers = vec![];
        if !cookie.is_empty() {
            headers.push(("cookie", cookie.as_str()));
        }
        if fields.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        let answer = request(method, url, &headers, body.as_bytes());
        for (_, line) in answer.headers.iter().filter(|(n, _)| n == "set-cookie") {
            self.keep(line);
        }
        answer
    }

    fn keep(&mut self, line: &str) {
        let mut parts = line.split(';').map(str::trim);
        let Some((name, value)) = parts.next().and_then(|p| p.split_once('=')) else { return };
        let mut path = "/".to_owned();
        let mut dead = value.is_empty();
        for part in parts {
            match part.split_once('=') {
                Some((k, v)) if k.eq_ignore_ascii_case("path") => v.clone_into(&mut path),
                Some((k, "0")) if k.eq_ignore_ascii_case("max-age") => dead = true,
                _ => {}
            }
        }
        if dead {
            self.cookies.remove(&(path, name.to_owned()));
        } else {
            self.cookies.insert((path, name.to_owned()), value.to_owned());
        }
    }
}

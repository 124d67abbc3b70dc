//! Reading mails as files: headers unfolded, RFC 2047 words and transfer encodings decoded, as far
//! as the assertions of tests need. A second, independent reading of what the programs send.

use base64::Engine as _;
use std::path::Path;

/// A mail as it lies in a Maildir.
#[derive(Debug, Clone)]
pub struct Mail {
    /// Headers in order, names in lower case, values unfolded and decoded.
    pub headers: Vec<(String, String)>,
    /// Text of all text parts, decoded, one after the other.
    pub body: String,
    /// The file's bytes.
    pub raw: Vec<u8>,
}

impl Mail {
    /// Reads a file.
    pub fn read(path: &Path) -> Self {
        let raw = std::fs::read(path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
        Self::parse(raw)
    }

    /// Takes a mail apart.
    pub fn parse(raw: Vec<u8>) -> Self {
        let text = String::from_utf8_lossy(&raw).replace("\r\n", "\n");
        let (headers, rest) = split(&text);
        let mut body = String::new();
        gather(&headers, rest, &mut body, 0);
        let headers = headers.into_iter().map(|(n, v)| (n, decode_words(&v))).collect();
        Self { headers, body, raw }
    }

    /// The first header of that name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The subject, or nothing.
    pub fn subject(&self) -> &str {
        self.header("subject").unwrap_or_default()
    }

    /// The Message-ID with its brackets; a mail without one is a failure.
    pub fn message_id(&self) -> &str {
        self.header("message-id").expect("a mail without Message-ID")
    }
}

type Headers = Vec<(String, String)>;

fn split(text: &str) -> (Headers, &str) {
    let (head, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut headers: Headers = vec![];
    for line in head.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    (headers, rest)
}

fn gather(headers: &Headers, rest: &str, into: &mut String, depth: usize) {
    let get = |name: &str| {
        headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str()).unwrap_or_default()
    };
    let kind = get("content-type");
    if kind.to_ascii_lowercase().starts_with("multipart/") && depth < 8 {
        let Some((_, boundary)) = kind.split_once("boundary=") else { return };
        let boundary = boundary.split(';').next().unwrap_or_default().trim().trim_matches('"');
        for part in rest.split(&format!("--{boundary}")).skip(1) {
            if part.starts_with("--") {
                break;
            }
            let (headers, rest) = split(part.trim_start_matches('\n'));
            gather(&headers, rest, into, depth + 1);
        }
        return;
    }
    if !kind.is_empty() && !kind.to_ascii_lowercase().starts_with("text/") {
        return;
    }
    match get("content-transfer-encoding").to_ascii_lowercase().as_str() {
        "quoted-printable" => into.push_str(&lossy(quoted(rest, false))),
        "base64" => {
            let text: String = rest.chars().filter(|c| !c.is_whitespace()).collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(text);
            into.push_str(&lossy(bytes.unwrap_or_default()));
        }
        _ => into.push_str(rest),
    }
}

fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).replace("\r\n", "\n")
}

fn quoted(text: &str, word: bool) -> Vec<u8> {
    let mut out = vec![];
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        match bytes[i] {
            b'=' if bytes.get(i + 1) == Some(&b'\n') => i += 2,
            b'=' => {
                let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok());
                match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
                    Some(byte) => out.push(byte),
                    None => out.extend_from_slice(&bytes[i..(i + 3).min(bytes.len())]),
                }
                i += 3;
            }
            b'_' if word => {
                out.push(b' ');
                i += 1;
            }
            other => {
                out.push(other);
                i += 1;
            }
        }
    }
    out
}

/// `=?utf-8?q?…?=` and `=?utf-8?b?…?=` words; blanks between two of them fall away.
fn decode_words(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    let mut after_word = false;
    while let Some(start) = rest.find("=?") {
        let (before, word) = rest.split_at(start);
        let mut parts = word[2..].splitn(3, '?');
        let (_charset, kind, tail) = (parts.next(), parts.next(), parts.next());
        let (Some(kind), Some(tail)) = (kind, tail) else { break };
        let Some((data, left)) = tail.split_once("?=") else { break };
        if !(after_word && before.trim().is_empty()) {
            out.push_str(before);
        }
        let bytes = if kind.eq_ignore_ascii_case("b") {
            base64::engine::general_purpose::STANDARD.decode(data).unwrap_or_default()
        } else {
            quoted(data, true)
        };
        out.push_str(&String::from_utf8_lossy(&bytes));
        rest = left;
        after_word = true;
    }
    out.push_str(rest);
    out
}

//! A request as the sandbox's endpoints see it: read whole, path and query decoded once. The parts
//! of a composite call are requests too.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Upper case; `_HttpMethod` has already been applied.
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    /// Decoded path segments, without empty ones.
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Takes a target such as `/services/data/v64.0/query?q=SELECT Id FROM Account` apart.
    pub(crate) fn new(method: &str, target: &str, headers: HeaderMap, body: Vec<u8>) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut method = method.to_ascii_uppercase();
        if method == "POST"
            && let Some((_, instead)) = query.iter().find(|(name, _)| name == "_HttpMethod")
        {
            method = instead.to_ascii_uppercase();
        }
        Request {
            method,
            target: target.to_owned(),
            segments: path.split('/').filter(|part| !part.is_empty()).map(percent_decode).collect(),
            query,
            headers,
            body,
        }
    }

    /// The first query parameter of this name.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Sets a header from a part of a composite call; what is no header is left out.
    pub(crate) fn set_header(headers: &mut HeaderMap, name: &str, value: &str) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.insert(name, value);
        }
    }

    /// The fields of a form body and of the query together; the body goes first.
    pub(crate) fn form(&self) -> Vec<(String, String)> {
        let mut fields: Vec<(String, String)> =
            url::form_urlencoded::parse(&self.body).into_owned().collect();
        fields.extend(self.query.iter().cloned());
        fields
    }

    /// Path and query, percent-decoded, for faults to be matched against.
    pub(crate) fn decoded_target(&self) -> String {
        percent_decode(&self.target.replace('+', " "))
    }
}

/// Percent-decodes; an escape that is none stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let request = Request::new(
            "post",
            "/a//b%20c/?q=x+y%2Bz&_HttpMethod=PATCH&broken=%zz",
            HeaderMap::new(),
            Vec::new(),
        );
        assert_eq!(request.segments, ["a", "b c"]);
        assert_eq!(request.param("q"), Some("x y+z"));
        assert_eq!(request.method, "PATCH");
        assert_eq!(percent_decode("%é%4"), "%é%4");
    }
}

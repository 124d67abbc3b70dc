//! `crmsync-sandbox ctl`: sends one verb to a running sandbox and prints the answer.
//!
//! It speaks HTTP/1.0 over one TCP connection, which is all a loopback control call needs; the
//! body is passed on piece by piece, so that a dump of any size fits.

use std::io::Write;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const LINE_LIMIT: u64 = 16 << 10;

/// Sends `verb` with its arguments (`name=value` is named, everything else positional); the body
/// of the answer goes to `out`. An answer other than 200 is an error, its body on `out` all the same.
pub(crate) async fn run(
    base: &str,
    verb: &str,
    args: &[String],
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let url = url::Url::parse(base).with_context(|| format!("reading the address {base}"))?;
    ensure!(
        url.scheme() == "http",
        "the control address must begin with http://, not {}://\nhint: give the \"http\" address that serve printed",
        url.scheme()
    );
    let host = url.host_str().context("the address has no host")?;
    let port = url.port_or_known_default().unwrap_or(80);
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    for arg in args {
        match named(arg) {
            Some((name, value)) => form.append_pair(name, value),
            None => form.append_pair("arg", arg),
        };
    }
    let form = form.finish();
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port))
        .await
        .with_context(|| format!("connecting to the sandbox at {host}:{port}"))?;
    let mut stream = BufReader::new(stream);
    let head = format!(
        "POST /_sandbox/{verb} HTTP/1.0\r\nHost: {host}:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        form.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(form.as_bytes()).await?;
    stream.flush().await?;
    let status_line = line(&mut stream).await?;
    let status: u16 = status_line
        .split(' ')
        .nth(1)
        .and_then(|text| text.parse().ok())
        .with_context(|| format!("the sandbox answered with no HTTP status: {status_line}"))?;
    let mut length = None;
    loop {
        let header = line(&mut stream).await?;
        if header.is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse::<u64>().ok();
        }
    }
    let mut body = stream.take(length.unwrap_or(u64::MAX));
    let mut piece = vec![0; 64 << 10];
    let mut last = b'\n';
    loop {
        let n = body.read(&mut piece).await.context("reading the answer")?;
        if n == 0 {
            break;
        }
        out.write_all(&piece[..n])?;
        last = piece[n - 1];
    }
    if last != b'\n' {
        out.write_all(b"\n")?;
    }
    out.flush()?;
    if status != 200 {
        bail!("the sandbox refused '{verb}' with HTTP {status}");
    }
    Ok(())
}

/// `name=value`, where the name is a word; `+60` or `a b=c` are not.
fn named(arg: &str) -> Option<(&str, &str)> {
    let (name, value) = arg.split_once('=')?;
    (!name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .then_some((name, value))
}

async fn line(stream: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = Vec::new();
    stream
        .take(LINE_LIMIT)
        .read_until(b'\n', &mut line)
        .await
        .context("reading the answer's head")?;
    ensure!(line.ends_with(b"\n"), "the sandbox closed the connection");
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_arguments_are_words_with_a_value() {
        assert_eq!(named("used=5"), Some(("used", "5")));
        assert_eq!(named("path=a=b"), Some(("path", "a=b")));
        assert_eq!(named("+60"), None);
        assert_eq!(named("Secret=="), None);
        assert_eq!(named("="), None);
    }
}

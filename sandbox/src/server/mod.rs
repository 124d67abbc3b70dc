//! HTTP and HTTPS: listens, reads a request whole, lets faults have their way, and sends the
//! answer with what every answer carries (date, usage, compression).
//!
//! Invariants: bodies are bounded; a data call is written down at its arrival and again when its
//! last byte has been handed over or the connection was given up; nothing a client sends ends the
//! server.

mod answer;
mod data_call;
mod tls;

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{self, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub(crate) use tls::acceptor;

use crate::faults::Action;
use crate::reply::{MAINTENANCE, Reply};
use crate::request::Request;
use crate::sandbox::Sandbox;
use answer::{Ticket, Wire};

const URI_LIMIT: usize = 16_384;
const BODY_LIMIT: usize = 32 << 20;
const BODY_TIMEOUT: Duration = Duration::from_mins(1);

/// Why no answer is sent.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on demand")]
struct Dropped;

/// Accepts plain connections for ever.
pub(crate) async fn serve_http(sandbox: Arc<Sandbox>, listener: TcpListener) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                tokio::spawn(connection(Arc::clone(&sandbox), stream));
            }
            // Out of descriptors, mostly: the open connections have to end first.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Accepts TLS connections for ever.
pub(crate) async fn serve_https(
    sandbox: Arc<Sandbox>,
    listener: TcpListener,
    tls: TlsAcceptor,
) -> Infallible {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                let (sandbox, tls) = (Arc::clone(&sandbox), tls.clone());
                tokio::spawn(async move {
                    let handshake =
                        tokio::time::timeout(Duration::from_secs(10), tls.accept(stream));
                    if let Ok(Ok(stream)) = handshake.await {
                        connection(sandbox, stream).await;
                    }
                });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    sandbox: Arc<Sandbox>,
    stream: S,
) {
    let service = service_fn(move |request| handle(Arc::clone(&sandbox), request));
    // An error here is the peer's going away, or a fault that was asked for.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_mins(5))
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn handle(
    sandbox: Arc<Sandbox>,
    request: http::Request<Incoming>,
) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let target = parts
        .uri
        .path_and_query()
        .map_or_else(|| String::from("/"), |target| target.as_str().to_owned());
    let mut ticket = Ticket::new(Arc::clone(&sandbox));
    let headers_size: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let control = target.starts_with("/_sandbox/");
    if target.len() > URI_LIMIT {
        sandbox.events.count("uri_too_long");
        let reply = Reply::html(414, String::from("<html><body>URI Too Long</body></html>\n"));
        return Ok(answer::response(&sandbox, reply, Wire::default(), ticket));
    }
    if target.len() + headers_size > URI_LIMIT {
        let page = "<html><body>Request Header Fields Too Large</body></html>\n";
        let reply = Reply::html(431, page.to_owned());
        return Ok(answer::response(&sandbox, reply, Wire::default(), ticket));
    }
    let gzip = parts
        .headers
        .get("accept-encoding")
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let wire = Wire { gzip, ..Wire::default() };
    let body = match read_body(body, parts.headers.get("content-encoding")).await {
        Ok(body) => body,
        Err(reply) => return Ok(answer::response(&sandbox, reply, wire, ticket)),
    };
    let request = Request::new(parts.method.as_str(), &target, parts.headers, body);
    if control {
        let reply = crate::ctl::answer(&sandbox, request).await;
        return Ok(answer::response(&sandbox, reply, wire, ticket));
    }

    let decoded = request.decoded_target();
    let (act, cut, throttle, slow, maintenance) = {
        let mut world = sandbox.world();
        let faults = &mut world.faults;
        (
            faults.take_act(&target, &decoded).map(|act| act.action),
            faults.take_cut(&target, &decoded),
            faults.take_throttle(&target, &decoded),
            faults.slow_ms,
            faults.maintenance,
        )
    };
    match act {
        Some(Action::DropBefore) => {
            sandbox.events.count("dropped");
            return Err(Dropped);
        }
        Some(Action::HoldBefore) => hold(&sandbox).await,
        Some(Action::Drop | Action::Hold) | None => {}
    }
    let head = request.method == "HEAD";
    let mut reply = if maintenance {
        sandbox.events.count("maintenance");
        Reply::html(503, MAINTENANCE.to_owned())
    } else if request.segments.first().is_some_and(|s| s == "services")
        && request.segments.get(1).is_some_and(|s| s == "data")
    {
        data_call::perform(&sandbox, request, &decoded, &mut ticket).await
    } else {
        other(&sandbox, &request, &decoded)
    };
    if head {
        reply.body.clear();
        reply.rest = None;
    }
    if slow > 0 {
        tokio::time::sleep(Duration::from_millis(slow)).await;
    }
    match act {
        Some(Action::Drop) => {
            sandbox.events.count("dropped");
            return Err(Dropped);
        }
        Some(Action::Hold) => hold(&sandbox).await,
        Some(Action::DropBefore | Action::HoldBefore) | None => {}
    }
    if let Some(cut) = &cut {
        sandbox.events.count(if cut.stall { "stalled" } else { "cut" });
    }
    if throttle.is_some() {
        sandbox.events.count("throttled");
    }
    Ok(answer::response(&sandbox, reply, Wire { gzip, cut, throttle }, ticket))
}

async fn hold(sandbox: &Sandbox) {
    let mut release = sandbox.release.subscribe();
    sandbox.events.count("held");
    // The sender lives as long as the sandbox.
    let _ = release.changed().await;
}

/// What is not a data call: OAuth, identity, or nothing.
fn other(sandbox: &Sandbox, request: &Request, decoded: &str) -> Reply {
    let fail = sandbox.world().faults.take_fail(&request.target, decoded);
    if let Some(fail) = fail {
        sandbox.events.count("failed");
        return fail.reply();
    }
    crate::oauth::answer(sandbox, request).unwrap_or_else(|| {
        Reply::html(404, String::from("<html><body>URL No Longer Exists</body></html>\n"))
    })
}

async fn read_body(body: Incoming, encoding: Option<&http::HeaderValue>) -> Result<Vec<u8>, Reply> {
    let too_large = || Reply::error(413, "EXCEEDED_MAX_SIZE_REQUEST", "request body too large");
    let reading = axum::body::to_bytes(Body::new(body), BODY_LIMIT);
    let bytes = match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => return Err(Reply::text(408, "Request Timeout")),
    };
    let Some(encoding) = encoding else {
        return Ok(bytes.to_vec());
    };
    let mut plain = Vec::new();
    let limit = BODY_LIMIT as u64 + 1;
    let read = match encoding.to_str().unwrap_or("") {
        "identity" => return Ok(bytes.to_vec()),
        "gzip" => flate2::read::GzDecoder::new(&bytes[..]).take(limit).read_to_end(&mut plain),
        "deflate" => flate2::read::ZlibDecoder::new(&bytes[..]).take(limit).read_to_end(&mut plain),
        _ => {
            return Err(Reply::error(
                415,
                "UNSUPPORTED_MEDIA_TYPE",
                "unsupported content encoding",
            ));
        }
    };
    match read {
        Ok(_) if plain.len() <= BODY_LIMIT => Ok(plain),
        Ok(_) => Err(too_large()),
        Err(_) => {
            Err(Reply::error(400, "JSON_PARSER_ERROR", "request body cannot be decompressed"))
        }
    }
}

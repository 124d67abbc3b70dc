//! The daemon's end of the control socket: HTTP/1.1 over a Unix socket, `curl --unix-socket` can
//! speak it.
//!
//! Hides axum, peer credentials, limits. Invariants: nobody gets past the gate without rights, and
//! a stranger learns nothing but that; bodies are read whole, within 64 KiB and ten seconds,
//! before anything is done; a request that is not understood has no effect.

pub mod access;
pub mod events;
pub mod handlers;
mod query;
pub mod refuse;
pub mod routes;
mod socket;

#[cfg(test)]
pub(crate) mod tests;

pub use access::Access;
pub use socket::{BindError, CALLERS, bind};

use super::protocol::{Commands, Rights};
use axum::body::Body;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use refuse::{Refused, stranger};
use socket::{Door, Peer, READ_TIMEOUT};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// Largest body.
const BODY: usize = 64 * 1024;
/// Largest body that holds a secret.
const SECRET: usize = 16 * 1024;
/// What requests in work get to end in once the daemon stops.
const GRACE: Duration = Duration::from_secs(3);

/// Opens the socket (see [`bind`]) and serves it on a thread of its own until `stop`, so that
/// `status` waits for nobody's disk or turn; then requests in work get three seconds to end.
/// Everything else is carried out in the runtime of the caller. The receiver hears of the end.
///
/// # Errors
/// [`BindError`]; `Io` also where no thread can be had.
pub fn serve(
    path: &Path,
    mode: u32,
    commands: Arc<dyn Commands>,
    access: Access,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<()>, BindError> {
    let io = |cause| BindError::Io { path: path.to_owned(), what: "starting its thread", cause };
    let home = Handle::current();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io)?;
    let within = runtime.enter();
    let listener = bind(path, mode)?;
    drop(within);
    let (done, ended) = oneshot::channel();
    let started = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
        let serving = serve_patiently(listener, commands, access, stop, READ_TIMEOUT, home);
        runtime.block_on(serving);
        // A group database that does not answer holds nobody up.
        runtime.shutdown_background();
        let _ = done.send(());
    });
    started.map_err(io)?;
    Ok(ended)
}

/// The same with another time for a whole request.
async fn serve_patiently(
    listener: UnixListener,
    commands: Arc<dyn Commands>,
    access: Access,
    stop: CancellationToken,
    patience: Duration,
    home: Handle,
) {
    let access = Arc::new(access);
    let gate = Gate { access: Arc::clone(&access), stop: stop.clone(), patience, home };
    let app = routes::router()
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(gate, guard))
        .with_state(commands);
    let service = app.into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(Door::new(listener, access, patience), service)
        .with_graceful_shutdown(stop.clone().cancelled_owned());
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = std::future::IntoFuture::into_future(server) => if let Err(e) = ended {
            tracing::error!(cause = %e, "the control socket ended");
        },
        () = grace => tracing::warn!("a caller of the control socket was cut off by the stop"),
    }
}

impl Connected<IncomingStream<'_, Door>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.remote_addr().clone()
    }
}

#[derive(Clone)]
struct Gate {
    access: Arc<Access>,
    stop: CancellationToken,
    patience: Duration,
    /// Where commands are carried out.
    home: Handle,
}

/// Rights first, then size and time, then the request itself.
async fn guard(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let busy = Arc::new(peer.pace.busy());
    let caller = gate.access.caller(peer.uid).await;
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    match caller.rights {
        Rights::Admin => {}
        Rights::View if looks => {}
        Rights::View => return only_look().into_response(),
        Rights::None => return stranger().into_response(),
    }
    let (mut parts, body) = request.into_parts();
    let body = match whole(parts.uri.path(), body, gate.patience).await {
        Ok(body) => body,
        Err(refused) => return refused.into_response(),
    };
    parts.extensions.insert(caller);
    parts.extensions.insert(busy);
    parts.extensions.insert(gate.stop);
    let request = Request::from_parts(parts, body);
    if request.uri().path() == "/v1/status" {
        return next.run(request).await;
    }
    match gate.home.spawn(async move { next.run(request).await }).await {
        Ok(response) => response,
        Err(e) => {
            tracing::error!(cause = %e, "a command was not carried out");
            let text = "carrying out a request: it broke off, a mistake of the daemon".to_owned();
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text, "journalctl -u crmsyncd")
                .into_response()
        }
    }
}

/// The body in memory.
async fn whole(path: &str, body: Body, patience: Duration) -> Result<Body, Refused> {
    let last = path.rsplit('/').next().unwrap_or_default();
    let secret = path.contains("/secrets/") || matches!(last, "callback" | "password");
    let limit = if secret { SECRET } else { BODY };
    let kib = limit / 1024;
    let refuse = |status, text: String| {
        Refused::new(status, text, "GET /v1/openapi.json describes every request")
    };
    let read = tokio::time::timeout(patience, axum::body::to_bytes(body, limit)).await;
    match read {
        Ok(Ok(bytes)) => Ok(Body::from(bytes)),
        Ok(Err(e)) if is_too_large(&e) => Err(refuse(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("reading the body: larger than {kib} KiB"),
        )),
        Ok(Err(_)) => {
            Err(refuse(StatusCode::BAD_REQUEST, "reading the body: it was cut off".to_owned()))
        }
        Err(_) => Err(refuse(
            StatusCode::REQUEST_TIMEOUT,
            format!("reading the body: not whole after {} seconds", patience.as_secs()),
        )),
    }
}

fn is_too_large(error: &axum::Error) -> bool {
    let mut error: Option<&dyn std::error::Error> = Some(error);
    while let Some(e) = error {
        if e.to_string().contains("length limit exceeded") {
            return true;
        }
        error = e.source();
    }
    false
}

fn only_look() -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        "changing something: this user may only look",
        "ask root to add you to the group crmsync-admin",
    )
}

async fn unknown(request: Request) -> Refused {
    let path: String = request.uri().path().chars().take(100).collect();
    Refused::new(
        StatusCode::NOT_FOUND,
        format!("there is no {path} here"),
        "GET /v1/openapi.json lists every request",
    )
}

async fn wrong_method(request: Request) -> Refused {
    let path: String = request.uri().path().chars().take(100).collect();
    let method: String = request.method().as_str().chars().take(20).collect();
    Refused::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not possible on {path}"),
        "GET /v1/openapi.json lists every request",
    )
}

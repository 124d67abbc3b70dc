//! The answer on its way out: date, compression, cutting, and the note that it has left.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Sleep;

use crate::clock::http_date;
use crate::reply::Reply;
use crate::sandbox::Sandbox;

const PIECE: usize = 64 << 10;
const GZIP_FROM: usize = 256;
/// How long the bytes before a cut get to leave the socket's buffer.
const CUT_AFTER: Duration = Duration::from_millis(30);

/// Follows one request to the end of its answer; dropped early, the answer was not delivered.
#[derive(Debug)]
pub(super) struct Ticket {
    sandbox: Arc<Sandbox>,
    seq: Option<u64>,
}

impl Ticket {
    pub(super) fn new(sandbox: Arc<Sandbox>) -> Ticket {
        Ticket { sandbox, seq: None }
    }

    /// Binds the ticket to a data call that has been written down.
    pub(super) fn of_call(&mut self, seq: u64) {
        self.seq = Some(seq);
    }

    fn finish(&mut self, delivered: bool) {
        if let Some(seq) = self.seq.take() {
            let now = self.sandbox.now();
            self.sandbox.world().calls.finish(seq, now, delivered);
            self.sandbox.events.count("finished");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.finish(false);
    }
}

struct Answer {
    left: Bytes,
    cut: Option<usize>,
    pause: Option<Pin<Box<Sleep>>>,
    ticket: Ticket,
}

impl Stream for Answer {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.cut == Some(0) {
            // Waiting makes hyper flush what came before; only then is the connection broken.
            let pause = this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(CUT_AFTER)));
            return pause
                .as_mut()
                .poll(cx)
                .map(|()| Some(Err(std::io::Error::other("cut on demand"))));
        }
        if this.left.is_empty() {
            this.ticket.finish(true);
            return Poll::Ready(None);
        }
        let size = PIECE.min(this.left.len()).min(this.cut.unwrap_or(PIECE));
        if let Some(cut) = &mut this.cut {
            *cut -= size;
        }
        Poll::Ready(Some(Ok(this.left.split_to(size))))
    }
}

/// Turns a reply into HTTP.
pub(super) fn response(
    sandbox: &Sandbox,
    reply: Reply,
    gzip: bool,
    cut: Option<usize>,
    mut ticket: Ticket,
) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() =
        StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    };
    set("date", &http_date(sandbox.now()));
    for (name, value) in &reply.headers {
        set(name, value);
    }
    if reply.body.is_empty() && cut.is_none() {
        ticket.finish(true);
        return response;
    }
    set("content-type", &reply.content_type);
    let body = match gzip && reply.body.len() >= GZIP_FROM {
        true => match compressed(&reply.body) {
            Some(body) => {
                set("content-encoding", "gzip");
                set("vary", "Accept-Encoding");
                body
            }
            None => reply.body,
        },
        false => reply.body,
    };
    *response.body_mut() =
        Body::from_stream(Answer { left: Bytes::from(body), cut, pause: None, ticket });
    response
}

fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(
        Vec::with_capacity(body.len() / 4),
        flate2::Compression::fast(),
    );
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

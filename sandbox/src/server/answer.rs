//! The answer on its way out: date, compression, cutting, and the note that it has left.

use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use bytes::Bytes;
use flate2::write::GzEncoder;
use futures_util::Stream;
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::clock::http_date;
use crate::faults::{Cut, Throttle};
use crate::reply::{Pieces, Reply};
use crate::sandbox::Sandbox;

const PIECE: usize = 64 << 10;
const GZIP_FROM: usize = 256;
/// How long the bytes before a cut get to leave the socket's buffer.
const CUT_AFTER: Duration = Duration::from_millis(30);
/// How long a stalled answer stays open, unless the other side goes.
const STALL: Duration = Duration::from_hours(24);

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

/// What happens to the bytes on their way.
#[derive(Debug, Clone, Default)]
pub(super) struct Wire {
    pub(super) gzip: bool,
    pub(super) cut: Option<Cut>,
    pub(super) throttle: Option<Throttle>,
}

struct Answer {
    /// Bytes that can go.
    left: Bytes,
    /// What of the body has not been compressed yet.
    body: Bytes,
    /// What follows the body, and its next piece.
    rest: Option<(Arc<dyn Pieces>, usize)>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    cut: Option<Cut>,
    throttle: Option<Throttle>,
    /// Ends the throttling.
    release: watch::Receiver<u64>,
    pause: Option<Pin<Box<Sleep>>>,
    ticket: Ticket,
}

impl Answer {
    fn raw(&mut self) -> Option<Bytes> {
        if !self.body.is_empty() {
            return Some(self.body.split_to(PIECE.min(self.body.len())));
        }
        let (rest, at) = self.rest.as_mut()?;
        *at += 1;
        rest.piece(*at - 1)
    }

    /// Makes the next bytes; none at the end.
    fn fill(&mut self) -> std::io::Result<()> {
        while self.left.is_empty() {
            let Some(raw) = self.raw() else {
                if let Some(gzip) = self.gzip.take() {
                    self.left = Bytes::from(gzip.finish()?);
                }
                return Ok(());
            };
            match &mut self.gzip {
                None => self.left = raw,
                Some(gzip) => {
                    gzip.write_all(&raw)?;
                    self.left = Bytes::from(std::mem::take(gzip.get_mut()));
                }
            }
        }
        Ok(())
    }
}

impl Stream for Answer {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let over = this.cut.as_ref().filter(|cut| cut.after_bytes == 0);
        if let Some(cut) = over {
            // Waiting makes hyper flush what came before; only then is the connection broken.
            let wait = if cut.stall { STALL } else { CUT_AFTER };
            this.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
        }
        if let Some(pause) = &mut this.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            this.pause = None;
            if over.is_some() {
                return Poll::Ready(Some(Err(std::io::Error::other("cut on demand"))));
            }
        }
        if let Err(error) = this.fill() {
            return Poll::Ready(Some(Err(error)));
        }
        if this.left.is_empty() {
            this.ticket.finish(true);
            return Poll::Ready(None);
        }
        if this.release.has_changed().unwrap_or(false) {
            this.throttle = None;
        }
        let whole = this.cut.as_ref().map_or(usize::MAX, |cut| cut.after_bytes);
        let mut size = this.left.len().min(whole);
        if let Some(throttle) = &this.throttle {
            size = size.min(usize::try_from(throttle.bytes).unwrap_or(usize::MAX));
            let wait = Duration::from_millis(throttle.every_ms);
            this.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
        if let Some(cut) = &mut this.cut {
            cut.after_bytes -= size;
        }
        Poll::Ready(Some(Ok(this.left.split_to(size))))
    }
}

/// Turns a reply into HTTP.
pub(super) fn response(
    sandbox: &Sandbox,
    reply: Reply,
    wire: Wire,
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
    if reply.body.is_empty() && wire.cut.is_none() && reply.rest.is_none() {
        ticket.finish(true);
        return response;
    }
    set("content-type", &reply.content_type);
    let gzip = wire.gzip && (reply.body.len() >= GZIP_FROM || reply.rest.is_some());
    if gzip {
        set("content-encoding", "gzip");
        set("vary", "Accept-Encoding");
    }
    *response.body_mut() = Body::from_stream(Answer {
        left: Bytes::new(),
        body: Bytes::from(reply.body),
        rest: reply.rest.map(|rest| (rest, 0)),
        gzip: gzip.then(|| GzEncoder::new(Vec::new(), flate2::Compression::fast())),
        cut: wire.cut,
        throttle: wire.throttle,
        release: sandbox.release.subscribe(),
        pause: None,
        ticket,
    });
    response
}

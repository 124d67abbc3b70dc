//! The event stream, and the description of the whole interface.
//!
//! Invariants: a listener who is too slow is told how many events he missed, and holds nobody up;
//! a stream ends when the daemon stops.

use super::handlers::Daemon;
use super::refuse::{Answer, Ask, Refused};
use super::socket::Busy;
use crate::control::protocol::{Event, Refusal, RefusalCode};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;
use tokio_util::sync::CancellationToken;

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Server-sent events: one JSON object each; a comment every 15 seconds keeps the line alive.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "look",
    responses((status = 200, description = "A stream without end", body = Event, content_type = "text/event-stream"), (status = "default", description = "Refused", body = Refusal)),
)]
pub async fn events(
    State(c): Daemon,
    Extension(busy): Extension<Arc<Busy>>,
    Extension(stop): Extension<CancellationToken>,
    ask: Ask,
) -> Answer {
    ask.no_body()?;
    let frames = BroadcastStream::new(c.events()).map(move |event| {
        // The read deadline rests as long as somebody listens.
        let _held = &busy;
        let event = event.unwrap_or_else(|lost| {
            let BroadcastStreamRecvError::Lagged(count) = lost;
            Event::Missed { count }
        });
        let text = serde_json::to_string(&event).unwrap_or_default();
        Ok::<_, Infallible>(Frame::default().data(text))
    });
    let frames = frames.take_until(stop.cancelled_owned());
    let alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(frames).keep_alive(alive).into_response())
}

/// This document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "look",
    responses((status = 200, description = "OpenAPI 3.1", body = Object), (status = "default", description = "Refused", body = Refusal)),
)]
pub async fn openapi(ask: Ask) -> Answer {
    ask.no_body()?;
    let text = crate::control::openapi::document()
        .map_err(|e| Refused::from(Refusal::new(RefusalCode::Failed, e.to_string())))?;
    let mut answer = Response::new(Body::from(text));
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(answer)
}

//! For tests: a local HTTP server that answers as told and keeps what it saw, and a counting toll.

use super::http::{Http, Network};
use super::{Failure, Session, Ticket, Toll};
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use crmsync_core::domain::Usage;
use futures_util::future::BoxFuture;
use secrecy::SecretString;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use url::Url;

#[derive(Debug, Clone)]
pub struct Seen {
    pub target: String,
    pub headers: HeaderMap,
    pub body: String,
}

pub struct Served {
    pub base: Url,
    pub seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub type Reply = (u16, Vec<(&'static str, String)>, String);

/// Serves until dropped, on a free port of loopback.
pub async fn serve(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Served {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (answer, log) = (Arc::new(answer), seen.clone());
    let app = axum::Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
        let one = Seen {
            target: uri.to_string(),
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let (status, headers, body) = answer(&one);
        log.lock().unwrap().push(one);
        let mut reply = Response::builder().status(status);
        for (name, value) in headers {
            reply = reply.header(name, value);
        }
        std::future::ready(reply.body(Body::from(body)).unwrap())
    });
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Served { base, seen, task }
}

impl Served {
    pub fn targets(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|s| s.target.clone()).collect()
    }

    pub fn session(&self) -> Session {
        Session {
            token: SecretString::from("TOKEN-CANARY".to_owned()),
            base: self.base.clone(),
            username: None,
        }
    }
}

pub fn http() -> Http {
    Http::new(&Network::default()).unwrap()
}

/// Counts; holds everything back once `open` calls were made.
#[derive(Default)]
pub struct Counter {
    pub open: Option<u32>,
    pub reserved: AtomicU32,
    pub settled: AtomicU32,
    pub told: Mutex<Vec<Usage>>,
}

impl Toll for Counter {
    fn reserve(&self, cost: u32) -> BoxFuture<'_, Result<Ticket, Failure>> {
        let before = self.reserved.load(Ordering::SeqCst);
        let held = self.open.is_some_and(|open| before + cost > open);
        Box::pin(std::future::ready(if held {
            Err(Failure::Held)
        } else {
            let number = u64::from(self.reserved.fetch_add(cost, Ordering::SeqCst));
            Ok(Ticket::new(number, cost, || {}))
        }))
    }

    fn told(&self, _ticket: &Ticket, usage: &[Usage]) {
        self.told.lock().unwrap().extend_from_slice(usage);
    }

    fn settle(&self, ticket: Ticket) {
        self.settled.fetch_add(ticket.cost, Ordering::SeqCst);
    }
}

impl Counter {
    pub fn counts(&self) -> (u32, u32) {
        (self.reserved.load(Ordering::SeqCst), self.settled.load(Ordering::SeqCst))
    }
}

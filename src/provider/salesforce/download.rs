//! One result page of a job, from the network into the sink while it comes.
//!
//! Hides the stages: read and unpack (here), split (a thread), hand out. Both hops are bounded, so
//! memory does not depend on the page. Invariants: a page counts only when all of it was read and
//! agrees with what the vendor said of it; a fault names page and row, never a value.

use super::bulk;
use super::csv::{End, Splitter, Wrong};
use super::{Salesforce, soql};
use crate::provider::http::{Head, SMALL_LIMIT, SendError, Stream};
use crate::provider::{Ctx, Failure};
use bytes::{Bytes, BytesMut};
use crmsync_core::domain::{Batch, Delivered, Fault, Outcome, Step, Task};
use reqwest::Method;
use tokio::sync::mpsc;

/// Pieces on their way to the splitting thread.
const PIECES: usize = 4;
/// Smaller ones are joined: unpacking yields 4 KiB at a time, and each hop wakes a thread.
const PIECE: usize = 64 << 10;

/// Which page.
pub(super) struct Page<'a> {
    /// Of the job, with its version.
    pub path: &'a str,
    /// Where it begins; none: the first one.
    pub locator: Option<&'a str>,
    /// Rows at most.
    pub rows: usize,
}

/// What the vendor says of a page beside its rows.
struct Promise {
    rows: Option<u64>,
    next: Option<String>,
}

/// Why a page came to no end.
enum Stop {
    Wrong(Wrong),
    Cut(Fault),
    /// Nobody takes the rows.
    Unwanted,
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

/// Fetches a page, hands out its rows, checks it. A page that left no answer is a page that failed,
/// however early it was cut: asked for smaller it may come.
pub(super) async fn page(
    sf: &Salesforce,
    ctx: Ctx<'_>,
    task: &Task,
    page: &Page<'_>,
    sink: mpsc::Sender<Delivered>,
) -> Result<Outcome, Failure> {
    let mut path = format!("{}/results?maxRecords={}", page.path, page.rows);
    if let Some(locator) = page.locator {
        path.push_str("&locator=");
        path.push_str(&soql::encode(locator));
    }
    let request = sf.http.request(Method::GET, super::url(ctx.session, &path)?)?;
    let (mut stream, usage) = match sf.open(ctx, request).await {
        Ok(opened) => opened,
        Err(error) => {
            let steps = vec![Step::Failed(unanswered(error)?)];
            return Ok(Outcome { steps, ..Outcome::default() });
        }
    };
    let server_time = stream.head.server_time();
    let step = if !(200..300).contains(&stream.head.status) || is_html(&stream.head) {
        match stream.whole(SMALL_LIMIT).await {
            Err(error) => Step::Failed(unanswered(error)?),
            Ok(answer) => match answer.passing() {
                Some(fault) if answer.is_ok() => Step::Failed(fault),
                Some(_) | None => bulk::lost(&answer, task)?,
            },
        }
    } else {
        let read = match promise(&stream.head, page.locator) {
            Err(what) => Err(what),
            Ok(promise) => {
                let splitter = Splitter::new(task.fields.clone());
                match flow(&mut stream, splitter, sink).await {
                    Ok(end) => promise.kept(&end),
                    Err(Stop::Wrong(wrong)) => Err(wrong.to_string()),
                    Err(Stop::Cut(fault)) => Ok(Step::Failed(fault)),
                    Err(Stop::Unwanted) => {
                        return Err(Fault::passing("the reader of the rows stopped").into());
                    }
                }
            }
        };
        read.unwrap_or_else(|what| {
            let place =
                page.locator.map_or_else(|| "the first page".into(), |l| format!("page {l}"));
            let of = &task.object;
            Step::Failed(Fault::contract(format!("reading {place} of the job for {of}: {what}")))
        })
    };
    Ok(Outcome { steps: vec![step], usage, server_time })
}

/// Splits failures: a request that left and brought no whole answer is the page's trouble, one
/// that never left the call's.
fn unanswered(error: SendError) -> Result<Fault, Failure> {
    match error {
        SendError::Unanswered(fault) | SendError::TooLarge(fault) => Ok(fault),
        SendError::NotSent(_) | SendError::Held => Err(error.into()),
    }
}

fn header<'h>(head: &'h Head, name: &str) -> Option<&'h str> {
    head.headers.get(name)?.to_str().ok().map(str::trim)
}

fn of_type(head: &Head, kind: &str) -> bool {
    header(head, "content-type").is_some_and(|t| t.to_ascii_lowercase().starts_with(kind))
}

fn is_html(head: &Head) -> bool {
    of_type(head, "text/html")
}

/// Reads the headers of a page. The last page says so by the literal `null`.
fn promise(head: &Head, this: Option<&str>) -> Result<Promise, String> {
    if !of_type(head, "text/csv") {
        return Err("it is not of type text/csv".into());
    }
    let rows = match header(head, "sforce-numberofrecords") {
        None => None,
        Some(text) => Some(text.parse().map_err(|_| "its number of records is no number")?),
    };
    let next = match header(head, "sforce-locator") {
        None | Some("") => return Err("nothing says whether a page follows".into()),
        Some("null") => None,
        Some(next) if Some(next) == this => return Err("it is followed by itself".into()),
        Some(next) => Some(next.to_owned()),
    };
    Ok(Promise { rows, next })
}

impl Promise {
    fn kept(self, end: &End) -> Result<Step, String> {
        let rows = end.rows;
        if let Some(promised) = self.rows
            && promised != rows
        {
            return Err(format!("{rows} rows instead of the {promised} that were told"));
        }
        if !end.header && self.rows.is_none() {
            return Err("it is empty".into());
        }
        if rows == 0 && self.next.is_some() {
            return Err("no rows, but a next page".into());
        }
        Ok(Step::Page { rows, next: self.next })
    }
}

/// Reads, splits and hands out, all at once.
async fn flow(
    stream: &mut Stream<'_>,
    splitter: Splitter,
    sink: mpsc::Sender<Delivered>,
) -> Result<End, Stop> {
    let (pieces, taken) = mpsc::channel(PIECES);
    let splitting = tokio::task::spawn_blocking(move || split(splitter, taken, &sink));
    let read = read(stream, pieces).await;
    let split = splitting.await;
    read.map_err(Stop::Cut)?;
    split.unwrap_or_else(|e| Err(Stop::Cut(Fault::passing(format!("splitting a page: {e}")))))
}

/// Sends the body on, and `None` at its end: without it the body was cut.
async fn read(stream: &mut Stream<'_>, pieces: mpsc::Sender<Option<Bytes>>) -> Result<(), Fault> {
    let mut held = BytesMut::new();
    while let Some(chunk) = stream.chunk().await.map_err(SendError::fault)? {
        let piece = if held.is_empty() && chunk.len() >= PIECE {
            chunk
        } else {
            held.extend_from_slice(&chunk);
            if held.len() < PIECE {
                continue;
            }
            held.split().freeze()
        };
        if pieces.send(Some(piece)).await.is_err() {
            return Ok(());
        }
    }
    // Whoever stopped listening has told why.
    if pieces.send(Some(held.freeze())).await.is_ok() {
        pieces.send(None).await.ok();
    }
    Ok(())
}

/// Runs on a thread of its own.
fn split(
    mut splitter: Splitter,
    mut pieces: mpsc::Receiver<Option<Bytes>>,
    sink: &mpsc::Sender<Delivered>,
) -> Result<End, Stop> {
    let mut hand =
        |batch: Batch| sink.blocking_send(Delivered { task: 0, batch, position: None }).is_ok();
    loop {
        match pieces.blocking_recv() {
            None => return Err(Stop::Cut(Fault::passing("the download was cut"))),
            Some(None) => break,
            Some(Some(bytes)) if !splitter.feed(&bytes, &mut hand)? => return Err(Stop::Unwanted),
            Some(Some(_)) => {}
        }
    }
    let mut end = splitter.end()?;
    if let Some(batch) = end.batch.take()
        && !hand(batch)
    {
        return Err(Stop::Unwanted);
    }
    Ok(end)
}

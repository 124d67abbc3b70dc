//! The CSV of a finished job, in pieces: written ahead when the job runs, so that a download costs
//! next to nothing; written anew from the rows where the memory for that was needed elsewhere.
//!
//! Both ways give the same bytes. A page is any range of rows under its own header line.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;

use crate::data::{Export, Injury, Style};
use crate::reply::Pieces;

/// Rows that are written together.
const CHUNK: usize = 512;

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Where each row ends.
    ends: Vec<u32>,
}

impl Chunk {
    fn of(export: &Export, style: Style, at: usize, scratch: &mut Vec<u8>) -> Chunk {
        scratch.clear();
        let mut ends = Vec::with_capacity(CHUNK);
        export.write(at * CHUNK, (at + 1) * CHUNK, style, scratch, &mut ends);
        Chunk { bytes: Bytes::copy_from_slice(scratch), ends }
    }

    /// The rows `from..to` of this chunk.
    fn rows(&self, from: usize, to: usize) -> Bytes {
        let end = |rows: usize| match rows.checked_sub(1) {
            None => 0,
            Some(last) => self.ends.get(last).map_or(self.bytes.len(), |end| *end as usize),
        };
        self.bytes.slice(end(from)..end(to))
    }
}

/// Rows of one job, and how they are written.
#[derive(Debug)]
pub(crate) struct Results {
    export: Export,
    style: Style,
    written: RwLock<Option<Vec<Chunk>>>,
    ready: AtomicBool,
}

impl Results {
    pub(crate) fn new(export: Export, style: Style) -> Results {
        Results { export, style, written: RwLock::new(None), ready: AtomicBool::new(false) }
    }

    /// Rows in all.
    pub(crate) fn len(&self) -> usize {
        self.export.len()
    }

    /// Whether the work is done.
    pub(crate) fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Does the work: writes everything, or as much as `most` bytes allow; returns the bytes held.
    pub(crate) fn work(&self, most: usize) -> usize {
        let (mut chunks, mut held, mut scratch) = (Vec::new(), 0, Vec::new());
        for at in 0..self.len().div_ceil(CHUNK) {
            let chunk = Chunk::of(&self.export, self.style, at, &mut scratch);
            held += chunk.bytes.len();
            if held > most {
                (chunks, held) = (Vec::new(), 0);
                break;
            }
            chunks.push(chunk);
        }
        if !chunks.is_empty() {
            *self.written.write().unwrap_or_else(PoisonError::into_inner) = Some(chunks);
        }
        self.ready.store(true, Ordering::Release);
        held
    }

    /// Gives the memory back; the rows stay.
    pub(crate) fn forget(&self) {
        *self.written.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The rows `from..to` that lie in chunk `at`.
    fn rows(&self, at: usize, from: usize, to: usize) -> Bytes {
        let first = at * CHUNK;
        let (from, to) = (from.max(first) - first, to.min(first + CHUNK) - first);
        let written = self.written.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(chunk) = written.as_ref().and_then(|chunks| chunks.get(at)) {
            return chunk.rows(from, to);
        }
        drop(written);
        Chunk::of(&self.export, self.style, at, &mut Vec::new()).rows(from, to)
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.export.write_header(self.style, &mut out);
        out
    }
}

/// Some rows of a result, in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) results: Arc<Results>,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

impl Page {
    /// Header and rows in one piece.
    pub(crate) fn whole(&self) -> Vec<u8> {
        let mut out = self.results.header();
        for n in 0.. {
            let Some(piece) = self.piece(n) else { break };
            out.extend_from_slice(&piece);
        }
        out
    }

    /// The page with one row in its middle hurt; one without rows stays as it is.
    pub(crate) fn injured(&self, injury: Injury) -> Vec<u8> {
        let middle = self.from + (self.to - self.from) / 2;
        let part = |from, to| Page { results: Arc::clone(&self.results), from, to };
        let mut out = part(self.from, middle).whole();
        if middle < self.to {
            let results = &self.results;
            results.export.write_injured(middle, results.style, injury, &mut out);
            let rest = part(middle + 1, self.to);
            for n in 0.. {
                let Some(piece) = rest.piece(n) else { break };
                out.extend_from_slice(&piece);
            }
        }
        out
    }
}

impl Pieces for Page {
    fn piece(&self, n: usize) -> Option<Bytes> {
        let at = self.from / CHUNK + n;
        (at * CHUNK < self.to && self.from < self.to)
            .then(|| self.results.rows(at, self.from, self.to))
    }
}

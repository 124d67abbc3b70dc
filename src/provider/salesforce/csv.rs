//! A page of CSV, in pieces of any size, into batches.
//!
//! Hides quoting. A value stays where it was read: nothing is copied or allocated for each. Strict,
//! for a lenient reader turns a broken page into wrong rows: whatever is not the promised form is
//! refused with its row and the reason, never with a value. Invariants: memory is bounded by one
//! batch, one piece and one record; quotes, line breaks and NUL within a value are data.

use crmsync_core::domain::{Batch, Cell};
use std::borrow::Cow;

/// Text of a batch: about 1 MiB.
const BATCH: usize = 1 << 20;
/// Pieces are taken in so much at a time.
const PIECE: usize = 64 << 10;
/// No record is so long: an object holds at most 1.6 million characters of long text.
const RECORD: usize = 16 << 20;

/// What is wrong with a page: `row` 0 is the header line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub row: u64,
    pub what: Cow<'static, str>,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.row {
            0 => write!(f, "header line: {}", self.what),
            row => write!(f, "row {row}: {}", self.what),
        }
    }
}

/// The end of a page.
#[derive(Debug)]
pub(super) struct End {
    /// Rows not handed out yet.
    pub batch: Option<Batch>,
    /// Rows of the page in all.
    pub rows: u64,
    /// Whether there was a header line, that is: any byte at all.
    pub header: bool,
}

/// What a value is followed by.
enum Next {
    Value,
    Line,
}

/// Reads one page.
#[derive(Debug)]
pub(super) struct Splitter {
    /// Asked for, in the order of the batch; the key first.
    fields: Vec<String>,
    /// For each place in a line its column; empty until the header line was read.
    columns: Vec<usize>,
    text: Vec<u8>,
    cells: Vec<Cell>,
    /// Where the line begins that is being read.
    line: usize,
    /// Place of the next value, and where it begins.
    place: usize,
    at: usize,
    /// Up to where the end of that value was looked for, and whether doubled quotes were met.
    seen: usize,
    doubled: bool,
    /// Whole rows so far.
    rows: u64,
}

impl Splitter {
    /// For a page of these fields, the key first.
    pub(super) fn new(fields: Vec<String>) -> Self {
        Self {
            fields,
            columns: Vec::new(),
            text: Vec::with_capacity(BATCH + 2 * PIECE),
            cells: Vec::new(),
            line: 0,
            place: 0,
            at: 0,
            seen: 0,
            doubled: false,
            rows: 0,
        }
    }

    /// Takes the next bytes; whole batches go out. `Ok(false)`: nobody wants them any more.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        out: &mut impl FnMut(Batch) -> bool,
    ) -> Result<bool, Wrong> {
        for piece in bytes.chunks(PIECE) {
            self.text.extend_from_slice(piece);
            self.values()?;
            if self.text.len() - self.line > RECORD {
                return Err(self.wrong("longer than any record"));
            }
            if self.line >= BATCH {
                let batch = self.take()?;
                if batch.is_some_and(|batch| !out(batch)) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// The page has ended. Only behind a closing quote the last line end may be missing: elsewhere
    /// a cut value looks like a whole one.
    pub(super) fn end(mut self) -> Result<End, Wrong> {
        let closed = self.text.get(self.at) == Some(&b'"')
            && self.seen > self.at
            && self.seen + 1 == self.text.len();
        if closed {
            self.text.push(b'\n');
            self.values()?;
        }
        if self.place > 0 || self.at < self.text.len() {
            return Err(self.wrong("the page ends within it"));
        }
        let batch = self.take()?.filter(|batch| batch.rows() > 0);
        Ok(End { batch, rows: self.rows, header: !self.columns.is_empty() })
    }

    /// Reads values as far as they are whole.
    fn values(&mut self) -> Result<(), Wrong> {
        while let Some((cell, next)) = self.value()? {
            if self.columns.is_empty() {
                self.cells.push(cell);
            } else {
                let width = self.columns.len();
                let Some(column) = self.columns.get(self.place) else {
                    return Err(self.wrong(format!("more than {width} columns")));
                };
                if self.place == 0 {
                    self.cells.extend(std::iter::repeat_n(Cell::NULL, width));
                }
                let row = self.cells.len() - width;
                self.cells[row + column] = cell;
            }
            self.place += 1;
            if let Next::Line = next {
                self.line_end()?;
            }
        }
        Ok(())
    }

    /// The next value, without its quotes; `None` until more of it has come.
    #[inline]
    fn value(&mut self) -> Result<Option<(Cell, Next)>, Wrong> {
        match self.text.get(self.at) {
            None => Ok(None),
            Some(b'"') => self.quoted(),
            Some(_) => self.bare(),
        }
    }

    #[inline]
    fn quoted(&mut self) -> Result<Option<(Cell, Next)>, Wrong> {
        let begin = self.at + 1;
        let mut from = self.seen.max(begin);
        let (end, behind, next) = loop {
            let Some(found) = memchr::memchr(b'"', &self.text[from..]) else {
                self.seen = self.text.len();
                return Ok(None);
            };
            let quote = from + found;
            match (self.text.get(quote + 1), self.text.get(quote + 2)) {
                (Some(b'"'), _) => {
                    self.doubled = true;
                    from = quote + 2;
                }
                (Some(b','), _) => break (quote, quote + 2, Next::Value),
                (Some(b'\n'), _) => break (quote, quote + 2, Next::Line),
                (Some(b'\r'), Some(b'\n')) => break (quote, quote + 3, Next::Line),
                (None, _) | (Some(b'\r'), None) => {
                    self.seen = quote;
                    return Ok(None);
                }
                (Some(_), _) => return Err(self.wrong("text behind a closing quote")),
            }
        };
        let len = if self.doubled { single(&mut self.text[begin..end]) } else { end - begin };
        self.begin(behind);
        self.cell(begin, len).map(|cell| Some((cell, next)))
    }

    fn bare(&mut self) -> Result<Option<(Cell, Next)>, Wrong> {
        let (begin, from) = (self.at, self.seen.max(self.at));
        let Some(found) = memchr::memchr3(b',', b'\n', b'"', &self.text[from..]) else {
            self.seen = self.text.len();
            return Ok(None);
        };
        let mut end = from + found;
        let next = match self.text[end] {
            b',' => Next::Value,
            b'\n' => Next::Line,
            _ => return Err(self.wrong("a quote within a value that is not quoted")),
        };
        let behind = end + 1;
        if let Next::Line = next
            && self.text[begin..end].last() == Some(&b'\r')
        {
            end -= 1;
        }
        if memchr::memchr(b'\r', &self.text[begin..end]).is_some() {
            return Err(self.wrong("a line break within a value that is not quoted"));
        }
        self.begin(behind);
        self.cell(begin, end - begin).map(|cell| Some((cell, next)))
    }

    fn begin(&mut self, at: usize) {
        self.at = at;
        self.seen = at;
        self.doubled = false;
    }

    /// Nothing and the empty text are the same in this format: null.
    fn cell(&self, start: usize, len: usize) -> Result<Cell, Wrong> {
        if len == 0 {
            return Ok(Cell::NULL);
        }
        Cell::at(start, len).ok_or_else(|| self.wrong("longer than any record"))
    }

    fn line_end(&mut self) -> Result<(), Wrong> {
        if self.columns.is_empty() {
            self.columns = self.header()?;
            self.cells.clear();
        } else {
            let width = self.columns.len();
            if self.place != width {
                return Err(self.wrong(format!("{} columns instead of {width}", self.place)));
            }
            if self.cells[self.cells.len() - width] == Cell::NULL {
                return Err(self.wrong("it has no key"));
            }
            self.rows += 1;
        }
        self.place = 0;
        self.line = self.at;
        Ok(())
    }

    /// The column of each place: the asked fields, all of them, in whatever order.
    fn header(&self) -> Result<Vec<usize>, Wrong> {
        let (found, asked) = (self.cells.len(), self.fields.len());
        if found != asked {
            return Err(self.wrong(format!("{found} columns instead of {asked}")));
        }
        let mut columns = vec![0; found];
        for (column, field) in self.fields.iter().enumerate() {
            let same = |cell: &Cell| {
                let name = cell.range().and_then(|range| self.text.get(range));
                name.is_some_and(|name| name.eq_ignore_ascii_case(field.as_bytes()))
            };
            match self.cells.iter().position(same) {
                Some(place) => columns[place] = column,
                None => return Err(self.wrong(format!("{field} is not in it"))),
            }
        }
        Ok(columns)
    }

    /// The whole rows; what was read of the next one stays.
    fn take(&mut self) -> Result<Option<Batch>, Wrong> {
        let width = self.columns.len();
        if width == 0 {
            return Ok(None);
        }
        let mut next = Vec::with_capacity(BATCH + 2 * PIECE);
        next.extend_from_slice(&self.text[self.line..]);
        self.text.truncate(self.line);
        let begun = if self.place > 0 { width } else { 0 };
        let rest = self.cells.split_off(self.cells.len() - begun);
        let room = Vec::with_capacity(self.cells.len());
        let cells = std::mem::replace(&mut self.cells, room);
        let back = std::mem::take(&mut self.line);
        self.at -= back;
        self.seen = self.seen.saturating_sub(back);
        self.cells.extend(rest.into_iter().map(|cell| match cell.range() {
            Some(range) => Cell::at(range.start - back, range.len()).unwrap_or(Cell::NULL),
            None => Cell::NULL,
        }));
        let text = String::from_utf8(std::mem::replace(&mut self.text, next));
        let text = text.map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let before = cells.iter().position(|c| c.range().is_some_and(|range| range.end > at));
            let first = self.rows - (cells.len() / width) as u64;
            let row = first + (before.unwrap_or_default() / width) as u64 + 1;
            Wrong { row, what: "a value that is not UTF-8".into() }
        })?;
        Ok(Some(Batch::of(text, cells, width)))
    }

    #[cold]
    fn wrong(&self, what: impl Into<Cow<'static, str>>) -> Wrong {
        let row = if self.columns.is_empty() { 0 } else { self.rows + 1 };
        Wrong { row, what: what.into() }
    }
}

/// Makes doubled quotes single, in place; the new length. What becomes free is blanked, for half a
/// character left there would spoil the whole text.
fn single(value: &mut [u8]) -> usize {
    let (mut from, mut to) = (0, 0);
    while let Some(byte) = value.get(from).copied() {
        value[to] = byte;
        to += 1;
        from += if byte == b'"' { 2 } else { 1 };
    }
    value[to..].fill(b' ');
    to
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;

use super::Time;

/// One page of rows: one text, and for each cell where it lies in it.
///
/// Values stay text until the replica converts them by column type; no allocation per value, no
/// map per record. The key is column 0. Shape: `rows x columns`, row by row. The text may hold
/// more than the cells (what stood between them at the source).
#[derive(Debug, Default, Clone)]
pub struct Batch {
    text: String,
    cells: Vec<Cell>,
    columns: usize,
}

/// Where a cell lies in the text of its batch: byte offset and length, or null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// `u32::MAX` is null.
    start: u32,
    len: u32,
}

impl Cell {
    /// No value.
    pub const NULL: Self = Self { start: u32::MAX, len: 0 };

    /// `None` beyond 4 GiB: a batch is far smaller.
    pub fn at(start: usize, len: usize) -> Option<Self> {
        let (start, len) = (u32::try_from(start).ok()?, u32::try_from(len).ok()?);
        (start != u32::MAX).then_some(Self { start, len })
    }

    /// Where it lies; `None` is null.
    pub fn range(self) -> Option<std::ops::Range<usize>> {
        let start = self.start as usize;
        (self != Self::NULL).then(|| start..start + self.len as usize)
    }
}

/// What the core may know of a batch: never a row, only facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFacts {
    /// Number of rows.
    pub rows: u64,
    /// Bytes of values.
    pub bytes: u64,
    /// Key of the first row.
    pub first: Option<String>,
    /// Key of the last row.
    pub last: Option<String>,
    /// Newest stamp seen, where the provider looked.
    pub newest: Option<Time>,
}

impl Batch {
    /// Whole rows at once, for a reader that leaves values where they lie: nothing is copied.
    /// `cells` is cut to whole rows; a cell that is not a piece of `text` reads as null.
    pub fn of(text: String, mut cells: Vec<Cell>, columns: usize) -> Self {
        cells.truncate(cells.len() - cells.len().checked_rem(columns).unwrap_or(cells.len()));
        Self { text, cells, columns }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.cells.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The text of a cell; `None` is null (also out of range).
    pub fn get(&self, row: usize, column: usize) -> Option<&str> {
        if column >= self.columns {
            return None;
        }
        self.text.get(self.cells.get(row * self.columns + column)?.range()?)
    }

    /// The key (column 0) of a row.
    pub fn key(&self, row: usize) -> Option<&str> {
        self.get(row, 0)
    }

    /// Facts for the core.
    pub fn facts(&self) -> BatchFacts {
        let rows = self.rows();
        BatchFacts {
            rows: rows as u64,
            bytes: self.cells.iter().map(|cell| u64::from(cell.len)).sum(),
            first: self.key(0).map(str::to_owned),
            last: rows.checked_sub(1).and_then(|r| self.key(r)).map(str::to_owned),
            newest: None,
        }
    }
}

/// Fills a batch, cell by cell, in any column order within a row.
#[derive(Debug)]
pub struct BatchBuilder {
    batch: Batch,
}

impl BatchBuilder {
    /// For rows of so many columns.
    pub fn new(columns: usize) -> Self {
        Self { batch: Batch { columns, ..Batch::default() } }
    }

    /// Begins a row; all its cells are null until set.
    pub fn row(&mut self) {
        let columns = self.batch.columns;
        self.batch.cells.extend(std::iter::repeat_n(Cell::NULL, columns));
    }

    /// Sets a cell of the current row. Columns out of range are ignored; so is everything
    /// before the first `row`. A batch is bounded to 4 GiB of text, far above any page.
    pub fn set(&mut self, column: usize, text: &str) {
        let base = self.batch.cells.len().checked_sub(self.batch.columns);
        let (Some(base), Some(cell)) = (base, Cell::at(self.batch.text.len(), text.len())) else {
            return;
        };
        if column >= self.batch.columns {
            return;
        }
        self.batch.text.push_str(text);
        self.batch.cells[base + column] = cell;
    }

    /// Takes back the current row, if there is one.
    pub fn drop_row(&mut self) {
        let keep = self.batch.cells.len().saturating_sub(self.batch.columns);
        self.batch.cells.truncate(keep);
    }

    /// Number of rows begun.
    pub fn rows(&self) -> usize {
        self.batch.rows()
    }

    /// The finished batch.
    pub fn finish(self) -> Batch {
        self.batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_null_until_set_and_keep_their_text() {
        let mut b = BatchBuilder::new(3);
        b.set(0, "ignored: no row yet");
        b.row();
        b.set(2, "ü\n");
        b.set(0, "k1");
        b.row();
        b.set(0, "");
        b.set(9, "ignored: no such column");
        let b = b.finish();
        assert_eq!((b.rows(), b.columns()), (2, 3));
        assert_eq!(b.get(0, 2), Some("ü\n"));
        assert_eq!(b.get(0, 1), None);
        assert_eq!(b.get(1, 0), Some(""));
        assert_eq!(b.get(2, 0), None);
        assert_eq!(b.facts().last.as_deref(), Some(""));
    }

    #[test]
    fn whole_rows_lie_where_they_were_read() {
        let cell = |start, len| Cell::at(start, len).unwrap();
        let text = "\"k1\",\"ü\",\"\"\n".to_owned();
        // The last cell begins within a character, and a row is not whole.
        let cells = vec![cell(1, 2), cell(6, 2), Cell::NULL, cell(7, 1), cell(99, 1)];
        let b = Batch::of(text.clone(), cells.clone(), 2);
        assert_eq!((b.rows(), b.get(0, 0), b.get(0, 1)), (2, Some("k1"), Some("ü")));
        assert_eq!((b.get(1, 0), b.get(1, 1)), (None, None));
        assert_eq!(b.facts().bytes, 5);
        assert_eq!(Batch::of(text, cells, 0).rows(), 0);
        assert_eq!(Cell::at(u32::MAX as usize, 0), None);
    }
}

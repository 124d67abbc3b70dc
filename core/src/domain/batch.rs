use super::Time;

const NULL: u32 = u32::MAX;

/// One page of rows: one byte buffer, and for each cell where it lies in it.
///
/// Values stay text until the replica converts them by column type; no allocation per value, no
/// map per record. The key is column 0. Shape: `rows x columns`, row by row.
#[derive(Debug, Default, Clone)]
pub struct Batch {
    bytes: Vec<u8>,
    /// `(start, len)`; `start == u32::MAX` is null.
    cells: Vec<(u32, u32)>,
    columns: usize,
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
        let (start, len) = *self.cells.get(row * self.columns + column)?;
        if start == NULL {
            return None;
        }
        // The builder takes only `&str` pieces, so a cell is always whole UTF-8.
        std::str::from_utf8(self.bytes.get(start as usize..start as usize + len as usize)?).ok()
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
            bytes: self.bytes.len() as u64,
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
        self.batch.cells.extend(std::iter::repeat_n((NULL, 0), columns));
    }

    /// Sets a cell of the current row. Columns out of range are ignored; so is everything
    /// before the first `row`. A batch is bounded to 4 GiB of text, far above any page.
    pub fn set(&mut self, column: usize, text: &str) {
        let base = self.batch.cells.len().checked_sub(self.batch.columns);
        let (Some(base), Ok(start), Ok(len)) =
            (base, u32::try_from(self.batch.bytes.len()), u32::try_from(text.len()))
        else {
            return;
        };
        if column >= self.batch.columns || start == NULL {
            return;
        }
        self.batch.bytes.extend_from_slice(text.as_bytes());
        self.batch.cells[base + column] = (start, len);
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
}

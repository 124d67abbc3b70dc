//! Rows of a batch in the wire format of a copy.

use super::super::book::Plan;
use super::super::value::{self, Cell};
use super::book::Key;
use super::encode::{self, Moment};
use super::fail::Fail;
use crmsync_core::domain::{Batch, FieldType};

/// Values of one row that do not fit: target and reason.
pub(super) type Found = Vec<(usize, &'static str)>;

impl Plan {
    /// The key of a row; `None` if it has no usable one.
    pub(super) fn key<'a>(&self, batch: &'a Batch, row: usize) -> Option<Key<'a>> {
        Key::of(self.targets[0].kind, batch.key(row)?)
    }

    /// Number of columns of a copied row, the further ones counted.
    pub(super) fn width(&self, further: usize) -> Result<i16, Fail> {
        i16::try_from(self.targets.len() + further)
            .map_err(|_| Fail::Bug("more columns than a table holds".into()))
    }

    /// Appends the values of a row; says when it was deleted, if its flag says that it was.
    pub(super) fn encode(
        &self,
        batch: &Batch,
        row: usize,
        key: Key<'_>,
        now: Moment,
        found: &mut Found,
        out: &mut Vec<u8>,
    ) -> Option<Moment> {
        found.clear();
        match key {
            Key::Number(n) => encode::long(out, n),
            Key::Text(t) => encode::bytes(out, t.as_bytes()),
        }
        let mut stamp = None;
        for (i, target) in self.targets.iter().enumerate().skip(1) {
            let Some(text) = batch.get(row, target.from) else {
                encode::null(out);
                continue;
            };
            if let Some(reason) = encode::value(out, target.kind, text) {
                found.push((i, reason));
            } else if self.stamp == Some(i) {
                stamp = out.last_chunk().map(|b| Moment(i64::from_be_bytes(*b)));
            }
        }
        let flag = self.flag.and_then(|i| batch.get(row, self.targets[i].from));
        let gone = flag.is_some_and(|f| value::convert(FieldType::Boolean, f).0 == Cell::Int(1));
        gone.then(|| stamp.unwrap_or(now))
    }
}

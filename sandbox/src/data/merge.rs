//! Merging records, as the vendor's Apex and SOAP calls do (REST has none).
//!
//! The loser goes into the bin with the winner's id in `MasterRecordId`, the log of deletes names
//! it, and whatever pointed at it points at the winner. All of them, and the winner, get the stamp
//! of `now`. Source: Apex Developer Guide, "Merging Records"; object reference, `MasterRecordId`.

use super::Org;
use super::changes::{Cells, slot_of};
use super::error::ApiError;
use super::id::Id;
use super::input::Owned;
use super::schema::Kind;
use super::table::Object;
use super::value::{self, Val};
use jiff::Timestamp;

const MASTER: &str = "MasterRecordId";

impl Org {
    /// Merges `loser` into `winner`, which keeps its values; gives how many records came over.
    ///
    /// # Errors
    /// 400 where the object cannot be merged or both are the same, 404 where one is not there.
    pub fn merge(
        &mut self,
        object: &str,
        winner: &str,
        loser: &str,
        now: Timestamp,
    ) -> Result<usize, ApiError> {
        let (_, winner) = self.live(object, winner, now)?;
        let (table, loser) = self.live(object, loser, now)?;
        let master = table.field(MASTER).and_then(|(_, f)| slot_of(f));
        let (Some(master), false) = (master, winner == loser) else {
            let message = format!("{} {loser} cannot be merged into {winner}", table.name);
            return Err(ApiError::bad("INVALID_OPERATION", message));
        };
        self.delete(object, &loser.to_string(), now)?;
        let stamp = now.as_second();
        let table = self.object_mut(object)?;
        table.put(loser, &Cells::from([(master, Owned::Plain(Val::Id(winner)))]), stamp);
        table.put(winner, &Cells::new(), stamp);
        Ok(self.objects.values_mut().map(|table| table.turn(loser, winner, stamp)).sum())
    }
}

impl Object {
    /// A loser that comes out of the bin is nobody's any more.
    pub(super) fn free(&mut self, id: Id, stamp: i64) {
        if let Some(slot) = self.field(MASTER).and_then(|(_, f)| slot_of(f)) {
            self.put(id, &Cells::from([(slot, Owned::Plain(Val::Null))]), stamp);
        }
    }

    fn put(&mut self, id: Id, cells: &Cells, stamp: i64) {
        let Some(row) = self.find(id) else { return };
        let cells = Self::build(&row.cells, cells);
        self.change(id, |row| {
            row.cells = cells;
            row.stamp = stamp;
        });
    }

    /// Points live records at the winner where they point at the loser; gives how many.
    fn turn(&mut self, loser: Id, winner: Id, stamp: i64) -> usize {
        let lookups: Vec<usize> = self
            .live_fields()
            .filter(|f| f.kind == Kind::Reference && f.name != MASTER)
            .filter_map(slot_of)
            .collect();
        let points = |cells: &[u8], slot: usize| value::cell(cells, slot) == Val::Id(loser);
        let children: Vec<(Id, Cells)> = self
            .rows
            .iter()
            .flatten()
            .filter(|row| !row.deleted)
            .map(|row| {
                let of = lookups.iter().filter(|slot| points(&row.cells, **slot));
                (row.id, of.map(|slot| (*slot, Owned::Plain(Val::Id(winner)))).collect::<Cells>())
            })
            .filter(|(_, cells)| !cells.is_empty())
            .collect();
        for (id, cells) in &children {
            self.put(*id, cells, stamp);
        }
        children.len()
    }
}

//! One page of a query's answer into a batch, without a map per record.
//!
//! Hides the vendor's JSON. Invariants: values keep their text (a number is never a double);
//! a row without its key is an error, not a row; never panics on any text.

use crmsync_core::domain::{Batch, BatchBuilder, FieldType};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// What to take from each record.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// Name, column and type.
    pub cells: Vec<(&'a str, usize, FieldType)>,
    /// Columns of the batch.
    pub width: usize,
    /// The key's name.
    pub key: &'a str,
    /// A column for the key beside `cells`, where one is wanted.
    pub key_column: Option<usize>,
    /// The stamp's name, and a column for it beside `cells` where one is wanted.
    pub stamp: Option<(&'a str, Option<usize>)>,
}

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its rows.
    pub batch: Batch,
    /// Key and stamp of the last row.
    pub last: Option<(String, Option<String>)>,
    /// The vendor's word that nothing follows.
    pub done: bool,
    /// `totalSize`; the answer of `count()`.
    pub total: u64,
}

/// Reads a page.
pub fn read(body: &str, wanted: &Wanted<'_>) -> Result<Page, String> {
    let mut reader = serde_json::Deserializer::from_str(body);
    let page = PageSeed(wanted).deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(page)
}

/// A name in JSON, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

struct PageSeed<'w, 'a>(&'w Wanted<'a>);

impl<'de> DeserializeSeed<'de> for PageSeed<'_, '_> {
    type Value = Page;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Page, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for PageSeed<'_, '_> {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with totalSize, done and records")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Page, A::Error> {
        let (mut done, mut total, mut rows) = (None, None, None);
        while let Some(Name(name)) = map.next_key()? {
            match name.as_ref() {
                "done" => done = Some(map.next_value::<bool>()?),
                "totalSize" => total = Some(map.next_value::<u64>()?),
                "records" => {
                    rows = Some(map.next_value_seed(RowsSeed(self.0))?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let rows = rows.ok_or_else(|| A::Error::missing_field("records"))?;
        let done = done.ok_or_else(|| A::Error::missing_field("done"))?;
        let total = total.ok_or_else(|| A::Error::missing_field("totalSize"))?;
        Ok(Page { batch: rows.builder.finish(), last: rows.last, done, total })
    }
}

struct Rows {
    builder: BatchBuilder,
    last: Option<(String, Option<String>)>,
}

struct RowsSeed<'w, 'a>(&'w Wanted<'a>);

impl<'de> DeserializeSeed<'de> for RowsSeed<'_, '_> {
    type Value = Rows;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Rows, D::Error> {
        d.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for RowsSeed<'_, '_> {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Rows, A::Error> {
        let mut rows = Rows { builder: BatchBuilder::new(self.0.width), last: None };
        let mut order = Vec::new();
        while seq
            .next_element_seed(RowSeed { wanted: self.0, rows: &mut rows, order: &mut order })?
            .is_some()
        {}
        Ok(rows)
    }
}

struct RowSeed<'w, 'a, 'r> {
    wanted: &'w Wanted<'a>,
    rows: &'r mut Rows,
    /// For each place in a record the cell found there in the record before: records of a page
    /// have the same order, so a name is rarely searched.
    order: &'r mut Vec<Option<usize>>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_, '_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wanted = self.wanted;
        self.rows.builder.row();
        let (mut key, mut stamp) = (None, None);
        let mut place = 0;
        while let Some(Name(name)) = map.next_key()? {
            if name == "attributes" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let raw: &RawValue = map.next_value()?;
            let raw = raw.get();
            if name.eq_ignore_ascii_case(wanted.key) {
                key = text_of(raw).filter(|k| !k.is_empty());
                if let (Some(column), Some(text)) = (wanted.key_column, &key) {
                    self.rows.builder.set(column, text);
                }
            }
            if let Some((stamp_name, column)) = wanted.stamp
                && name.eq_ignore_ascii_case(stamp_name)
            {
                stamp = text_of(raw);
                if let (Some(column), Some(text)) = (column, &stamp) {
                    self.rows.builder.set(column, text);
                }
            }
            let same = |i: &usize| wanted.cells[*i].0.eq_ignore_ascii_case(&name);
            let known = self.order.get(place).copied().flatten().filter(same);
            let cell = known.or_else(|| (0..wanted.cells.len()).find(same));
            if self.order.len() <= place {
                self.order.resize(place + 1, None);
            }
            self.order[place] = cell;
            place += 1;
            if let Some(cell) = cell {
                let (_, column, kind) = wanted.cells[cell];
                if let Some(text) = value(raw, kind) {
                    self.rows.builder.set(column, &text);
                }
            }
        }
        let key = key.ok_or_else(|| {
            A::Error::custom(format!("record {} has no {}", self.rows.builder.rows(), wanted.key))
        })?;
        self.rows.last = Some((key.into_owned(), stamp.map(Cow::into_owned)));
        Ok(())
    }
}

/// The text of a JSON scalar; null is none, structures stay JSON.
fn text_of(raw: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = raw.strip_prefix('"') else {
        return (raw != "null").then_some(Cow::Borrowed(raw));
    };
    if inner.contains('\\') {
        return serde_json::from_str::<String>(raw).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner.strip_suffix('"').unwrap_or(inner)))
}

fn value(raw: &str, kind: FieldType) -> Option<Cow<'_, str>> {
    match kind {
        FieldType::Json => (raw != "null").then_some(Cow::Borrowed(raw)),
        FieldType::Integer => text_of(raw).map(whole),
        // `12:00:00.000Z`
        FieldType::TimeOfDay => text_of(raw).map(|text| match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('Z').unwrap_or(text)),
            Cow::Owned(text) => Cow::Owned(text),
        }),
        FieldType::Text
        | FieldType::Boolean
        | FieldType::Decimal
        | FieldType::Date
        | FieldType::DateTime => text_of(raw),
    }
}

/// Whole numbers may come as `5.0` or `1.0E7`; what is not whole stays as it is.
fn whole(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
        return text;
    }
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()),
        None => (text.as_ref(), Some(0)),
    };
    let (int, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let zeros =
        exponent.and_then(|e| usize::try_from(e).ok()).and_then(|e| e.checked_sub(fraction.len()));
    let (sign, int) = int.strip_prefix('-').map_or(("", int), |int| ("-", int));
    match zeros {
        Some(zeros) if zeros <= 20 => {
            let all = format!("{int}{fraction}{}", "0".repeat(zeros));
            let all = all.trim_start_matches('0');
            if all.is_empty() { "0".into() } else { Cow::Owned(format!("{sign}{all}")) }
        }
        _ => text,
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;

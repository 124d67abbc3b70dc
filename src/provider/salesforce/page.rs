//! One page of a query's answer into a batch, without a map per record.
//!
//! Hides the vendor's JSON. Invariant: an answer without totalSize, done and records is an error,
//! never an empty page.

use crate::provider::rows::{Name, RowsSeed, Wanted, text_of, whole};
use crmsync_core::domain::{Batch, FieldType};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

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

/// The text of a cell.
pub fn value(raw: &str, kind: FieldType) -> Option<Cow<'_, str>> {
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

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;

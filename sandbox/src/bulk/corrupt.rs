//! Pages that are not what they should be, on demand.

use serde::Serialize;

use super::results::Page;
use crate::data::Injury;
use crate::reply::Reply;

/// How a page is spoilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// A row in the middle lacks its last column.
    Columns,
    /// The body ends within a row, and the answer ends as if it were whole.
    Truncated,
    /// A value holds a byte that is no UTF-8.
    Utf8,
    /// `Sforce-NumberOfRecords` names one row more than there are.
    Count,
    /// No body at all, not even the header line.
    Empty,
    /// A value holds a NUL.
    Nul,
    /// The header line names other columns.
    Header,
    /// A page for people, with status 200.
    Html,
}

const FORMS: [(&str, Form); 8] = [
    ("columns", Form::Columns),
    ("truncated", Form::Truncated),
    ("utf8", Form::Utf8),
    ("count", Form::Count),
    ("empty", Form::Empty),
    ("nul", Form::Nul),
    ("header", Form::Header),
    ("html", Form::Html),
];

impl Form {
    pub(crate) fn named(name: &str) -> Result<Form, String> {
        let names: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
        FORMS.iter().find(|(known, _)| *known == name).map(|(_, form)| *form).ok_or_else(|| {
            format!("'{name}' is no form of corruption; known: {}", names.join(", "))
        })
    }

    /// The answer instead of the page; how many rows its header is to name.
    pub(crate) fn spoil(self, page: &Page) -> (Reply, usize) {
        let rows = page.to - page.from;
        let csv = |body: Vec<u8>| Reply::bytes(200, super::CSV, body);
        match self {
            Form::Columns => (csv(page.injured(Injury::LostColumn)), rows),
            Form::Utf8 => (csv(page.injured(Injury::Byte(0xff))), rows),
            Form::Nul => (csv(page.injured(Injury::Byte(0))), rows),
            Form::Count => (csv(page.whole()), rows + 1),
            Form::Empty => (csv(Vec::new()), rows),
            Form::Truncated => {
                let mut body = page.whole();
                let header = page.results.header().len();
                // Behind the opening quote of a value, so that it cannot be taken for a row's end.
                let middle = header + (body.len() - header) / 2;
                let quote =
                    body.get(middle..).and_then(|rest| rest.iter().position(|b| *b == b'"'));
                body.truncate(quote.map_or(header / 2, |at| middle + at + 1));
                (csv(body), rows)
            }
            Form::Header => {
                let body = page.whole();
                let header = page.results.header();
                let mut out = b"\"Unknown_Column__c\"".to_vec();
                out.extend_from_slice(header.get(header.len() - 1..).unwrap_or_default());
                out.extend_from_slice(body.get(header.len()..).unwrap_or_default());
                (csv(out), rows)
            }
            Form::Html => (Reply::html(200, crate::reply::MAINTENANCE.to_owned()), rows),
        }
    }
}

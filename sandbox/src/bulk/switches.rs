//! The trouble that query jobs can be given.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::job::Spec;
use super::{Form, not_in_bulk, rules};
use crate::data::{ApiError, RowOrder};
use crate::soql::ast::{Query, Select};

/// What the vendor says of a job that its tries did not bring to an end.
pub(crate) const GIVEN_UP: &str =
    "InternalServerError: Retried more than fifteen times. Narrow the query and try again";

/// Failures to come.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NextFail {
    pub(crate) left: u64,
    pub(crate) object: Option<String>,
    pub(crate) message: String,
}

/// Failures by what is asked for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TooMuch {
    pub(crate) days: Option<f64>,
    pub(crate) rows: Option<usize>,
    pub(crate) object: Option<String>,
    pub(crate) message: String,
}

/// Pages to be spoilt.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Spoil {
    /// How many more; none for always.
    pub(crate) left: Option<u64>,
    pub(crate) object: Option<String>,
    pub(crate) form: Form,
}

/// Everything that is set.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Switches {
    /// From the creation of a job to its end.
    pub(crate) latency_ms: u32,
    /// No job ends.
    pub(crate) stuck: bool,
    pub(crate) fail: Vec<NextFail>,
    pub(crate) too_much: Vec<TooMuch>,
    /// By lower-cased object, or object and field joined by a point; what is said, if not the usual.
    pub(crate) refused: BTreeMap<String, Option<String>>,
    pub(crate) corrupt: Vec<Spoil>,
    /// Pages no longer than this, whatever is asked for.
    pub(crate) page_rows: Option<usize>,
    #[serde(skip)]
    pub(crate) row_order: RowOrder,
}

fn meets(object: Option<&String>, name: &str) -> bool {
    object.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
}

impl Switches {
    /// Refuses objects and fields that the tester took from Bulk.
    pub(super) fn allow(&self, query: &Query) -> Result<(), ApiError> {
        let object = query.from.text.to_lowercase();
        if let Some(said) = self.refused.get(&object) {
            let usual = not_in_bulk(&query.from.text);
            return Err(ApiError { message: said.clone().unwrap_or(usual.message), ..usual });
        }
        let Select::Fields(paths) = &query.select else { return Ok(()) };
        for path in paths {
            let name = format!("{object}.{}", path.text().to_lowercase());
            if let Some(said) = self.refused.get(&name) {
                let (field, object) = (path.text(), &query.from.text);
                let usual = || {
                    format!(
                        "Field '{field}' of entity '{object}' is not supported by the Bulk API."
                    )
                };
                let message = said.clone().unwrap_or_else(usual);
                return Err(ApiError::bad("FEATURENOTENABLED", message));
            }
        }
        Ok(())
    }

    /// Why the job will fail, if it will; uses up what was armed.
    pub(super) fn fate(&mut self, query: &Query, spec: &Spec, now: Timestamp) -> Option<String> {
        let armed = self.fail.iter().rposition(|fail| meets(fail.object.as_ref(), &spec.object));
        if let Some(at) = armed {
            let fail = &mut self.fail[at];
            fail.left = fail.left.saturating_sub(1);
            let message = fail.message.clone();
            if fail.left == 0 {
                self.fail.remove(at);
            }
            return Some(message);
        }
        let days = rules::window_days(query.filter.as_ref(), now.as_millisecond());
        let rows = spec.results.len();
        let too_much = self.too_much.iter().find(|limit| {
            let long = limit.days.is_some_and(|most| days.is_none_or(|days| days > most));
            let many = limit.rows.is_some_and(|most| rows > most);
            meets(limit.object.as_ref(), &spec.object) && (long || many)
        });
        too_much.map(|limit| limit.message.clone())
    }

    /// How the next page of this object is to be spoilt; uses up what was armed.
    pub(crate) fn take_corrupt(&mut self, object: &str) -> Option<Form> {
        let at = self.corrupt.iter().rposition(|spoil| meets(spoil.object.as_ref(), object))?;
        let form = self.corrupt[at].form;
        if let Some(left) = &mut self.corrupt[at].left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.corrupt.remove(at);
            }
        }
        Some(form)
    }
}

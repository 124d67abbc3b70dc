//! The meter of one quota domain: who may call, how much is used, when everybody must wait.
//!
//! Hides answers that come out of order, calls without an answer, and crashes. A call is paid for
//! before it leaves (`start`), its answer tells the use (`told`), then it is no longer open
//! (`settle`, or `lost` when no answer came).
//! Invariants: no scheduled call starts while the last known use plus our open calls has reached
//! the line; an answer lowers the known use only if its call was started after the answer that
//! set it had been settled; a call that nobody answered counts until a later one tells; once
//! held, held until every limit is below `resume_below`.

mod bounds;
mod history;
mod line;
mod meter;
mod report;
#[cfg(test)]
mod tests;

pub use history::{History, Point};
pub use line::{Line, Settings, line};
pub use meter::{Admission, Change, Exempt, Hold, Learned, LimitState, Meter, PROBE_EVERY};
pub use report::{LimitReport, Report};

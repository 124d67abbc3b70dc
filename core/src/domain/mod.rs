//! The words everybody may use: names, schema, batches, tasks, faults, reasons, identity, quota facts.
//!
//! Hides nothing: these are plain values. Invariants: no IO, no clock, no vendor's name in any
//! branch; every type that is stored implements serde with stable names, because store and
//! replica keep it as JSON.

mod batch;
mod concern;
mod fault;
mod identity;
mod name;
mod quota;
mod schedule;
mod schema;
mod spec;
mod task;

pub use batch::{Batch, BatchBuilder, BatchFacts, Cell};
pub use concern::Concern;
pub use fault::{Fault, Problem, Reason};
pub use identity::{Check, CheckOutcome, Identity};
pub use name::{ConnectionName, NameError};
pub use quota::{QuotaDomain, Usage};
pub use schedule::{Schedule, ScheduleError, format_duration, parse_duration};
pub use schema::{Field, FieldType, ObjectSchema, Schema, SchemaPolicy};
pub use spec::{CredentialKind, KeyKind, KeySpec, Need, ProviderSpec};
pub use task::{Call, Delivered, JobRead, JobStep, Outcome, Step, Task, TaskKind};

/// A point in time, always UTC. The core takes it as an argument and never reads a clock.
pub type Time = jiff::Timestamp;

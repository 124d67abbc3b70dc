//! Which fields are read, and how their values get into rows that are here already.
//!
//! Hides what a changed description means under each policy, and when calculated fields are due.
//! Invariant: data is never dropped; a field that is no longer read keeps its column and values.

use super::{Fill, ObjectState, Phase, Rules, Slot};
use crate::domain::{ObjectSchema, SchemaPolicy, Time};

/// What is read of an object, and what is not although it is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Fields to read, in the order of the selection.
    pub fields: Vec<String>,
    /// Frozen out: they came to be since the last description. To be told once.
    pub new: Vec<String>,
    /// Frozen out: their type moved since the last description; their columns keep their values.
    /// To be told once.
    pub retyped: Vec<String>,
    /// Of those to read: their type moved since the last description, and with it their values in
    /// all records, without a new stamp.
    pub moved: Vec<String>,
}

/// Decides which of the `selected` fields are read.
///
/// `known` are the fields that are read now (none before the first load), `before` is the last
/// description, where one is known. `named` says whether the configuration asks for a field by
/// its name: such a one is always read and followed, only what comes by itself can be frozen out.
///
/// A field whose type moved while it was frozen comes back, and is filled, once the policy is
/// `follow` or the field is asked for by name.
pub fn fields_to_read(
    policy: SchemaPolicy,
    known: Option<&[String]>,
    selected: Vec<String>,
    named: impl Fn(&str) -> bool,
    before: Option<&ObjectSchema>,
    now: &ObjectSchema,
) -> Reading {
    let then = |field: &str| before.and_then(|b| b.field(field)).map(|f| f.kind);
    let moved = |field: &str| {
        then(field).is_some_and(|kind| now.field(field).is_some_and(|f| f.kind != kind))
    };
    let (SchemaPolicy::Freeze, Some(known)) = (policy, known) else {
        let moved = selected.iter().filter(|f| moved(f)).cloned().collect();
        return Reading { fields: selected, moved, ..Reading::default() };
    };
    let system: Vec<&str> = now.system_fields().collect();
    let mut out = Reading::default();
    for field in selected {
        if system.iter().any(|s| s.eq_ignore_ascii_case(&field)) || named(&field) {
            out.fields.push(field);
        } else if !known.iter().any(|k| k.eq_ignore_ascii_case(&field)) {
            if then(&field).is_none() {
                out.new.push(field);
            }
        } else if moved(&field) {
            out.retyped.push(field);
        } else {
            out.fields.push(field);
        }
    }
    out.moved = out.fields.iter().filter(|f| moved(f)).cloned().collect();
    out
}

impl ObjectState {
    /// Begins the re-read of calculated fields when it is due: their changes move no stamp.
    pub(super) fn begin_calculated(&mut self, schema: &ObjectSchema, rules: &Rules, now: Time) {
        let calculated = |f: &&String| schema.field(f).is_some_and(|f| f.calculated);
        let fields: Vec<String> = self.fields.iter().filter(calculated).cloned().collect();
        if fields.is_empty() {
            self.calculated_covered = None;
            return;
        }
        match &self.phase {
            Phase::Load { started, .. } => self.calculated_covered = Some(*started),
            Phase::Follow { covered, .. } | Phase::Reread { covered, .. }
                if schema.stamp.is_none() =>
            {
                self.calculated_covered = Some(*covered); // each re-read reads them all
            }
            Phase::Follow { settled: true, .. } if self.fill.is_none() => {
                let next = |t: Time| t.checked_add(rules.calculated_every).unwrap_or(Time::MAX);
                if self.calculated_covered.is_none_or(|t| next(t) <= now) {
                    self.fill = Some(Fill { fields, after: None, calculated: Some(now) });
                }
            }
            Phase::Follow { .. } | Phase::Reread { .. } => {}
        }
    }

    /// Takes over a new list of fields. Fields that are new to rows already here are filled.
    /// Returns those.
    pub fn take_fields(&mut self, fields: Vec<String>) -> Vec<String> {
        let new: Vec<String> = fields
            .iter()
            .filter(|f| !self.fields.iter().any(|o| o.eq_ignore_ascii_case(f)))
            .cloned()
            .collect();
        if fields != self.fields {
            self.no_job = None;
            if !self.load_begun() {
                self.abandon(Slot::Load);
            }
        }
        let begun = self.load_begun();
        if begun && !new.is_empty() {
            // A position reached with fewer fields says nothing of the new ones: start over.
            let fill =
                self.fill.get_or_insert(Fill { fields: Vec::new(), after: None, calculated: None });
            fill.fields.extend(new.iter().cloned());
            fill.after = None;
        }
        if let Some(fill) = &mut self.fill {
            fill.fields.retain(|f| fields.iter().any(|n| n.eq_ignore_ascii_case(f)));
            if fill.fields.is_empty() {
                self.fill = None;
            }
        }
        self.fields = fields;
        self.gone = false;
        new
    }

    /// These fields have a column without current values (it is new, or its type moved): they are
    /// filled for the rows that are here already.
    pub fn fill_again(&mut self, fields: &[String]) {
        let known: Vec<&String> = fields
            .iter()
            .filter(|f| self.fields.iter().any(|k| k.eq_ignore_ascii_case(f)))
            .collect();
        if known.is_empty() || !self.load_begun() {
            return;
        }
        let fill =
            self.fill.get_or_insert(Fill { fields: Vec::new(), after: None, calculated: None });
        for field in known {
            if !fill.fields.contains(field) {
                fill.fields.push(field.clone());
                fill.after = None;
            }
        }
    }
}

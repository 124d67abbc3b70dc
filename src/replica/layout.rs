//! What a table must look like, from what it looks like and what the source says now.
//!
//! Pure: knows no SQL. Hides when a re-typed field keeps its column (the wider type holds every
//! old value) and when it gets another one beside. Invariant: a column is never dropped, and a
//! name once given stays.

use super::naming;
use super::types::LayoutChange;
use crmsync_core::domain::{Field, FieldType, ObjectSchema};
use std::collections::BTreeSet;

/// A column that a field has, or had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// The field's name at the source.
    pub field: String,
    /// Name in the table.
    pub column: String,
    /// How values are kept in it.
    pub kind: FieldType,
    /// Label for people.
    pub label: String,
    /// The source's type.
    pub source_type: String,
    /// False where a later column of the same field took over.
    pub current: bool,
    /// In the selection, so that its values are kept fresh.
    pub selected: bool,
    /// No longer at the source.
    pub gone: bool,
}

/// A statement about the table that the database carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alter {
    /// A new column, null in all rows.
    Add {
        /// Its name.
        column: String,
        /// Its kind.
        kind: FieldType,
    },
    /// The column keeps its name and takes a wider kind; its values are converted.
    Widen {
        /// Its name.
        column: String,
        /// Kind so far.
        from: FieldType,
        /// Kind from now on.
        to: FieldType,
    },
}

/// The table as it is to be, and the way there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// All columns of fields afterwards, old ones included.
    pub columns: Vec<Column>,
    /// What to alter, in order. For a new table: its columns.
    pub alter: Vec<Alter>,
    /// For the caller.
    pub change: LayoutChange,
}

/// What a new type means for values already there.
#[derive(Debug, PartialEq, Eq)]
enum Fit {
    Same,
    Wider,
    Beside,
}

fn fit(from: FieldType, to: FieldType) -> Fit {
    use FieldType::{Boolean, Date, DateTime, Decimal, Integer, Json, Text, TimeOfDay};
    match (from, to) {
        (a, b) if a == b => Fit::Same,
        // Their columns hold the same words as the source's text would.
        (Integer | Boolean | Date | TimeOfDay | Json, Text) | (Integer, Decimal) => Fit::Wider,
        // A decimal's or an instant's text was normalized; a boolean is no number.
        (Boolean | Integer | Decimal | Date | TimeOfDay | DateTime | Json | Text, _) => Fit::Beside,
    }
}

/// Decides. `now` are the table's columns (none: a new table), `fields` the selection.
pub fn plan(now: &[Column], object: &ObjectSchema, fields: &[String]) -> Plan {
    let created = now.is_empty();
    let mut plan = Plan { columns: now.to_vec(), ..Plan::default() };
    plan.change.created = created;
    let mut taken: BTreeSet<String> = naming::OWN_COLUMNS.map(str::to_owned).into();
    taken.extend(now.iter().map(|c| c.column.clone()));
    let mut selected = BTreeSet::new();
    for name in std::iter::once(&object.key).chain(fields) {
        if let Some(field) = object.field(name)
            && selected.insert(field.name.clone())
        {
            place(&mut plan, &mut taken, field, field.name.eq_ignore_ascii_case(&object.key));
        }
    }
    for column in &mut plan.columns {
        if !selected.contains(&column.field) {
            column.selected = false;
        }
        let there = object.fields.iter().any(|f| f.name == column.field);
        if !there && !column.gone && column.current {
            plan.change.gone.push(column.field.clone());
        }
        column.gone = !there;
    }
    if created {
        plan.change.added.clear();
    }
    plan
}

fn place(plan: &mut Plan, taken: &mut BTreeSet<String>, field: &Field, is_key: bool) {
    let new = |column: String| Column {
        field: field.name.clone(),
        column,
        kind: field.kind,
        label: field.label.clone(),
        source_type: field.source_type.clone(),
        current: true,
        selected: true,
        gone: false,
    };
    let Some(at) = plan.columns.iter().position(|c| c.current && c.field == field.name) else {
        let column = naming::unique(&field.name, taken);
        taken.insert(column.clone());
        plan.alter.push(Alter::Add { column: column.clone(), kind: field.kind });
        plan.columns.push(new(column));
        plan.change.added.push(field.name.clone());
        return;
    };
    let old = plan.columns[at].clone();
    let fit = if is_key { Fit::Same } else { fit(old.kind, field.kind) };
    if fit == Fit::Beside {
        plan.columns[at].current = false;
        plan.change.beside.push(field.name.clone());
        let before = |c: &Column| c.field == field.name && c.kind == field.kind;
        if let Some(back) = plan.columns.iter().position(before) {
            let column = plan.columns[back].column.clone();
            plan.columns[back] = new(column);
        } else {
            let column = naming::unique(&beside_name(field), taken);
            taken.insert(column.clone());
            plan.alter.push(Alter::Add { column: column.clone(), kind: field.kind });
            plan.columns.push(new(column));
        }
        return;
    }
    if fit == Fit::Wider {
        let (from, to) = (old.kind, field.kind);
        plan.alter.push(Alter::Widen { column: old.column.clone(), from, to });
        plan.change.widened.push(field.name.clone());
    }
    if !old.selected || old.gone {
        plan.change.added.push(field.name.clone());
    }
    plan.columns[at] = new(old.column);
    if is_key {
        // A primary key cannot change its type under the rows; its values are compared as before.
        plan.columns[at].kind = old.kind;
    }
}

fn beside_name(field: &Field) -> String {
    let word = match field.kind {
        FieldType::Text => "text",
        FieldType::Boolean => "boolean",
        FieldType::Integer => "integer",
        FieldType::Decimal => "decimal",
        FieldType::Date => "date",
        FieldType::TimeOfDay => "time_of_day",
        FieldType::DateTime => "date_time",
        FieldType::Json => "json",
    };
    format!("{}_{word}", field.name)
}

//! The replica alone, without source and network: pages merged into SQLite.

use crate::lab::size;
use crate::report::{Goal, Report};
use crate::support::Scratch;
use crmsync::replica::{self, Change, Mode, Owner, Place};
use crmsync_core::domain::{Batch, BatchBuilder, Field, FieldType, ObjectSchema};
use serde_json::Value;
use std::time::Instant;

const COLUMNS: usize = 30;
const PAGE: usize = 2_000;

fn kind(column: usize) -> FieldType {
    match column % 6 {
        1 => FieldType::Decimal,
        2 => FieldType::DateTime,
        3 => FieldType::Boolean,
        4 => FieldType::Integer,
        _ => FieldType::Text,
    }
}

fn page(first: usize) -> Batch {
    let mut batch = BatchBuilder::new(COLUMNS);
    for n in first..first + PAGE {
        batch.row();
        batch.set(0, &format!("001{n:015}"));
        for column in 1..COLUMNS {
            match kind(column) {
                FieldType::Decimal => batch.set(column, &format!("{n}.{column:02}")),
                FieldType::DateTime => batch.set(column, "2024-02-29T23:59:59.000+0000"),
                FieldType::Boolean => batch.set(column, "false"),
                FieldType::Integer => batch.set(column, &n.to_string()),
                _ => batch.set(column, &format!("text {column} of {n}")),
            }
        }
    }
    batch.finish()
}

/// Rows written, and written again without a change.
pub fn writes(report: &mut Report) {
    let rows = size("RECORDS", 200_000);
    let scratch = Scratch::new("figures");
    let now = jiff::Timestamp::now();
    let fields: Vec<String> = (0..COLUMNS).map(|i| format!("F{i}")).collect();
    let object = ObjectSchema {
        name: "Thing".into(),
        label: "Thing".into(),
        key: "F0".into(),
        stamp: None,
        deleted_flag: None,
        delete_log: false,
        fields: fields
            .iter()
            .enumerate()
            .map(|(i, name)| Field {
                name: name.clone(),
                label: name.clone(),
                kind: kind(i),
                source_type: String::new(),
                calculated: false,
            })
            .collect(),
    };
    let mut replica = replica::open(&Place::File(scratch.path().join("figures.db")), "figures")
        .expect("a replica");
    let owner = Owner {
        provider: "bench".into(),
        org_id: "bench".into(),
        connection: "bench".into(),
        epoch: 1,
    };
    replica.claim(&owner).expect("claiming it");
    replica.lay_out(&object, &fields, now).expect("a table");
    let pages: Vec<Batch> = (0..rows / PAGE).map(|n| page(n * PAGE)).collect();
    for what in ["written", "re-read without change"] {
        let begin = Instant::now();
        for (n, batch) in pages.iter().enumerate() {
            let state = n.to_string();
            let write = Change::Rows {
                object: "Thing",
                fields: &fields,
                batch,
                mode: Mode::Upsert,
                at: now,
            };
            let done = replica.write(&[write, Change::State { object: "Thing", state: &state }]);
            done.expect("writing a page");
        }
        report.add(
            &format!("replica alone: rows of {COLUMNS} columns {what}"),
            Goal::Told,
            rows as f64 / begin.elapsed().as_secs_f64(),
            "rows/s",
            Value::Null,
        );
    }
}

//! The tables of crmsync's own in a replica file: numbered, frozen migrations.
//!
//! `application_id` says that a file is a replica, `user_version` which migrations it has.
//! A released migration never changes; a new one is appended.

use rusqlite::Connection;

/// `CRMS`.
pub(super) const APPLICATION_ID: i64 = 0x4352_4d53;

/// One entry per version, from 1.
pub(super) const MIGRATIONS: &[&str] = &[
    // 1. `_crmsync_seen.key` has no type, so that whole-number keys stay numbers and keep their
    // order; `_crmsync_odd.raw` is a BLOB where the text has NUL characters.
    r#"
CREATE TABLE "_crmsync_meta" (
  "key" TEXT NOT NULL PRIMARY KEY,
  "value" TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "_crmsync_meta" VALUES ('seq', '0');
CREATE TABLE "_crmsync_object" (
  "object" TEXT NOT NULL PRIMARY KEY,
  "table_name" TEXT UNIQUE,
  "label" TEXT,
  "key_field" TEXT,
  "stamp_field" TEXT,
  "deleted_flag_field" TEXT,
  "state" TEXT,
  "sweep_seq" INTEGER
) WITHOUT ROWID;
CREATE TABLE "_crmsync_field" (
  "object" TEXT NOT NULL,
  "column_name" TEXT NOT NULL,
  "field" TEXT NOT NULL,
  "label" TEXT NOT NULL,
  "kind" TEXT NOT NULL,
  "source_type" TEXT NOT NULL,
  "position" INTEGER NOT NULL,
  "current" INTEGER NOT NULL,
  "selected" INTEGER NOT NULL,
  "added_at" TEXT NOT NULL,
  "gone_at" TEXT,
  PRIMARY KEY ("object", "column_name")
) WITHOUT ROWID;
CREATE TABLE "_crmsync_odd" (
  "object" TEXT NOT NULL,
  "key" TEXT NOT NULL,
  "column_name" TEXT NOT NULL,
  "raw",
  "reason" TEXT NOT NULL,
  "at" TEXT NOT NULL,
  PRIMARY KEY ("object", "key", "column_name")
) WITHOUT ROWID;
CREATE TABLE "_crmsync_seen" (
  "object" TEXT NOT NULL,
  "key" NOT NULL,
  PRIMARY KEY ("object", "key")
) WITHOUT ROWID;
"#,
];

/// Newest version known here.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Brings a file of version `from` up to date. To be called within a transaction.
pub(super) fn migrate(connection: &Connection, from: i64) -> rusqlite::Result<()> {
    for sql in MIGRATIONS.iter().skip(usize::try_from(from).unwrap_or(0)) {
        connection.execute_batch(sql)?;
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", newest())
}

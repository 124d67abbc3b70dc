//! The tables of crmsync's own in a replica's schema: numbered, frozen migrations.
//!
//! `layout` in `_crmsync_meta` says which migrations a schema has; without that table a schema that
//! holds anything is another program's. A released migration never changes; a new one is appended.

/// One entry per version, from 1.
pub(super) const MIGRATIONS: &[&str] = &[
    // 1. `made` says how far an object's table is: `later` (laid out, made with its first rows),
    // `bare` (a first load without a key yet), `keyed`. `raw_bytes` holds what `raw` cannot: a text
    // with NUL characters. `number` holds whole-number keys, which are ordered as numbers.
    r#"
CREATE TABLE "_crmsync_meta" ("key" text PRIMARY KEY, "value" text NOT NULL);
INSERT INTO "_crmsync_meta" VALUES ('seq', '0');
CREATE TABLE "_crmsync_object" (
  "object" text COLLATE "C" PRIMARY KEY,
  "table_name" text UNIQUE,
  "label" text,
  "key_field" text,
  "stamp_field" text,
  "deleted_flag_field" text,
  "state" text,
  "sweep_seq" bigint,
  "made" text
);
CREATE TABLE "_crmsync_field" (
  "object" text COLLATE "C" NOT NULL,
  "column_name" text NOT NULL,
  "field" text NOT NULL,
  "label" text NOT NULL,
  "kind" text NOT NULL,
  "source_type" text NOT NULL,
  "position" bigint NOT NULL,
  "current" boolean NOT NULL,
  "selected" boolean NOT NULL,
  "added_at" timestamptz NOT NULL,
  "gone_at" timestamptz,
  PRIMARY KEY ("object", "column_name")
);
CREATE TABLE "_crmsync_odd" (
  "object" text COLLATE "C" NOT NULL,
  "key" text COLLATE "C" NOT NULL,
  "column_name" text NOT NULL,
  "raw" text,
  "raw_bytes" bytea,
  "reason" text NOT NULL,
  "at" timestamptz NOT NULL,
  PRIMARY KEY ("object", "key", "column_name")
);
CREATE TABLE "_crmsync_seen" (
  "object" text COLLATE "C" NOT NULL,
  "key" text COLLATE "C" NOT NULL,
  "number" bigint,
  PRIMARY KEY ("object", "key")
);
COMMENT ON TABLE "_crmsync_meta" IS 'crmsync: whose data this is';
COMMENT ON TABLE "_crmsync_object" IS 'crmsync: tables by object, and how far each is';
COMMENT ON TABLE "_crmsync_field" IS 'crmsync: columns by field of the source';
COMMENT ON TABLE "_crmsync_odd" IS 'crmsync: values that do not fit their column, as they came';
COMMENT ON TABLE "_crmsync_seen" IS 'crmsync: keys that a comparison saw at the source';
"#,
];

/// Newest version known here.
pub(super) fn newest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

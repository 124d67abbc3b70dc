-- Times are microseconds since 1970-01-01 UTC. JSON is the core's own serde form.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE connection (
  id      TEXT PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE,
  created INTEGER NOT NULL,
  retired INTEGER
) WITHOUT ROWID;

CREATE TABLE doc (
  kind    TEXT NOT NULL,
  key     TEXT NOT NULL,
  version INTEGER NOT NULL,
  json    TEXT NOT NULL,
  PRIMARY KEY (kind, key)
) WITHOUT ROWID;

CREATE TABLE due (
  connection TEXT PRIMARY KEY,
  at         INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX due_at ON due (at);

CREATE TABLE mail (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  message_id TEXT NOT NULL UNIQUE,
  kind       TEXT NOT NULL,
  connection TEXT,
  sender     TEXT NOT NULL,
  recipient  TEXT NOT NULL,
  subject    TEXT NOT NULL,
  bytes      BLOB NOT NULL,
  created    INTEGER NOT NULL,
  state      TEXT NOT NULL DEFAULT 'queued',
  attempts   INTEGER NOT NULL DEFAULT 0,
  next_try   INTEGER,
  ended      INTEGER,
  error      TEXT
);
CREATE INDEX mail_next ON mail (next_try) WHERE state = 'queued';
CREATE INDEX mail_ended ON mail (ended) WHERE ended IS NOT NULL;

CREATE TABLE audit (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  at         INTEGER NOT NULL,
  actor      TEXT NOT NULL,
  uid        INTEGER,
  connection TEXT,
  what       TEXT NOT NULL,
  detail     TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);

CREATE TABLE run (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  connection TEXT NOT NULL,
  started    INTEGER NOT NULL,
  ended      INTEGER NOT NULL,
  cause      TEXT NOT NULL,
  outcome    TEXT NOT NULL,
  text       TEXT NOT NULL,
  rows       INTEGER NOT NULL,
  calls      INTEGER NOT NULL,
  changed    INTEGER NOT NULL,
  count      INTEGER NOT NULL DEFAULT 1,
  json       TEXT NOT NULL
);
CREATE INDEX run_of ON run (connection, id);

CREATE TABLE meter (
  domain TEXT NOT NULL,
  at     INTEGER NOT NULL,
  width  INTEGER NOT NULL,
  own    INTEGER NOT NULL,
  used   INTEGER,
  max    INTEGER,
  PRIMARY KEY (domain, width, at)
) WITHOUT ROWID;

CREATE TABLE refresh (
  connection TEXT PRIMARY KEY,
  generation INTEGER NOT NULL,
  started    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE dek (
  connection TEXT PRIMARY KEY,
  dek_id     INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  wrapped    BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE secret (
  connection TEXT NOT NULL,
  name       TEXT NOT NULL,
  generation INTEGER NOT NULL,
  blob       BLOB NOT NULL,
  PRIMARY KEY (connection, name)
) WITHOUT ROWID;

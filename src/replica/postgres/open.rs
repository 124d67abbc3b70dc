//! The schema's life: made, recognized, claimed, checked, moved, removed.
//!
//! The owner's rows are locked by every writer for the length of its transaction, so that a claim
//! and a write never cross.

use super::super::{Owner, ReplicaError};
use super::fail::{Fail, unavailable};
use super::link::Db;
use super::server::Server;
use super::{quoted, schema};
use std::collections::BTreeMap;
use tokio_postgres::error::SqlState;

const DOING: &str = "opening the replica";

/// What stands in `_crmsync_meta`.
pub(super) type Meta = BTreeMap<String, String>;

/// Whether the schema is there, and which layout it has.
fn look(db: &mut Db, name: &str, path: &str) -> Result<(bool, i64), Fail> {
    let rows = db.query(
        "SELECT c.relname FROM pg_catalog.pg_namespace n
         LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
         WHERE n.nspname = $1",
        &[&name],
    )?;
    let names: Vec<Option<String>> = rows.iter().map(|r| r.get(0)).collect();
    if names.is_empty() {
        return Ok((false, 0));
    }
    if names.iter().any(|n| n.as_deref() == Some("_crmsync_meta")) {
        let meta = read(db, false)?;
        let version = meta.get("layout").and_then(|v| v.parse().ok()).unwrap_or(0);
        if version > schema::newest() {
            let (path, known) = (path.to_owned(), schema::newest());
            return Err(Fail::Said(ReplicaError::Newer { path, found: version, known }));
        }
        return Ok((true, version));
    }
    if names.iter().any(Option::is_some) {
        return Err(Fail::Said(ReplicaError::NotOurs {
            path: path.to_owned(),
            found: "another program's schema".to_owned(),
            expected: "a replica of crmsync".to_owned(),
            hint: "rename the schema, or give this connection another name".to_owned(),
        }));
    }
    Ok((true, 0))
}

/// Makes the schema if there is none, and brings it up to date.
pub(super) fn prepare(db: &mut Db, name: &str, path: &str) -> Result<(), Fail> {
    let (there, version) = look(db, name, path)?;
    if there && version == schema::newest() {
        return Ok(());
    }
    let mut sql = String::from("BEGIN;");
    if !there {
        sql.extend(["CREATE SCHEMA ", &quoted(name), ";"]);
    }
    for step in schema::MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        sql += step;
    }
    let layout = format!(
        r#"INSERT INTO "_crmsync_meta" VALUES ('layout', '{}')
           ON CONFLICT ("key") DO UPDATE SET "value" = excluded."value"; COMMIT;"#,
        schema::newest()
    );
    sql.push_str(&layout);
    db.batch(&sql).inspect_err(|_| {
        let _ = db.batch("ROLLBACK");
    })
}

/// Gives the readers' role what it lacks; nothing is written if it lacks nothing.
pub(super) fn admit(db: &mut Db, name: &str, server: &Server) -> Result<(), Fail> {
    let Some(role) = &server.readers else { return Ok(()) };
    if db.query("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1", &[role])?.is_empty() {
        let cause = format!("the role `{role}` that may read (`readers`) does not exist");
        let hint = format!("make it: CREATE ROLE {} NOLOGIN", quoted(role));
        return Err(Fail::Said(unavailable(&server.to_string(), DOING, &cause, &hint)));
    }
    // What others put into the schema is theirs to grant.
    let rows = db.query(
        "SELECT c.relname::text FROM pg_catalog.pg_namespace n
         LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
           AND c.relowner = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user)
         WHERE n.nspname = $2 AND (NOT pg_catalog.has_schema_privilege($1, n.oid, 'USAGE')
           OR c.oid IS NOT NULL AND NOT pg_catalog.has_table_privilege($1, c.oid, 'SELECT'))",
        &[role, &name],
    )?;
    if rows.is_empty() {
        return Ok(());
    }
    let (role, name) = (quoted(role), quoted(name));
    let tables: String = rows
        .iter()
        .filter_map(|r| r.get::<_, Option<&str>>(0))
        .map(|table| format!("GRANT SELECT ON {name}.{} TO {role};", quoted(table)))
        .collect();
    db.batch(&format!(
        "BEGIN; GRANT USAGE ON SCHEMA {name} TO {role}; {tables}
         ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT ON TABLES TO {role}; COMMIT;"
    ))
    .inspect_err(|_| {
        let _ = db.batch("ROLLBACK");
    })
}

/// Reads `_crmsync_meta`; `lock` keeps every other writer out until the transaction ends.
pub(super) fn read(db: &mut Db, lock: bool) -> Result<Meta, Fail> {
    let sql = r#"SELECT "key", "value" FROM "_crmsync_meta" ORDER BY "key""#;
    let rows =
        if lock { db.query(&format!("{sql} FOR UPDATE"), &[])? } else { db.query(sql, &[])? };
    Ok(rows.iter().map(|r| (r.get(0), r.get(1))).collect())
}

pub(super) fn owner(meta: &Meta) -> Result<Option<Owner>, Fail> {
    let (Some(provider), Some(org_id)) = (meta.get("provider"), meta.get("org_id")) else {
        return Ok(None);
    };
    let epoch = meta.get("epoch").map(String::as_str).unwrap_or_default();
    Ok(Some(Owner {
        provider: provider.clone(),
        org_id: org_id.clone(),
        connection: meta.get("connection").cloned().unwrap_or_default(),
        epoch: epoch.parse().map_err(|_| Fail::Bug(format!("epoch `{epoch}` is no number")))?,
    }))
}

/// Every write transaction begins with this: the last used number of `_crmsync_seq`.
pub(super) fn check(db: &mut Db, path: &str, ours: &Owner) -> Result<i64, Fail> {
    let meta = match read(db, true) {
        Err(fail) if fail.code() == Some(&SqlState::UNDEFINED_TABLE) => return Err(dropped(path)),
        read => read?,
    };
    match owner(&meta)? {
        Some(found) if found == *ours => {}
        Some(found) => return Err(refused(path, &found, ours)),
        None => return Err(dropped(path)),
    }
    let seq = meta.get("seq").map_or("0", String::as_str);
    seq.parse().map_err(|_| Fail::Bug(format!("seq `{seq}` is no number")))
}

/// Within a transaction.
pub(super) fn claim(db: &mut Db, path: &str, name: &str, ours: &Owner) -> Result<(), Fail> {
    if let Some(found) = owner(&read(db, true)?)? {
        let other_data = found.provider != ours.provider || found.org_id != ours.org_id;
        let later = found.epoch > ours.epoch
            || found.epoch == ours.epoch && found.connection != ours.connection;
        if other_data || later {
            return Err(refused(path, &found, ours));
        }
    }
    let epoch = ours.epoch.to_string();
    for (key, value) in [
        ("provider", ours.provider.as_str()),
        ("org_id", &ours.org_id),
        ("connection", &ours.connection),
        ("epoch", &epoch),
        ("name", name),
    ] {
        db.execute(
            r#"INSERT INTO "_crmsync_meta" AS m VALUES ($1, $2)
               ON CONFLICT ("key") DO UPDATE SET "value" = excluded."value"
               WHERE m."value" IS DISTINCT FROM excluded."value""#,
            &[&key, &value],
        )?;
    }
    Ok(())
}

/// Close the replica and open it again: what is there then is adopted or made anew.
fn dropped(path: &str) -> Fail {
    let cause = "the schema was dropped or replaced while it was open";
    let hint = "what is not there is loaded again by itself; pause the connection before moving its schema";
    Fail::Said(unavailable(path, "writing", cause, hint))
}

fn refused(path: &str, found: &Owner, ours: &Owner) -> Fail {
    let words = |o: &Owner| {
        format!("{} org {} (connection {}, epoch {})", o.provider, o.org_id, o.connection, o.epoch)
    };
    let hint = if found.provider != ours.provider || found.org_id != ours.org_id {
        "another org's data is never overwritten: use another connection name, or rename the schema"
    } else {
        "a later owner has taken the schema; if this node is the right one, restart it to take it back"
    };
    Fail::Said(ReplicaError::NotOurs {
        path: path.to_owned(),
        found: words(found),
        expected: words(ours),
        hint: hint.to_owned(),
    })
}

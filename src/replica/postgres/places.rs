//! A schema as a place: whether it is there, moved, removed.
//!
//! Each on a thread and session of its own: the callers are at no place that may block.

use super::super::ReplicaError;
use super::fail::{Fail, unavailable};
use super::link::{Db, Limits};
use super::quoted;
use super::server::Server;
use tokio_postgres::error::SqlState;

pub(super) fn words(server: &Server, schema: &str) -> String {
    format!("{server} schema {schema}")
}

/// Whether a replica of crmsync is in the schema.
pub(in crate::replica) fn exists(server: &Server, schema: &str) -> Result<bool, ReplicaError> {
    on(server, schema, "looking for the replica", |db| is_there(db, schema))
}

/// Gives the schema another name; where that is taken nothing is done.
pub(in crate::replica) fn rename(
    server: &Server,
    from: &str,
    to: &str,
) -> Result<(), ReplicaError> {
    on(server, from, "renaming the replica", |db| {
        if from == to || !is_there(db, from)? || is_there(db, to)? {
            return Ok(());
        }
        db.batch(&format!(
            "SET lock_timeout = '10s'; ALTER SCHEMA {} RENAME TO {}",
            quoted(from),
            quoted(to)
        ))
    })
}

/// Drops the tables of a replica, and the schema unless others have put something into it.
pub(in crate::replica) fn remove(server: &Server, schema: &str) -> Result<(), ReplicaError> {
    on(server, schema, "removing the replica", |db| {
        if !is_there(db, schema)? {
            return Ok(());
        }
        let rows = db.query(
            &format!(
                r#"SELECT c.relname::text FROM pg_catalog.pg_class c
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                   WHERE n.nspname = $1 AND c.relkind = 'r' AND (c.relname LIKE '\_crmsync\_%'
                     OR c.relname IN (SELECT "table_name" FROM {}."_crmsync_object"))"#,
                quoted(schema)
            ),
            &[&schema],
        )?;
        let tables: Vec<String> =
            rows.iter().map(|r| format!("{}.{}", quoted(schema), quoted(r.get(0)))).collect();
        // Without CASCADE: what others built upon it is not dropped with it.
        db.batch(&format!(
            "BEGIN; SET LOCAL lock_timeout = '10s'; DROP TABLE {}; SAVEPOINT dropped",
            tables.join(", ")
        ))?;
        match db.batch(&format!("DROP SCHEMA {}", quoted(schema))) {
            Err(fail) if fail.code() == Some(&SqlState::DEPENDENT_OBJECTS_STILL_EXIST) => {
                db.batch("ROLLBACK TO dropped; COMMIT")
            }
            done => done.and_then(|()| db.batch("COMMIT")),
        }
    })
}

fn on<T: Send>(
    server: &Server,
    schema: &str,
    doing: &str,
    f: impl FnOnce(&mut Db) -> Result<T, Fail> + Send,
) -> Result<T, ReplicaError> {
    let path = words(server, schema);
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            let mut db = Db::connect(server, Limits::default(), "pg_catalog", "places")?;
            f(&mut db).map_err(|e| e.at(&path, doing))
        });
        work.join().unwrap_or_else(|_| {
            Err(unavailable(&path, doing, "the work ended by itself", "look at the journal"))
        })
    })
}

fn is_there(db: &mut Db, schema: &str) -> Result<bool, Fail> {
    let sql = "SELECT 1 FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
               WHERE n.nspname = $1 AND c.relname = '_crmsync_meta'";
    Ok(!db.query(sql, &[&schema])?.is_empty())
}

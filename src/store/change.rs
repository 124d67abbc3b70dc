//! One transaction of the store: what is to be true together, or not at all.
//!
//! Documents are compared and set: a stale one undoes the whole change. Effects (mails) and
//! secrets stand in the same change as the state that asked for them.

use super::outbox::OutMail;
use super::runs::RunRow;
use super::vault::SecretWrite;
use super::{Db, Store, StoreError, micros};
use crmsync_core::domain::Time;
use rusqlite::{Transaction, params};

/// A JSON document with a version: the state of a connection, a meter, the notices, a request.
/// A document that belongs to one connection has its id as key, or `ID/…`: `forget` finds it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doc {
    /// E.g. `connection`, `meter`, `notices`, `request`.
    pub kind: &'static str,
    /// Key within the kind.
    pub key: String,
    /// Version that was read; 0: there must be none yet. Afterwards it is one more.
    pub version: u64,
    /// The content.
    pub json: String,
}

/// A line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// When.
    pub at: Time,
    /// Who, for people: `root`, `crmsyncd`, `ada@example.org by mail`.
    pub actor: String,
    /// Uid of the caller, where it came by the socket.
    pub uid: Option<u32>,
    /// Name of the connection concerned (as it was then).
    pub connection: Option<String>,
    /// The command or event, e.g. `pause`, `grant.rotated`.
    pub what: String,
    /// Further text; never a secret.
    pub detail: String,
}

/// A refresh that has left, or is about to: committed before the request, cleared with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshInFlight {
    /// Generation of the credential that was sent.
    pub generation: u64,
    /// When.
    pub started: Time,
}

/// What becomes true together. `Default` is the change that does nothing.
#[derive(Debug, Default)]
pub struct Change {
    /// Documents to compare and set.
    pub docs: Vec<Doc>,
    /// Documents to remove, whatever their version; missing ones are fine.
    pub drop_docs: Vec<(&'static str, String)>,
    /// Due time per connection id; `None`: not due any more.
    pub due: Vec<(String, Option<Time>)>,
    /// Mails to send. One whose Message-ID is already stored is left as it is.
    pub mails: Vec<OutMail>,
    /// Lines for the audit log.
    pub audit: Vec<AuditLine>,
    /// Finished runs.
    pub runs: Vec<RunRow>,
    /// Sealed secrets, from [`super::vault::Vault`].
    pub secrets: Vec<SecretWrite>,
    /// Refreshes in flight per connection id.
    pub refresh: Vec<(String, Option<RefreshInFlight>)>,
}

impl Store {
    /// Makes all of it true, or nothing. When it returns `Ok`, it has survived a power cut.
    pub fn apply(&self, change: Change) -> Result<(), StoreError> {
        const WHAT: &str = "storing a change";
        let mut db = self.lock();
        let sealed = !change.secrets.is_empty();
        self.transaction(&mut db, WHAT, |tx| {
            for doc in &change.docs {
                self.put_doc(tx, doc)?;
            }
            let sql = |e: rusqlite::Error| self.sql(WHAT, &e);
            for (kind, key) in &change.drop_docs {
                tx.prepare_cached("DELETE FROM doc WHERE kind = ?1 AND key = ?2")
                    .and_then(|mut s| s.execute(params![kind, key]))
                    .map_err(sql)?;
            }
            for (connection, at) in &change.due {
                put_due(tx, connection, *at).map_err(sql)?;
            }
            for (connection, flight) in &change.refresh {
                put_refresh(tx, connection, flight.as_ref()).map_err(sql)?;
            }
            for mail in &change.mails {
                super::outbox::insert(tx, mail).map_err(sql)?;
            }
            for line in &change.audit {
                super::audit::insert(tx, line).map_err(sql)?;
            }
            for run in &change.runs {
                super::runs::insert(tx, run).map_err(sql)?;
            }
            for secret in &change.secrets {
                if !super::vault::write(tx, secret).map_err(sql)? {
                    return Err(StoreError::Stale {
                        kind: "secret".into(),
                        key: secret.describe(),
                    });
                }
            }
            if sealed {
                super::epoch::count(tx).map_err(sql)?;
            }
            Ok(())
        })?;
        if sealed {
            self.write_epoch(&mut db);
        }
        Ok(())
    }

    fn put_doc(&self, tx: &Transaction<'_>, doc: &Doc) -> Result<(), StoreError> {
        let version = i64::try_from(doc.version).unwrap_or(i64::MAX);
        let n = if doc.version == 0 {
            tx.prepare_cached(
                "INSERT OR IGNORE INTO doc (kind, key, version, json) VALUES (?1, ?2, 1, ?3)",
            )
            .and_then(|mut s| s.execute(params![doc.kind, doc.key, doc.json]))
        } else {
            tx.prepare_cached(
                "UPDATE doc SET version = version + 1, json = ?3
                 WHERE kind = ?1 AND key = ?2 AND version = ?4",
            )
            .and_then(|mut s| s.execute(params![doc.kind, doc.key, doc.json, version]))
        };
        match n.map_err(|e| self.sql("storing a document", &e))? {
            0 => Err(StoreError::Stale { kind: doc.kind.into(), key: doc.key.clone() }),
            _ => Ok(()),
        }
    }

    /// Runs `work` in one immediate transaction; an error undoes all of it.
    pub(super) fn transaction<T>(
        &self,
        db: &mut Db,
        what: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let tx = db
            .conn
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(|e| self.sql(what, &e))?;
        let value = work(&tx)?;
        tx.commit().map_err(|e| self.sql(what, &e))?;
        Ok(value)
    }
}

fn put_due(tx: &Transaction<'_>, connection: &str, at: Option<Time>) -> rusqlite::Result<usize> {
    match at {
        Some(at) => tx
            .prepare_cached("INSERT OR REPLACE INTO due (connection, at) VALUES (?1, ?2)")?
            .execute(params![connection, micros(at)]),
        None => tx.prepare_cached("DELETE FROM due WHERE connection = ?1")?.execute([connection]),
    }
}

fn put_refresh(
    tx: &Transaction<'_>,
    connection: &str,
    flight: Option<&RefreshInFlight>,
) -> rusqlite::Result<usize> {
    match flight {
        Some(f) => tx
            .prepare_cached(
                "INSERT OR REPLACE INTO refresh (connection, generation, started)
                 VALUES (?1, ?2, ?3)",
            )?
            .execute(params![connection, super::signed(f.generation), micros(f.started)]),
        None => {
            tx.prepare_cached("DELETE FROM refresh WHERE connection = ?1")?.execute([connection])
        }
    }
}

//! Mails on their way: stored with their complete bytes by the change that asked for them, sent
//! afterwards, kept for `mail log`. A repeat after a crash sends the same bytes again.

use super::{Store, StoreError, micros, time, unsigned};
use crmsync_core::domain::Time;
use rusqlite::{Connection, Row, params};

/// A complete mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutMail {
    /// With angle brackets: `<letter@instance>`. The same letter always has the same.
    pub message_id: String,
    /// What it is about, for `mail log`: `problem`, `reminder`, `recovery`, …
    pub kind: String,
    /// Connection name, where it is about one.
    pub connection: Option<String>,
    /// Envelope sender, bare address.
    pub from: String,
    /// Receiver, bare address; exactly one.
    pub to: String,
    /// Subject, decoded.
    pub subject: String,
    /// Header and body as they go over the wire.
    pub bytes: Vec<u8>,
    /// When it was written.
    pub created: Time,
}

/// A mail that waits to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedMail {
    /// Number of the row.
    pub id: i64,
    /// Attempts so far.
    pub attempts: u32,
    /// The mail.
    pub mail: OutMail,
}

/// Where a mail stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailState {
    /// Waits for its next attempt.
    Queued,
    /// The server took it.
    Sent,
    /// Given up.
    Failed,
}

impl MailState {
    /// The word in `mail log`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Failed => "failed",
        }
    }
}

/// A line of `mail log`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailRow {
    /// Number of the row.
    pub id: i64,
    /// See [`OutMail`].
    pub message_id: String,
    /// See [`OutMail`].
    pub kind: String,
    /// See [`OutMail`].
    pub connection: Option<String>,
    /// Receiver.
    pub to: String,
    /// Subject.
    pub subject: String,
    /// When it was written.
    pub created: Time,
    /// Where it stands.
    pub state: MailState,
    /// Attempts so far.
    pub attempts: u32,
    /// Next attempt, while queued.
    pub next_try: Option<Time>,
    /// When it was sent or given up.
    pub ended: Option<Time>,
    /// What the last attempt said.
    pub error: Option<String>,
}

impl Store {
    /// Mails whose next attempt is due, oldest first, at most `limit`.
    pub fn mails_due(&self, now: Time, limit: u32) -> Result<Vec<QueuedMail>, StoreError> {
        self.with("reading the outbox", |c| {
            c.prepare_cached(
                "SELECT id, attempts, message_id, kind, connection, sender, recipient, subject,
                        bytes, created
                 FROM mail WHERE state = 'queued' AND next_try <= ?1 ORDER BY id LIMIT ?2",
            )?
            .query_map(params![micros(now), limit], |r| {
                Ok(QueuedMail {
                    id: r.get(0)?,
                    attempts: r.get(1)?,
                    mail: OutMail {
                        message_id: r.get(2)?,
                        kind: r.get(3)?,
                        connection: r.get(4)?,
                        from: r.get(5)?,
                        to: r.get(6)?,
                        subject: r.get(7)?,
                        bytes: r.get(8)?,
                        created: time(r.get(9)?),
                    },
                })
            })?
            .collect()
        })
    }

    /// When the next attempt of any mail is due.
    pub fn mail_next_due(&self) -> Result<Option<Time>, StoreError> {
        self.with("reading the outbox", |c| {
            c.prepare_cached("SELECT min(next_try) FROM mail WHERE state = 'queued'")?
                .query_row([], |r| Ok(r.get::<_, Option<i64>>(0)?.map(time)))
        })
    }

    /// The server took it.
    pub fn mail_sent(&self, id: i64, now: Time) -> Result<(), StoreError> {
        self.mail_end(id, "sent", None, now)
    }

    /// Given up for good, with the text of the last attempt.
    pub fn mail_failed(&self, id: i64, error: &str, now: Time) -> Result<(), StoreError> {
        self.mail_end(id, "failed", Some(error), now)
    }

    fn mail_end(
        &self,
        id: i64,
        state: &str,
        error: Option<&str>,
        now: Time,
    ) -> Result<(), StoreError> {
        self.with("storing the fate of a mail", |c| {
            c.prepare_cached(
                "UPDATE mail SET state = ?2, ended = ?3, next_try = NULL, error = ?4,
                        attempts = attempts + 1
                 WHERE id = ?1 AND state = 'queued'",
            )?
            .execute(params![id, state, micros(now), error])
            .map(drop)
        })
    }

    /// An attempt failed; the next is at `next_try`.
    pub fn mail_retry(&self, id: i64, error: &str, next_try: Time) -> Result<(), StoreError> {
        self.with("storing the fate of a mail", |c| {
            c.prepare_cached(
                "UPDATE mail SET attempts = attempts + 1, next_try = ?2, error = ?3
                 WHERE id = ?1 AND state = 'queued'",
            )?
            .execute(params![id, micros(next_try), error])
            .map(drop)
        })
    }

    /// The newest mails first, at most `limit`.
    pub fn mails(&self, limit: u32) -> Result<Vec<MailRow>, StoreError> {
        self.look("reading the mail log", |c| {
            c.prepare_cached(
                "SELECT id, message_id, kind, connection, recipient, subject, created, state,
                        attempts, next_try, ended, error
                 FROM mail ORDER BY id DESC LIMIT ?1",
            )?
            .query_map([limit], row)?
            .collect()
        })
    }

    /// Mails that had at least one attempt and did not arrive yet, and those given up since
    /// `since`: what `status` warns of.
    pub fn mails_in_trouble(&self, since: Time) -> Result<(u64, u64), StoreError> {
        self.look("reading the mail log", |c| {
            c.prepare_cached(
                "SELECT count(*) FILTER (WHERE state = 'queued' AND attempts > 0),
                        count(*) FILTER (WHERE state = 'failed' AND ended >= ?1) FROM mail",
            )?
            .query_row([micros(since)], |r| Ok((unsigned(r.get(0)?), unsigned(r.get(1)?))))
        })
    }
}

fn row(r: &Row<'_>) -> rusqlite::Result<MailRow> {
    Ok(MailRow {
        id: r.get(0)?,
        message_id: r.get(1)?,
        kind: r.get(2)?,
        connection: r.get(3)?,
        to: r.get(4)?,
        subject: r.get(5)?,
        created: time(r.get(6)?),
        state: match r.get_ref(7)?.as_str()? {
            "sent" => MailState::Sent,
            "failed" => MailState::Failed,
            _ => MailState::Queued,
        },
        attempts: r.get(8)?,
        next_try: r.get::<_, Option<i64>>(9)?.map(time),
        ended: r.get::<_, Option<i64>>(10)?.map(time),
        error: r.get(11)?,
    })
}

pub(super) fn insert(c: &Connection, mail: &OutMail) -> rusqlite::Result<usize> {
    c.prepare_cached(
        "INSERT OR IGNORE INTO mail
           (message_id, kind, connection, sender, recipient, subject, bytes, created, next_try)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )?
    .execute(params![
        mail.message_id,
        mail.kind,
        mail.connection,
        mail.from,
        mail.to,
        mail.subject,
        mail.bytes,
        micros(mail.created)
    ])
}

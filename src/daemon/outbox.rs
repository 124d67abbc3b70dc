//! Sends stored mails, oldest first, until the server has taken them.
//!
//! Invariant: what is sent is what was stored, byte for byte, however often; a mail is only given
//! up when its receiver is refused for good, and then `status` says so.

use super::shared::Shared;
use crate::mail::{self, SendError};
use crate::store::vault::VaultError;
use crmsync_core::config::settings::{SecretRef, Smtp};
use crmsync_core::domain::Time;
use jiff::SignedDuration;
use secrecy::SecretString;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Vault name of the mail server's password: it belongs to no connection.
pub const SMTP_PASSWORD: &str = "smtp_password";
/// Whose secret that is.
pub const DAEMON: &str = "daemon";

/// When the outbox is looked at again after it could not be written.
const NOT_NOTED: Duration = Duration::from_secs(30);
/// How long a stop waits for the answer of a mail server.
const GRACE: Duration = Duration::from_secs(3);

/// Runs until `stop`.
pub async fn run(shared: Arc<Shared>, stop: CancellationToken) {
    let mut taken = BTreeSet::new();
    loop {
        let wait = send_due(&shared, &stop, &mut taken).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.outbox.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// `taken`: mails that the server took although that could not be noted (a full disk). They are
/// not sent again while we live.
async fn send_due(
    shared: &Shared,
    stop: &CancellationToken,
    taken: &mut BTreeSet<i64>,
) -> Duration {
    let notify = shared.notify();
    let least = Duration::from_secs(1);
    let most = Duration::from_secs(3600);
    let Some(smtp) = &notify.smtp else { return most };
    let now = shared.env.now();
    let due = match tokio::task::block_in_place(|| shared.store.mails_due(now, 100)) {
        Ok(due) => due,
        Err(error) => {
            tracing::error!(%error, "the outbox could not be read");
            return Duration::from_secs(30);
        }
    };
    let mut noted = true;
    for queued in due {
        if stop.is_cancelled() {
            return least;
        }
        if taken.contains(&queued.id) {
            let done = store(shared.store.mail_sent(queued.id, shared.env.now()));
            noted &= done;
            if done {
                taken.remove(&queued.id);
            }
            continue;
        }
        let password = match password(shared, smtp) {
            Ok(password) => password,
            Err(why) => {
                noted &= retry(shared, queued.id, queued.attempts, &why, now);
                continue;
            }
        };
        let (to, id) = (queued.mail.to.clone(), queued.mail.message_id.clone());
        let sent = tokio::select! {
            sent = mail::send(smtp, password.as_ref(), &queued.mail) => sent,
            // A server that says nothing must not hold up a stop: the mail stays queued, and if it
            // was taken after all it comes once more with the same Message-ID.
            () = stopped(stop) => return least,
        };
        match sent {
            Ok(()) => {
                tracing::info!(to = %to, message_id = %id, subject = %queued.mail.subject, "mail sent");
                if !store(shared.store.mail_sent(queued.id, shared.env.now())) {
                    noted = false;
                    taken.insert(queued.id);
                }
            }
            Err(error) if error.retry() => {
                noted &= retry(shared, queued.id, queued.attempts, &error.to_string(), now);
            }
            Err(error) => noted &= give_up(shared, queued.id, &to, &error),
        }
    }
    if !noted {
        // What was to be put off is still due: the mail server is not asked every second.
        return NOT_NOTED;
    }
    let next = shared.store.mail_next_due().ok().flatten();
    next.map_or(most, |at| until(at, shared.env.now()).clamp(least, most))
}

/// The stop, and a moment for a mail server to finish its answer.
async fn stopped(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn until(at: Time, now: Time) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

fn retry(shared: &Shared, id: i64, attempts: u32, why: &str, now: Time) -> bool {
    tracing::warn!(error = %why, "a mail could not be sent; it is tried again");
    // 10 s, doubling to 30 min.
    let seconds = 10i64.saturating_mul(1 << attempts.min(8)).min(1800);
    let at = now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(now);
    store(shared.store.mail_retry(id, why, at))
}

fn give_up(shared: &Shared, id: i64, to: &str, error: &SendError) -> bool {
    tracing::error!(to = %to, %error, "the mail server refuses this receiver; nobody was told");
    store(shared.store.mail_failed(id, &error.to_string(), shared.env.now()))
}

/// Whether it was noted. If not the mail stays queued: after a crash it is sent once more, with
/// the same Message-ID.
fn store(done: Result<(), crate::store::StoreError>) -> bool {
    if let Err(error) = &done {
        tracing::error!(%error, "the outbox could not be written");
    }
    done.is_ok()
}

/// The mail server's password: from a file, a credential, or the vault.
pub fn password(shared: &Shared, smtp: &Smtp) -> Result<Option<SecretString>, String> {
    let read = |path: std::path::PathBuf| {
        std::fs::read_to_string(&path)
            .map(|t| Some(SecretString::from(t.trim_end_matches(['\r', '\n']).to_owned())))
            .map_err(|e| format!("reading the mail password from {}: {e}", path.display()))
    };
    match &smtp.password {
        Some(SecretRef::File(path)) => read(path.clone()),
        Some(SecretRef::Credential(name)) => {
            let folder = super::env::variable("CREDENTIALS_DIRECTORY").unwrap_or_default();
            read(std::path::Path::new(&folder).join(name))
        }
        None if smtp.username.is_none() => Ok(None),
        None => {
            let vault = shared.vault.open().map_err(|e: VaultError| e.to_string())?;
            vault.get(DAEMON, SMTP_PASSWORD).map_err(|e| e.to_string())
        }
    }
}

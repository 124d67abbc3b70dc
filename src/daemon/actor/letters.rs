//! Letters of `core::notice` become mails: who gets them, and with which facts.

use super::Actor;
use crate::mail::{self, Condition as What, Entry, Facts, Kind, QuotaFacts};
use crate::store::{MailRow, OutMail};
use crmsync_core::connection::{Connection, Grant, Trouble};
use crmsync_core::domain::{Concern, Problem, Time};
use crmsync_core::notice::{Condition, Letter, LetterKind, Notices};
use crmsync_core::quota;

impl Actor {
    /// One mail per letter and receiver. Without a mail server there are none; `status` says so.
    pub(super) fn mails(
        &self,
        letters: &[Letter],
        state: &Connection,
        notices: &Notices,
        now: Time,
    ) -> Vec<OutMail> {
        let notify = self.shared.notify();
        let Some(smtp) = &notify.smtp else { return Vec::new() };
        let mut mails = Vec::new();
        for letter in letters {
            let kind = self.kind(letter, state, notices, now);
            for (n, to) in self.settings.admins.iter().enumerate() {
                if self.told_by_another(letter, to) {
                    continue;
                }
                let letter = mail::Letter {
                    id: format!("{}.{n}", letter.id),
                    instance: self.shared.store.instance_hex(),
                    at: now,
                    from: smtp.from.clone(),
                    to: to.clone(),
                    host: self.shared.host.clone(),
                    thread: self.thread(letter, to),
                    kind: kind.clone(),
                };
                match mail::compose(&letter) {
                    Ok(mail) => mails.push(mail),
                    Err(error) => {
                        tracing::error!(connection = %self.name, %error, "a mail was not written");
                    }
                }
            }
        }
        mails
    }

    /// A hold of the quota concerns every connection of its domain and is one mail to each
    /// receiver, of the pause as of its end: the first of the connections speaks for all.
    fn told_by_another(&self, letter: &Letter, to: &str) -> bool {
        let quota_alone = letter.conditions.iter().all(|c| c.concern == Concern::QuotaHeld);
        let Some(gate) = self.gate.as_ref().filter(|_| quota_alone) else { return false };
        let Ok(mails) = self.shared.store.mails(500) else { return false };
        let names = gate.names();
        let others: Vec<&String> =
            names.iter().filter(|name| **name != self.name.as_str()).collect();
        let by = |m: &MailRow, name: &str| m.connection.as_deref() == Some(name);
        let of_pauses: Vec<&MailRow> = mails
            .iter()
            .filter(|m| to.contains(&m.to))
            .filter(|m| matches!(m.kind.as_str(), "quota-pause" | "quota-resume"))
            .collect();
        let told_since = |since: Time| {
            of_pauses.iter().any(|m| {
                m.kind == "quota-pause" && m.created >= since && others.iter().any(|n| by(m, n))
            })
        };
        if letter.kind == LetterKind::Problem {
            // One that came to the domain later does not tell it again.
            let since = match gate.report().hold {
                quota::Hold::Held { since, .. } => since,
                quota::Hold::Free => Time::UNIX_EPOCH,
            };
            let speaker = gate.speaker(to);
            return told_since(since) || speaker.is_some_and(|name| name != self.name.as_str());
        }
        // Newest first: who spoke of the pause reminds of it, and tells of its end.
        match of_pauses.iter().find(|m| by(m, self.name.as_str())) {
            Some(last) => last.kind == "quota-resume",
            None => told_since(Time::UNIX_EPOCH),
        }
    }

    /// Message-ID of the mail that opened the matter to the same receiver.
    fn thread(&self, letter: &Letter, to: &str) -> Option<String> {
        if letter.kind == LetterKind::Problem {
            return None;
        }
        let name = self.name.as_str();
        let mails = self.shared.store.mails(500).ok()?;
        let opened = mails.into_iter().find(|m| {
            m.connection.as_deref() == Some(name)
                && to.contains(&m.to)
                && matches!(m.kind.as_str(), "problem" | "quota-pause" | "digest")
        });
        opened.map(|m| m.message_id)
    }

    fn kind(&self, letter: &Letter, state: &Connection, notices: &Notices, now: Time) -> Kind {
        // `Notices::letter` never makes one without a condition.
        let Some(first) = letter.conditions.first() else {
            return Kind::Test { by: "crmsync".into() };
        };
        let facts = self.facts(first.opened, state);
        if letter.kind == LetterKind::Recovery {
            if first.concern == Concern::QuotaHeld && letter.conditions.len() == 1 {
                return Kind::QuotaResume { facts, quota: self.quota_facts() };
            }
            let how =
                if first.concern == Concern::NeedsAuthorization && !self.modified_by.is_empty() {
                    format!("reauthorized by {}", self.modified_by)
                } else {
                    "by itself".to_owned()
                };
            return Kind::Recovery { facts, was: Self::was(letter), how };
        }
        if letter.conditions.len() > 1 {
            let entries = letter
                .conditions
                .iter()
                .map(|c| Entry { facts: self.facts(c.opened, state), what: self.what(c, state) })
                .collect();
            return Kind::Digest { entries, outage: None };
        }
        if let LetterKind::Reminder(number) = letter.kind {
            let next = notices.next_wake(now, &self.shared.notice_rules());
            return Kind::Reminder { facts, what: self.what(first, state), number, next };
        }
        if first.concern == Concern::QuotaHeld {
            return Kind::QuotaPause { facts, quota: self.quota_facts() };
        }
        let said = match (&first.concern, &state.grant) {
            (
                Concern::NeedsAuthorization,
                Grant::Dead { text, .. } | Grant::Suspect { text, .. },
            ) => Some(text.clone()).filter(|t| !t.is_empty()),
            _ => None,
        };
        Kind::Problem { facts, what: self.what(first, state), said }
    }

    /// What had been wrong, as the recovery names it.
    fn was(letter: &Letter) -> What {
        let mut titles: Vec<String> = Vec::new();
        let mut texts: Vec<&str> = Vec::new();
        for condition in &letter.conditions {
            titles.push(condition.concern.to_string());
            texts.push(&condition.text);
        }
        What::Notice { title: titles.join(", "), text: texts.join("; "), steps: Vec::new() }
    }

    fn what(&self, condition: &Condition, state: &Connection) -> What {
        let name = self.name.as_str();
        match &condition.concern {
            Concern::NeedsAuthorization => {
                if let Some((reason, ..)) = state.authorization() {
                    return What::NeedsAuthorization(reason);
                }
            }
            Concern::Problem => {
                if let Some(problem) = problem(state) {
                    return What::Problem(problem);
                }
            }
            Concern::QuotaHeld
            | Concern::NoSuccess
            | Concern::DeletesHeld
            | Concern::FieldRemoved { .. }
            | Concern::ObjectFailing { .. }
            | Concern::FieldFrozen { .. }
            | Concern::CopyDiffers { .. }
            | Concern::Expiring { .. }
            | Concern::ClockOff => {}
        }
        let steps = match &condition.concern {
            Concern::DeletesHeld => vec![
                format!("look at them: crmsync status {name}"),
                format!("if they are right: crmsync approve {name}"),
            ],
            Concern::NoSuccess | Concern::Problem => {
                vec![format!("crmsync status {name}"), format!("crmsync test {name}")]
            }
            Concern::NeedsAuthorization => vec![format!("crmsync reauthorize {name}")],
            Concern::CopyDiffers { .. } => vec![format!(
                "nothing, if it does not happen again: crmsync log {name} tells what was done"
            )],
            Concern::ClockOff => vec!["set the clock of this host right (NTP)".to_owned()],
            Concern::QuotaHeld => vec![format!("crmsync quota {name}")],
            Concern::FieldRemoved { .. }
            | Concern::FieldFrozen { .. }
            | Concern::ObjectFailing { .. }
            | Concern::Expiring { .. } => vec![
                format!("see what the source has now: crmsync fields {name}"),
                "change the configuration if that is how it is to stay".to_owned(),
            ],
        };
        What::Notice { title: condition.concern.to_string(), text: condition.text.clone(), steps }
    }

    fn facts(&self, since: Time, state: &Connection) -> Facts {
        let identity = self.holder.identity().ok().flatten();
        Facts {
            name: self.name.to_string(),
            provider: self.settings.provider.clone(),
            label: self.provider.spec().label.to_owned(),
            org: identity.as_ref().map(|i| match &i.org_name {
                Some(name) => format!("{name} ({})", i.org_id),
                None => i.org_id.clone(),
            }),
            account: identity.map(|i| i.username),
            since,
            request: self.request.as_ref().filter(|r| r.is_open()).map(|r| r.id.clone()),
            objects: self.settings.objects.keys().cloned().collect(),
            caught_up_to: state.caught_up_to,
        }
    }

    fn quota_facts(&self) -> QuotaFacts {
        let q = &self.settings.quota;
        let report = self.gate.as_ref().map(|g| g.report());
        let held = report.as_ref().and_then(|r| match &r.hold {
            quota::Hold::Held { limit, used, max, next_probe, .. } => {
                Some((limit.clone(), *used, *max, Some(*next_probe)))
            }
            quota::Hold::Free => None,
        });
        let main = report.as_ref().and_then(|r| r.limits.first());
        let (limit, used, max, expected) = held.unwrap_or_else(|| {
            main.map_or((String::new(), 0, 0, None), |l| (l.limit.clone(), l.used, l.max, None))
        });
        let mut also = self.gate.as_ref().map(|g| g.names()).unwrap_or_default();
        also.retain(|name| name != self.name.as_str());
        QuotaFacts {
            limit,
            used,
            own: report.map_or(0, |r| r.own_day),
            max,
            pause_at: q.pause_at,
            resume_below: q.resume_below,
            expected,
            also,
        }
    }
}

/// The problem that `status` would name first.
fn problem(state: &Connection) -> Option<Problem> {
    if state.key.is_some() {
        return Some(Problem::KeyMissing);
    }
    if let Some(disk) = &state.disk {
        return Some(Problem::DiskFull { what: disk.text.clone() });
    }
    if let Some(replica) = &state.replica {
        return Some(Problem::ReplicaUnavailable { what: replica.text.clone() });
    }
    match &state.trouble {
        Trouble::Problem { problem, .. } => Some(problem.clone()),
        Trouble::None | Trouble::Retrying { .. } => None,
    }
}

//! Per kind of letter: subject, template and values. All foreign text is cleaned here.

use super::text::{clean, grouped, hang, lasting, listed, moment, quoted, step, wrap};
use super::vendor;
use super::why::{Why, why};
use super::{Condition, Entry, Facts, Kind, Letter, QuotaFacts};
use minijinja::{Value, context};

/// Connections that a digest shows in full: it is read by a person.
const DIGEST_ROWS: usize = 50;

/// A finished text with what the outbox wants to know of it.
pub(super) struct Text {
    pub(super) kind: &'static str,
    pub(super) connection: Option<String>,
    pub(super) subject: String,
    pub(super) template: &'static str,
    pub(super) values: Value,
}

/// What the letter says.
pub(super) fn text(letter: &Letter, host: &str) -> Text {
    match &letter.kind {
        Kind::Problem { facts, what, said } => problem(host, facts, what, said.as_deref()),
        Kind::Reminder { facts, what, number, next } => {
            let why = why(facts, host, what);
            let f = Known::of(facts);
            let span = lasting(facts.since, letter.at);
            let opening = if why.stopped {
                format!(
                    "Still waiting: {} on {host} has not synced for {span}: {}.",
                    f.name, why.title
                )
            } else {
                format!("Still so: {} on {host}, for {span}: {}.", f.name, why.title)
            };
            Text {
                kind: "reminder",
                connection: Some(f.name.clone()),
                subject: format!("[crmsync] {}: {} (reminder {number})", f.name, why.title),
                template: "reminder.txt",
                values: context! {
                    opening => wrap(&opening), cause => wrap(&why.cause), steps => steps(&why),
                    stopped => why.stopped, number, next => next.map(moment), host,
                    ..f.values(),
                },
            }
        }
        Kind::Recovery { facts, was, how } => recovered(letter, host, facts, was, how),
        Kind::QuotaPause { facts, quota } => paused(host, facts, quota),
        Kind::QuotaResume { facts, quota } => resumed(letter, host, facts, quota),
        Kind::Test { by } => Text {
            kind: "test",
            connection: None,
            subject: format!("[crmsync] test mail from {host}"),
            template: "test.txt",
            values: context! { by => clean(by, 80), host },
        },
        Kind::Digest { entries, outage } => digest(host, entries, outage.as_deref()),
    }
}

fn recovered(letter: &Letter, host: &str, facts: &Facts, was: &Condition, how: &str) -> Text {
    let why = why(facts, host, was);
    let f = Known::of(facts);
    let now = moment(letter.at);
    let (verb, meanwhile) = if why.stopped {
        let caught = format!("What happened at {} meanwhile is being caught up.", f.label);
        ("syncs again", format!("{caught} There is nothing to do."))
    } else {
        ("is in order again", "There is nothing to do.".to_owned())
    };
    let opening =
        format!("The {} connection \"{}\" on {host} {verb} since {now}.", f.label, f.name);
    let was = format!("It had been: {}, since {}.", why.title, f.since);
    Text {
        kind: "recovery",
        connection: Some(f.name.clone()),
        subject: format!("[crmsync] {} {verb}", f.name),
        template: "recovery.txt",
        values: context! {
            opening => wrap(&opening), was => wrap(&was), meanwhile => wrap(&meanwhile),
            how => wrap(&format!("What ended it: {}.", clean(how, 200))), host,
            ..f.values(),
        },
    }
}

fn problem(host: &str, facts: &Facts, what: &Condition, said: Option<&str>) -> Text {
    let why = why(facts, host, what);
    let f = Known::of(facts);
    let verb = if why.stopped { "stopped syncing on" } else { "needs a look since" };
    let opening = format!(
        "The {} connection \"{}\" on {host} {verb} {}: {}.",
        f.label,
        f.name,
        moment(facts.since),
        why.title
    );
    let subject = match what {
        Condition::NeedsAuthorization(_) => {
            format!("[crmsync] {} needs authorization: {}", f.name, why.title)
        }
        Condition::Problem(_) => format!("[crmsync] {} stopped: {}", f.name, why.title),
        Condition::Notice { .. } => format!("[crmsync] {}: {}", f.name, why.title),
    };
    Text {
        kind: "problem",
        connection: Some(f.name.clone()),
        subject,
        template: "problem.txt",
        values: context! {
            opening => wrap(&opening),
            cause => wrap(&why.cause),
            note => vendor::note(&facts.provider, what).map(wrap),
            said => said.map(quoted).unwrap_or_default(),
            steps => steps(&why),
            speaker => clean(&why.speaker, 110),
            stopped => why.stopped,
            host,
            ..f.values(),
        },
    }
}

fn paused(host: &str, facts: &Facts, quota: &QuotaFacts) -> Text {
    let f = Known::of(facts);
    let percent = percent(quota);
    let opening = format!(
        "The {} connection \"{}\" on {host} stopped syncing on {}: the daily limit of calls is used to {percent} %.",
        f.label,
        f.name,
        moment(facts.since)
    );
    let cause = format!(
        "From {} % on crmsync leaves the rest to the others, so that people and programs at {} can \
         go on working. Under {} % it goes on by itself and catches up.",
        quota.pause_at, f.label, quota.resume_below
    );
    let choices = [
        format!("Nothing: it goes on by itself. How it stands: `crmsync quota {}`", f.name),
        format!("Sync once, in spite of the line: `crmsync sync {} --despite-quota`", f.name),
        format!(
            "A higher line: pause_at in the connection's file on {host}, then `systemctl reload crmsyncd`"
        ),
    ];
    Text {
        kind: "quota-pause",
        connection: Some(f.name.clone()),
        subject: format!("[crmsync] {} is held: {percent} % of the daily limit used", f.name),
        template: "quota.txt",
        values: context! {
            opening => wrap(&opening), cause => wrap(&cause), stopped => true, host,
            steps => numbered(&choices),
            ..quota_values(quota, &f),
        },
    }
}

fn resumed(letter: &Letter, host: &str, facts: &Facts, quota: &QuotaFacts) -> Text {
    let f = Known::of(facts);
    let opening = format!(
        "The {} connection \"{}\" on {host} syncs again since {}, after {}.",
        f.label,
        f.name,
        moment(letter.at),
        lasting(facts.since, letter.at)
    );
    let cause = format!(
        "The use of the daily limit is under {} % again. What happened meanwhile is being caught up.",
        quota.resume_below
    );
    Text {
        kind: "quota-resume",
        connection: Some(f.name.clone()),
        subject: format!(
            "[crmsync] {} syncs again: {} % of the daily limit used",
            f.name,
            percent(quota)
        ),
        template: "resumed.txt",
        values: context! {
            opening => wrap(&opening), cause => wrap(&cause), host,
            ..quota_values(quota, &f),
        },
    }
}

fn digest(host: &str, entries: &[Entry], outage: Option<&str>) -> Text {
    let many = entries.len();
    // Several matters of one connection are that connection's letter.
    let only = entries
        .first()
        .map(|e| clean(&e.facts.name, 60))
        .filter(|name| entries.iter().all(|e| clean(&e.facts.name, 60) == *name));
    let titles: Vec<String> = entries.iter().map(|e| why(&e.facts, host, &e.what).title).collect();
    let (subject, opening) = match &only {
        Some(name) => (
            format!("[crmsync] {name}: {}", titles.join(", ")),
            format!(
                "{many} matters of the connection \"{name}\" on {host} need a look. Each has its own next step."
            ),
        ),
        None => (
            format!("[crmsync] {many} connections on {host} need a look"),
            format!("{many} connections on {host} need a look. Each has its own next step."),
        ),
    };
    let rows: Vec<Value> = entries
        .iter()
        .take(DIGEST_ROWS)
        .map(|e| {
            let why = why(&e.facts, host, &e.what);
            context! { title => why.title.clone(), steps => steps(&why), ..Known::of(&e.facts).values() }
        })
        .collect();
    let outage = outage.map(|label| {
        let label = clean(label, 60);
        wrap(&format!(
            "Most of your {label} connections failed at the same time: this looks like a fault at \
             {label}. No action is needed yet; crmsync goes on trying."
        ))
    });
    Text {
        kind: "digest",
        connection: only,
        subject,
        template: "digest.txt",
        values: context! {
            opening => wrap(&opening),
            outage, entries => rows, more => many.saturating_sub(DIGEST_ROWS), host,
        },
    }
}

fn steps(why: &Why) -> Vec<String> {
    numbered(&why.steps)
}

fn numbered(steps: &[String]) -> Vec<String> {
    steps.iter().zip(1..).map(|(text, n)| step(n, text)).collect()
}

fn percent(quota: &QuotaFacts) -> u64 {
    quota.used.saturating_mul(100).checked_div(quota.max).unwrap_or(100)
}

fn quota_values(quota: &QuotaFacts, known: &Known) -> Value {
    context! {
        limit => clean(&quota.limit, 80),
        used => grouped(quota.used),
        max => grouped(quota.max),
        own => grouped(quota.own),
        others => grouped(quota.used.saturating_sub(quota.own)),
        percent => percent(quota),
        expected => quota.expected.map(moment),
        also => Some(listed(&quota.also)).filter(|l| !l.is_empty()).map(|l| hang("Held as well: ", &l)),
        ..known.values(),
    }
}

/// Facts, cleaned.
struct Known {
    name: String,
    label: String,
    org: String,
    account: String,
    since: String,
    objects: String,
    caught_up: Option<String>,
}

impl Known {
    fn of(facts: &Facts) -> Self {
        let known = |t: &Option<String>| {
            t.as_deref().map_or_else(|| "not known yet".to_owned(), |t| clean(t, 120))
        };
        Self {
            name: clean(&facts.name, 64),
            label: clean(&facts.label, 60),
            org: known(&facts.org),
            account: known(&facts.account),
            since: moment(facts.since),
            objects: hang("Not syncing:  ", &listed(&facts.objects)),
            caught_up: facts.caught_up_to.map(moment),
        }
    }

    fn values(&self) -> Value {
        context! {
            name => self.name.as_str(), label => self.label.as_str(), org => self.org.as_str(),
            account => self.account.as_str(), since => self.since.as_str(),
            objects => self.objects.as_str(), caught_up => self.caught_up.as_deref(),
        }
    }
}

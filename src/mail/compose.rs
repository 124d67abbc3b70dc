//! From facts to the bytes of a mail.
//!
//! Templates are strict: a value that is missing is an error, never an empty line. Every value
//! that is not ours has passed `text::clean` before a template or a header sees it.

use super::text::{clean, grouped, lasting, listed, moment, quoted, step, wrap};
use super::vendor;
use super::why::{Why, why};
use super::{Condition, Entry, Facts, Kind, Letter, QuotaFacts};
use crate::store::OutMail;
use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use minijinja::{Environment, UndefinedBehavior, Value, context};
use std::time::SystemTime;

/// Why a letter could not be made into a mail. A mistake in settings or in the program.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// Sender or receiver is no mail address.
    #[error(
        "writing a mail: `{text}` is not a mail address ({why})\nhint: see [notify] in the configuration"
    )]
    Address {
        /// The text.
        text: String,
        /// The mail library's text.
        why: String,
    },
    /// The letter's id cannot stand in a Message-ID.
    #[error("writing a mail: `{0}` cannot stand in a Message-ID")]
    Id(String),
    /// A template failed.
    #[error("writing a mail: template: {0}")]
    Template(#[from] minijinja::Error),
    /// The mail library failed.
    #[error("writing a mail: {0}")]
    Build(#[from] lettre::error::Error),
}

const TEMPLATES: [(&str, &str); 9] = [
    ("problem.txt", include_str!("templates/problem.txt")),
    ("reminder.txt", include_str!("templates/reminder.txt")),
    ("recovery.txt", include_str!("templates/recovery.txt")),
    ("quota.txt", include_str!("templates/quota.txt")),
    ("resumed.txt", include_str!("templates/resumed.txt")),
    ("test.txt", include_str!("templates/test.txt")),
    ("digest.txt", include_str!("templates/digest.txt")),
    ("facts.txt", include_str!("templates/facts.txt")),
    ("footer.txt", include_str!("templates/footer.txt")),
];

/// A finished text with what the outbox wants to know of it.
struct Text {
    kind: &'static str,
    connection: Option<String>,
    subject: String,
    template: &'static str,
    values: Value,
}

/// Writes the mail. Pure: the same letter gives the same bytes.
pub fn compose(letter: &Letter) -> Result<OutMail, ComposeError> {
    let from = mailbox(&letter.from)?;
    let to = mailbox(&letter.to)?;
    let message_id = message_id(letter)?;
    let host = clean(&letter.host, 100);
    let text = text(letter, &host);
    let subject = clean(&text.subject, 150);
    let body = render(text.template, text.values)?;

    let mut builder = Message::builder()
        .from(from.clone())
        .to(to.clone())
        .subject(subject.clone())
        .date(SystemTime::from(letter.at))
        .message_id(Some(message_id.clone()));
    // A thread that is no Message-ID is left out: better a mail on its own than none.
    let thread = letter.thread.clone().filter(|t| is_message_id(t) && *t != message_id);
    if let Some(thread) = thread {
        builder = builder.in_reply_to(thread.clone()).references(thread);
    }
    let message = builder
        .raw_header(fixed("Auto-Submitted", "auto-generated"))
        // Not `All`: that would suppress the non-delivery reports we want.
        .raw_header(fixed("X-Auto-Response-Suppress", "OOF, AutoReply, RN, NRN"))
        .header(ContentType::TEXT_PLAIN)
        .body(encoded(body))?;
    Ok(OutMail {
        message_id,
        kind: text.kind.to_owned(),
        connection: text.connection,
        from: from.email.to_string(),
        to: to.email.to_string(),
        subject,
        bytes: message.formatted(),
        created: letter.at,
    })
}

/// ASCII goes as it is, lines are short; all else as quoted-printable. (Base64, which the library
/// prefers for much non-ASCII text, nobody can read in a spool.)
fn encoded(text: String) -> Body {
    let how = if text.is_ascii() {
        ContentTransferEncoding::SevenBit
    } else {
        ContentTransferEncoding::QuotedPrintable
    };
    let text = text.replace('\n', "\r\n");
    match Body::new_with_encoding(text, how) {
        Ok(body) => body,
        // A line over 998 characters does not fit 7bit.
        Err(text) => Body::new(text),
    }
}

fn fixed(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn mailbox(text: &str) -> Result<Mailbox, ComposeError> {
    let cleaned = clean(text, 320);
    cleaned.parse().map_err(|e: lettre::address::AddressError| ComposeError::Address {
        text: cleaned.clone(),
        why: e.to_string(),
    })
}

fn message_id(letter: &Letter) -> Result<String, ComposeError> {
    for part in [&letter.id, &letter.instance] {
        if !is_dot_atom(part) {
            return Err(ComposeError::Id(clean(part, 120)));
        }
    }
    Ok(format!("<{}@{}>", letter.id, letter.instance))
}

/// Of the characters that RFC 5322 allows there, those that need no thought.
fn is_dot_atom(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let dots = text.starts_with('.') || text.ends_with('.') || text.contains("..");
    !text.is_empty() && text.len() <= 120 && !dots && text.bytes().all(fits)
}

fn is_message_id(text: &str) -> bool {
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
    inner
        .and_then(|t| t.split_once('@'))
        .is_some_and(|(left, right)| is_dot_atom(left) && is_dot_atom(right))
}

fn render(template: &str, values: Value) -> Result<String, ComposeError> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = env.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).build()?;
    env.set_syntax(syntax);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    for (name, source) in TEMPLATES {
        env.add_template(name, source)?;
    }
    let text = env.get_template(template)?.render(values)?;
    Ok(format!("{}\n", text.trim_end()))
}

fn text(letter: &Letter, host: &str) -> Text {
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
    let rows: Vec<Value> = entries
        .iter()
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
        connection: None,
        subject: format!("[crmsync] {many} connections on {host} need a look"),
        template: "digest.txt",
        values: context! {
            opening => wrap(&format!("{many} connections on {host} need a look. Each has its own next step.")),
            outage, entries => rows, host,
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
            objects: super::text::hang("Not syncing:  ", &listed(&facts.objects)),
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

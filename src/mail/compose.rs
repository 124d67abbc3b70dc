//! From facts to the bytes of a mail.
//!
//! Templates are strict: a value that is missing is an error, never an empty line. Every value
//! that is not ours has passed `text::clean` before a template or a header sees it.

use super::Letter;
use super::text::clean;
use super::words::text;
use crate::store::OutMail;
use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Body, Mailbox};
use minijinja::{Environment, UndefinedBehavior, Value};
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
        .body(encoded(&body))?;
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
fn encoded(text: &str) -> Body {
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

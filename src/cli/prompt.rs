//! Questions to a person, and secrets from standard input or from a prompt without echo.
//!
//! Invariants: a secret is never echoed, never an argument, never longer than the vault takes;
//! the terminal gets its echo back however the reading ends.

use super::error::CliError;
use super::output;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// Longest secret, with room for the JSON around it.
const LONGEST: usize = 12 * 1024;

/// Whether a person sits at standard input.
pub(super) fn terminal() -> bool {
    io::stdin().is_terminal()
}

/// Asks; anything but `y` or `yes` is no.
pub(super) fn yes(question: &str) -> Result<bool, CliError> {
    ask(question)?;
    let line = read_line(64)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// A secret: typed without echo on a terminal, else everything on standard input less the line
/// break at its end.
pub(super) async fn secret(question: &str) -> Result<SecretString, CliError> {
    let text = if terminal() { typed(question).await? } else { read_all(LONGEST)? };
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        let message = "reading the secret from standard input: there is nothing";
        return Err(CliError::usage(message, "e.g. crmsync secret set NAME KEY < FILE"));
    }
    Ok(SecretString::from(text))
}

/// A line without echo. Ctrl-C ends the program as usual, but not before the echo is back.
async fn typed(question: &str) -> Result<String, CliError> {
    ask(question)?;
    let hidden = Hidden::new();
    let line = tokio::task::spawn_blocking(|| read_line(LONGEST));
    let line = tokio::select! {
        line = line => line.map_err(|e| CliError::here(e.to_string(), "try again")),
        _ = tokio::signal::ctrl_c() => Err(CliError::here("interrupted: nothing was changed", "")),
    };
    drop(hidden);
    output::err("\n");
    line?
}

/// One line of at most `most` bytes, for what is pasted.
pub(super) fn pasted(question: &str, most: usize) -> Result<SecretString, CliError> {
    ask(question)?;
    let line = read_line(most)?;
    let line = line.trim();
    if line.is_empty() {
        let message = "reading the address from standard input: there is nothing";
        return Err(CliError::usage(message, "paste the whole address that the browser ended at"));
    }
    Ok(SecretString::from(line))
}

fn ask(question: &str) -> Result<(), CliError> {
    let mut to = io::stderr().lock();
    let asked = to.write_all(question.as_bytes()).and_then(|()| to.flush());
    asked.map_err(|e| failed(&e))
}

fn read_line(most: usize) -> Result<String, CliError> {
    let mut text = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX) + 1;
    io::stdin().lock().take(limit).read_until(b'\n', &mut text).map_err(|e| failed(&e))?;
    decoded(text, most)
}

fn read_all(most: usize) -> Result<String, CliError> {
    let mut text = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX) + 1;
    io::stdin().lock().take(limit).read_to_end(&mut text).map_err(|e| failed(&e))?;
    decoded(text, most)
}

fn decoded(text: Vec<u8>, most: usize) -> Result<String, CliError> {
    if text.len() > most {
        let message = format!("reading from standard input: longer than {most} bytes");
        return Err(CliError::usage(message, "is it the right file?"));
    }
    String::from_utf8(text).map_err(|_| {
        CliError::usage("reading from standard input: not UTF-8", "is it the right file?")
    })
}

fn failed(error: &io::Error) -> CliError {
    CliError::here(format!("reading from standard input: {error}"), "try again")
}

/// The terminal without echo, as long as this lives.
struct Hidden(Option<Termios>);

impl Hidden {
    fn new() -> Self {
        let stdin = io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let set = tcsetattr(&stdin, OptionalActions::Flush, &quiet);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

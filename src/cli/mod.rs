//! The client: flags in, text or JSON out, an exit code at the end.
//!
//! Hides clap, tables, prompts. Invariants: what it knows of a running daemon it learned over the
//! control socket; it exchanges no code and keeps no secret; only this module prints.

pub mod command;

mod check;
mod config;
mod connections;
mod error;
mod fields;
mod key;
mod listener;
mod log;
mod notices;
mod output;
mod prompt;
mod quota;
mod reauthorize;
mod secret;
mod status;
mod steer;
mod sync;
mod test;

#[cfg(test)]
mod golden;

use crate::control::client::{Answer, Client, DEFAULT_SOCKET, Url};
use crate::control::protocol::SCHEMA_VERSION;
use crate::daemon::env;
use clap::{CommandFactory, Parser};
use command::{Cli, Command};
use error::{CliError, DONE, USAGE};
use output::View;
use serde_json::Value;
use std::ffi::OsString;
use std::path::PathBuf;

/// Runs one command line; the result is the program's exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(e) => {
            let _ = e.print();
            return if e.use_stderr() { USAGE } else { DONE };
        }
    };
    let as_json = cli.json;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let ended = runtime.block_on(act(cli));
            // A thread that still waits for a line of the terminal is not waited for.
            runtime.shutdown_background();
            ended
        }
        Err(e) => Err(CliError::here(format!("starting: {e}"), "is the system out of memory?")),
    };
    match ended {
        Ok(code) => code,
        Err(CliError::Unread) => DONE,
        Err(e) => {
            let text = e.to_string();
            // Some errors of the store end in their own hint.
            let hint = e.hint().filter(|h| !h.is_empty() && !text.contains("\nhint:"));
            // A report of the configuration brings its own heading.
            let heading = if text.starts_with("error: ") { "" } else { "error: " };
            output::err(&format!("{heading}{text}"));
            if let Some(hint) = &hint {
                output::err(&format!("hint: {hint}"));
            }
            if as_json {
                let error = serde_json::json!({ "message": text, "hint": hint, "exit": e.exit() });
                let whole = serde_json::json!({ "schema": SCHEMA_VERSION, "error": error });
                let _ = json(&whole);
            }
            e.exit()
        }
    }
}

/// What every command is given.
struct Ctx {
    client: Client,
    json: bool,
    view: View,
}

impl Ctx {
    /// The answer as JSON, or as `text` makes of it.
    fn show<T>(
        &self,
        answer: &Answer<T>,
        text: impl FnOnce(&T, &View) -> String,
    ) -> Result<(), CliError> {
        if self.json {
            return json(&answer.json);
        }
        output::out(&text(&answer.value, &self.view))
    }
}

/// The address of a connection, after a look at its name.
fn connection(name: &str, more: &[&str]) -> Result<Url, CliError> {
    let parsed = crmsync_core::domain::ConnectionName::parse(name);
    parsed.map_err(|e| CliError::usage(e.to_string(), "crmsync connections"))?;
    let mut segments = vec!["v1", "connections", name];
    segments.extend_from_slice(more);
    Ok(Url::new(&segments))
}

/// For `--json`: indented, and with the schema version in it.
fn json(value: &Value) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value);
    output::out(&text.unwrap_or_else(|_| value.to_string()))
}

async fn act(cli: Cli) -> Result<u8, CliError> {
    let socket = cli.socket.or_else(|| env::variable("CRMSYNC_SOCKET").map(PathBuf::from));
    let socket = socket.unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
    let view = View { zone: jiff::tz::TimeZone::system(), now: env::Env.now() };
    let ctx = Ctx { client: Client::new(&socket)?, json: cli.json, view };
    match cli.command {
        Command::Status { name, all } => status::run(&ctx, name, all).await,
        Command::Sync(args) => sync::run(&ctx, args).await,
        Command::Pause { name, time, note } => steer::pause(&ctx, &name, time, note).await,
        Command::Resume { name } => steer::resume(&ctx, &name).await,
        Command::Approve { name } => steer::approve(&ctx, &name).await,
        Command::Disconnect { name, .. } => steer::disconnect(&ctx, name).await,
        Command::Test { name } => test::run(&ctx, &name).await,
        Command::Reauthorize(args) => reauthorize::run(&ctx, args).await,
        Command::Secret(command::Secret::Set { name, key }) => secret::set(&ctx, &name, &key).await,
        Command::Fields { name, search } => fields::run(&ctx, &name, search).await,
        Command::Log { name, follow, run, limit } => match run {
            Some(id) => log::story(&ctx, &id).await,
            None => log::list(&ctx, &name, limit, follow).await,
        },
        Command::Notices { name, all } => notices::list(&ctx, name, all).await,
        Command::Mail(command::Mail::Log { limit }) => notices::mails(&ctx, limit).await,
        Command::Notify(command::Notify::Test { to }) => notices::try_out(&ctx, to).await,
        Command::Audit { limit } => notices::audit(&ctx, limit).await,
        Command::Quota { name } => quota::run(&ctx, name).await,
        Command::Connections => connections::list(&ctx).await,
        Command::Forget { name, with_data, yes } => {
            connections::forget(&ctx, &name, with_data, yes).await
        }
        Command::Rename { old, new } => connections::rename(&ctx, &old, &new).await,
        Command::Check { config } => check::run(&ctx, &config),
        Command::Config(command::Config::Show { origin }) => config::show(&ctx, origin).await,
        Command::Reload { wait: _ } => config::reload(&ctx).await,
        Command::Key(command::Key::Status) => key::status(&ctx).await,
        Command::Key(command::Key::Init { target, config, state_dir }) => {
            key::init(&ctx, target, &config, state_dir)
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "crmsync", &mut script);
            output::out(&String::from_utf8_lossy(&script))?;
            Ok(DONE)
        }
    }
}

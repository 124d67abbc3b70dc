//! `crmsync-sandbox`: a stand-in for Salesforce on one's own machine, to rehearse and to test
//! against. See `sandbox/README.md`.
//!
//! It shares no code with the programs it is a rehearsal for, so that a mistake is not made twice.
//! It keeps everything in memory and forgets it when it ends.

mod bulk;
mod calls;
mod clock;
mod ctl;
mod data;
mod events;
mod faults;
#[cfg(test)]
mod hostile;
mod meter;
mod oauth;
mod reply;
mod request;
mod rest;
mod sandbox;
mod serve;
mod server;
mod soql;
mod users;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A stand-in for Salesforce, to rehearse and to test against.
#[derive(Debug, Parser)]
#[command(name = "crmsync-sandbox", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve an org until SIGTERM or SIGINT; prints one JSON line when ready.
    Serve(Box<serve::Options>),
    /// Send one verb to a running sandbox and print the JSON answer.
    Ctl {
        /// The `http` address that serve printed.
        #[arg(long, env = "CRMSYNC_SANDBOX_URL")]
        url: String,
        /// What to do: `state`, `revoke`, `quota` ... (see the sandbox's README).
        verb: String,
        /// Its arguments; those like `name=value` are named.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => serve::run(*options).await,
        Command::Ctl { url, verb, args } => {
            ctl::client::run(&url, &verb, &args, &mut std::io::stdout()).await
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to be told when stderr is gone.
            let _ = writeln!(std::io::stderr(), "crmsync-sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

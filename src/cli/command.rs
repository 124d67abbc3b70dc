//! The tree of commands: source of help, man pages and completions.
//!
//! Invariant: names, flags and exit codes are the manual's.
#![allow(clippy::doc_markdown, reason = "these comments are the help on a terminal")]

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Asks and steers crmsyncd, which keeps company data flowing from CRMs into a local database.
#[derive(Debug, Parser)]
#[command(name = "crmsync", version, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 daemon not reachable, \
4 needs authorization, 78 bad configuration.")]
pub struct Cli {
    /// Print JSON with a stated schema version instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Control socket of the daemon [default: $CRMSYNC_SOCKET or /run/crmsync/control.sock]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// One command of the manual each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show how the connections fare; with NAME everything about one
    Status {
        /// Connection
        name: Option<String>,
        /// Retired connections too
        #[arg(long)]
        all: bool,
    },
    /// Sync a connection now
    Sync(Sync),
    /// Stop scheduled work of a connection
    Pause {
        /// Connection
        name: String,
        /// How long, e.g. 90m, 12h, 2d; else until `resume`
        #[arg(long = "for", value_name = "DURATION")]
        time: Option<String>,
        /// Why, shown in `status`
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// End a pause
    Resume {
        /// Connection
        name: String,
    },
    /// Check a connection: reachable, credential, org, permissions, quota
    Test {
        /// Connection
        name: String,
    },
    /// Authorize a connection, again or for the first time
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Reauthorize(Reauthorize),
    /// Put secrets into the vault
    #[command(subcommand)]
    Secret(Secret),
    /// Revoke the grant at the provider and forget it
    Disconnect {
        /// Connection
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        name: Option<String>,
        /// Every connection
        #[arg(long)]
        all: bool,
    },
    /// List objects and fields of the source with what is selected
    Fields {
        /// Connection
        name: String,
        /// Only those whose name or label holds TEXT
        #[arg(long, value_name = "TEXT")]
        search: Option<String>,
    },
    /// List the runs of a connection
    Log {
        /// Connection
        name: String,
        /// Go on as runs begin and end
        #[arg(short, long)]
        follow: bool,
        /// Tell the story of one run
        #[arg(long, value_name = "ID", conflicts_with = "follow")]
        run: Option<String>,
        /// How many runs
        #[arg(short = 'n', long, default_value_t = 20)]
        limit: usize,
    },
    /// List what an admin should know
    Notices {
        /// Connection
        name: Option<String>,
        /// Closed ones too
        #[arg(long)]
        all: bool,
    },
    /// Look at mails
    #[command(subcommand)]
    Mail(Mail),
    /// List who changed what
    Audit {
        /// How many lines
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: usize,
    },
    /// Show the use of the providers' limits
    Quota {
        /// Connection
        name: Option<String>,
    },
    /// List connections, retired ones included
    Connections,
    /// Remove what is kept of a connection that the configuration no longer names
    Forget {
        /// Connection
        name: String,
        /// Its replica too
        #[arg(long)]
        with_data: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Give a connection another name before the configuration does: keeps grant, cursor, replica
    Rename {
        /// Name so far
        old: String,
        /// New name
        new: String,
    },
    /// Release deletes that are held
    Approve {
        /// Connection
        name: String,
    },
    /// Check the configuration, without the daemon
    Check {
        /// Folder of crmsync.toml and conf.d
        #[arg(long, value_name = "DIR", default_value = "/etc/crmsync")]
        config: PathBuf,
    },
    /// Look at the configuration in force
    #[command(subcommand)]
    Config(Config),
    /// Have the daemon read its configuration again; a bad one changes nothing
    Reload {
        /// Wait for the outcome (always done; written so that units can say it)
        #[arg(long)]
        wait: bool,
    },
    /// Try out notifications
    #[command(subcommand)]
    Notify(Notify),
    /// The master key of the vault
    #[command(subcommand)]
    Key(Key),
    /// Print a completion script
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `sync`.
#[derive(Debug, Args)]
pub struct Sync {
    /// Connection
    pub name: String,
    /// Only these objects
    #[arg(value_name = "OBJECT")]
    pub objects: Vec<String>,
    /// Read everything again, in place
    #[arg(long)]
    pub full: bool,
    /// Show progress and wait for the end
    #[arg(long)]
    pub follow: bool,
    /// Go past the quota line; counted and shown by name
    #[arg(long)]
    pub despite_quota: bool,
}

/// `reauthorize`.
#[derive(Debug, Args)]
pub struct Reauthorize {
    /// Connection
    #[arg(required = true)]
    pub name: Option<String>,
    /// Read the address that the browser ended at from standard input instead of listening
    #[arg(long)]
    pub paste: bool,
    /// Another account of the same org is wanted
    #[arg(long)]
    pub as_other_account: bool,
    /// An answer to "another account"
    #[command(subcommand)]
    pub answer: Option<ReauthorizeAnswer>,
}

/// `reauthorize confirm|reject`.
#[derive(Debug, Subcommand)]
pub enum ReauthorizeAnswer {
    /// Take the other account
    Confirm {
        /// Of the request, as `status NAME` shows it
        id: String,
    },
    /// Refuse the other account
    Reject {
        /// Of the request, as `status NAME` shows it
        id: String,
    },
}

/// `secret`.
#[derive(Debug, Subcommand)]
pub enum Secret {
    /// Put a secret into the vault, from standard input or a prompt
    Set {
        /// Connection
        name: String,
        /// Which, e.g. client_secret
        key: String,
    },
}

/// `mail`.
#[derive(Debug, Subcommand)]
pub enum Mail {
    /// List mails of the outbox
    Log {
        /// How many
        #[arg(short = 'n', long, default_value_t = 50)]
        limit: usize,
    },
}

/// `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the configuration in force
    Show {
        /// With where each value comes from
        #[arg(long)]
        origin: bool,
    },
}

/// `notify`.
#[derive(Debug, Subcommand)]
pub enum Notify {
    /// Send a test mail
    Test {
        /// Receiver; else the configured admins
        #[arg(long, value_name = "ADDRESS")]
        to: Option<String>,
    },
}

/// `key`.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// Move the key away from the data: prints what root types to have systemd keep it
    Init {
        /// Move the key file there first; else the steps begin with where it lies now
        #[arg(long, value_name = "PATH")]
        target: Option<PathBuf>,
        /// Folder of the configuration, which names the state folder
        #[arg(long, value_name = "DIR", default_value = "/etc/crmsync")]
        config: PathBuf,
        /// State folder, if not the configured one
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
    },
    /// Show where the key lies
    Status,
}

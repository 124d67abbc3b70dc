//! The daemon: flags, then [`crmsync::daemon::run`].

use clap::Parser;
use crmsync::daemon::run::{Options, run};
use crmsync::daemon::{hardening, logs};
use std::path::PathBuf;
use std::process::ExitCode;

/// How far the threads that carry data stand back.
const NICE: i32 = 5;

/// Keeps company data flowing between CRMs and databases.
#[derive(Debug, Parser)]
#[command(name = "crmsyncd", version)]
struct Flags {
    /// Folder of crmsync.toml and conf.d
    #[arg(long, value_name = "DIR", default_value = "/etc/crmsync")]
    config: PathBuf,
    /// State folder [default: `daemon.state_dir`, else /var/lib/crmsync]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Folder of the replicas [default: `daemon.replica_dir`, else /var/lib/crmsync-replica]
    #[arg(long, value_name = "DIR")]
    replica_dir: Option<PathBuf>,
    /// Control socket [default: `daemon.socket`, else /run/crmsync/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Loads take whatever the processors have left: the control socket, whose thread does not do this,
/// answers meanwhile.
fn yield_to_callers() {
    let _ = rustix::process::nice(NICE);
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    hardening::apply();
    logs::start();
    // The store's commits wait for the disk where they are called: workers beyond the cores keep
    // sockets and timers served meanwhile.
    let workers = std::thread::available_parallelism().map_or(1, usize::from) + 2;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(workers).on_thread_start(yield_to_callers).enable_all();
    let runtime = match runtime.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "starting the runtime");
            return ExitCode::FAILURE;
        }
    };
    let options = Options {
        config_dir: flags.config,
        state_dir: flags.state_dir,
        replica_dir: flags.replica_dir,
        socket: flags.socket,
    };
    let ended = runtime.block_on(run(options));
    // A name lookup or a write that hangs on its thread must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            tracing::error!("{:#}", failed.error);
            ExitCode::from(failed.code)
        }
    }
}

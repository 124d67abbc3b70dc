//! What was measured on, and what a process has used: `/proc`, and the words of the tools.

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

/// Unit of `/proc/PID/stat` on Linux, on every architecture that Debian has.
const USER_HZ: f64 = 100.0;

/// A moment's figures of a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Processor time so far, user and system.
    pub cpu: Duration,
    /// Resident memory in MB (10^6 bytes).
    pub resident: f64,
    /// The most it ever was.
    pub peak: f64,
}

impl Usage {
    /// Of a running process.
    pub fn of(pid: u32) -> Self {
        let status = read(pid, "status");
        let kilobytes = |key: &str| -> f64 {
            let line = status.lines().find(|l| l.starts_with(key)).expect("its memory");
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
        };
        let stat = read(pid, "stat");
        let fields: Vec<&str> =
            stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
        let ticks = |n: usize| fields[n].parse::<f64>().expect("ticks");
        Self {
            cpu: Duration::from_secs_f64((ticks(11) + ticks(12)) / USER_HZ),
            resident: kilobytes("VmRSS:") * 1024.0 / 1e6,
            peak: kilobytes("VmHWM:") * 1024.0 / 1e6,
        }
    }
}

fn read(pid: u32, name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the process runs")
}

/// Cores, kernel, memory, versions, commit.
pub fn facts() -> Value {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ")).map(|m| m.1);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().and_then(|l| l.split_whitespace().nth(1)).map(str::to_owned);
    json!({
        "programs": std::env::var("CRMSYNC_BIN_DIR").map_or("debug", |_| "release"),
        "cores": cores,
        "processor": model,
        "memory_kib": memory,
        "kernel": said("uname", &["-sr"]),
        "load_at_start": said("cat", &["/proc/loadavg"]),
        "commit": said("git", &["describe", "--always", "--dirty", "--abbrev=12"]),
        "curl": said("curl", &["--version"]),
        "sqlite3": said("sqlite3", &["--version"]),
        "psql": said("psql", &["--version"]),
        "rustc": said("rustc", &["--version"]),
    })
}

/// The first line of what a command says; nothing when it cannot be run.
fn said(program: &str, args: &[&str]) -> Option<String> {
    let folder = crate::support::workspace();
    let output = Command::new(program).args(args).current_dir(folder).output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

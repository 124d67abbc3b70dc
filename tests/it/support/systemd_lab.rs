//! A throw-away Debian machine with a real systemd as its process 1, in namespaces of this one.
//!
//! Hides how it is built and entered. Its disk image is made once (about a minute) and kept below
//! the target folder; a boot takes a second or two. Needs root and `mmdebstrap`; it shows
//! everything of a unit but memory and task limits.

use super::proc::{Output, Proc, run, run_with};
use super::wait::{START, eventually_or};
use super::{Scratch, is_root, skip, workspace};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Change it when the image changes.
const RECIPE: u32 = 1;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A booted machine; gone with the value.
pub struct Lab {
    proc: Option<Proc>,
    scratch: Scratch,
    leader: u32,
}

/// True when the caller should return: no root, or no tool to make the image (said loudly).
pub fn missing(test: &str) -> bool {
    let absent = !Path::new("/usr/bin/mmdebstrap").exists();
    skip(test, absent || !is_root(), "needs root, and the packages mmdebstrap and iproute2")
}

fn script() -> PathBuf {
    workspace().join("tests/it/servers/boot-systemd.sh")
}

/// The disk image, made by the first caller of all test programs.
fn image() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(root).expect("making the folder of prepared things");
    let done = root.join(format!("systemd-{RECIPE}.tar"));
    let lock = File::create(root.join(format!("systemd-{RECIPE}.lock"))).expect("the lock file");
    lock.lock().expect("waiting for whoever makes the image");
    if !done.exists() {
        super::loud("making a Debian image with systemd, once; it takes about a minute");
        let part = root.join(format!("systemd-{RECIPE}.part.tar"));
        let mut command = Command::new("bash");
        command.arg(script()).arg("base").arg(&part);
        run(command, Duration::from_secs(600)).ok();
        fs::rename(part, &done).expect("naming the image");
    }
    done
}

impl Lab {
    /// Boots one and waits until systemd says that it is up.
    pub fn start() -> Self {
        let image = image();
        let scratch = Scratch::new("lab");
        let mut command = Command::new("bash");
        command.arg(script()).arg("boot").arg(&image).arg(scratch.path());
        let proc = Proc::start("lab", command, scratch.path());
        let outer = proc.pid();
        let mut lab = Self { proc: Some(proc), scratch, leader: 0 };
        eventually_or(START, "the machine is up", || lab.look(outer));
        lab
    }

    fn look(&mut self, outer: u32) -> Result<(), String> {
        let proc = self.proc.as_mut().expect("running");
        assert!(proc.is_running(), "the machine did not boot: {:#?}", proc.lines());
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
        let children = children.unwrap_or_default();
        let leader = children.split_whitespace().next().and_then(|p| p.parse().ok());
        self.leader = leader.ok_or("no process 1 yet")?;
        let name = fs::read_to_string(format!("/proc/{}/comm", self.leader)).unwrap_or_default();
        if name.trim() != "systemd" {
            return Err(format!("process 1 is {name}"));
        }
        let said = self.exec(&["systemctl", "is-system-running"]);
        // one unit that wants hardware may fail: what matters is that the boot is over
        match said.out.trim() {
            "running" | "degraded" => Ok(()),
            other => Err(format!("{other} {}", said.err)),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(self.leader.to_string());
        command.args(["-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", "env", "-i", PATH]);
        command.args(["HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"]);
        command.arg("DEBIAN_FRONTEND=noninteractive").args(args);
        command
    }

    /// Runs a command inside to its end.
    pub fn exec(&self, args: &[&str]) -> Output {
        run(self.command(args), Duration::from_secs(120))
    }

    /// Copies a file in, with its mode.
    pub fn push(&self, from: &Path, to: &str) {
        let inside = self.root().join(to.trim_start_matches('/'));
        fs::create_dir_all(inside.parent().expect("a folder")).expect("making a folder inside");
        fs::copy(from, &inside).unwrap_or_else(|e| panic!("{} -> {to}: {e}", from.display()));
    }

    /// Writes a file inside.
    pub fn write(&self, to: &str, text: &str) {
        let mut command = self.command(&["sh", "-c", "mkdir -p \"${0%/*}\" && cat > \"$0\"", to]);
        command.env_clear();
        run_with(command, text.as_bytes(), START).ok();
    }

    /// Its root folder as seen from here: sockets below it can be connected to.
    pub fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.proc.take()); // process 1 dies with its parent, and everything inside with it
        let mut command = Command::new("bash");
        command.arg(script()).arg("clean").arg(self.scratch.path());
        let _ = command.output();
    }
}

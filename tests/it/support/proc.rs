//! Child processes: started in a group of their own, their output kept in files and at hand,
//! waited for by line, stopped by process id.
//!
//! Invariants: dropping a [`Proc`] kills its whole group and reaps it; output is never lost (the
//! file has all, the ring the last lines of each stream); waits are woken by the reader threads.

use super::wait::SOON;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines kept in memory of each stream; the file has all of them.
const RING: usize = 20_000;
/// The longest line kept in memory; the rest of it is in the file.
const LINE: u64 = 1 << 20;

/// Which output of a child.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

#[derive(Default)]
struct Lines {
    ring: VecDeque<(Stream, String)>,
    /// Lines that have fallen out of the ring; makes positions absolute.
    dropped: usize,
    open: usize,
}

type Shared = Arc<(Mutex<Lines>, Condvar)>;

/// A running (or ended) child and its output.
pub struct Proc {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
    lines: Shared,
    readers: Vec<JoinHandle<()>>,
    log_dir: PathBuf,
}

impl Proc {
    /// Starts `command` in a process group of its own with closed stdin. Output goes to
    /// `log_dir/NAME.out` and `NAME.err` (appended, so that a restart keeps the first life).
    pub fn start(name: &str, mut command: Command, log_dir: &Path) -> Self {
        command.stdin(Stdio::null());
        Self::start_with_stdin(name, command, log_dir)
    }

    /// Like [`Proc::start`], leaving stdin as the caller set it.
    pub fn start_with_stdin(name: &str, mut command: Command, log_dir: &Path) -> Self {
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|e| panic!("starting {name} ({command:?}): {e}"));
        let lines: Shared = Arc::default();
        lines.0.lock().expect("lines").open = 2;
        let out = child.stdout.take().expect("stdout is piped");
        let err = child.stderr.take().expect("stderr is piped");
        let readers = vec![
            reader(out, Stream::Out, log_dir.join(format!("{name}.out")), lines.clone()),
            reader(err, Stream::Err, log_dir.join(format!("{name}.err")), lines.clone()),
        ];
        Self {
            name: name.to_owned(),
            child,
            status: None,
            lines,
            readers,
            log_dir: log_dir.to_path_buf(),
        }
    }

    /// The process id of the child.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child's stdin, when the command asked for a pipe.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// The file with everything that a stream has printed.
    pub fn log_file(&self, stream: Stream) -> PathBuf {
        let end = if stream == Stream::Out { "out" } else { "err" };
        self.log_dir.join(format!("{}.{end}", self.name))
    }

    /// The lines still in memory, both streams in order of arrival.
    pub fn lines(&self) -> Vec<String> {
        self.lines.0.lock().expect("lines").ring.iter().map(|(_, l)| l.clone()).collect()
    }

    /// A position in the output: [`Proc::wait_line_after`] looks only at what comes after it.
    pub fn mark(&self) -> usize {
        let lines = self.lines.0.lock().expect("lines");
        lines.dropped + lines.ring.len()
    }

    /// Waits until a line that `wanted` accepts has been printed (or was already) and returns it.
    pub fn wait_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_line_after(0, SOON, what, |_, line| wanted(line))
    }

    /// Waits for a line that contains `text`.
    pub fn wait_text(&self, text: &str) -> String {
        self.wait_line(text, |line| line.contains(text))
    }

    /// Waits for a line after position `mark`, for at most `deadline`. Panics with the last
    /// lines when the deadline passes or the child's output ends first.
    pub fn wait_line_after(
        &self,
        mark: usize,
        deadline: Duration,
        what: &str,
        wanted: impl Fn(Stream, &str) -> bool,
    ) -> String {
        let end = Instant::now() + deadline;
        let (lock, bell) = &*self.lines;
        let mut lines = lock.lock().expect("lines");
        let mut seen = mark;
        loop {
            let from = seen.saturating_sub(lines.dropped);
            if let Some((_, line)) = lines.ring.iter().skip(from).find(|(s, l)| wanted(*s, l)) {
                return line.clone();
            }
            seen = lines.dropped + lines.ring.len();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.open == 0 {
                let tail: Vec<_> = lines.ring.iter().rev().take(40).rev().collect();
                panic!(
                    "{}: no line for {what:?} within {deadline:?} (outputs open: {}); last lines: \
                     {tail:#?}",
                    self.name, lines.open
                );
            }
            lines = bell.wait_timeout(lines, left).expect("lines").0;
        }
    }

    /// How it ended, if it has.
    pub fn try_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().expect("asking for a child");
        }
        self.status
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        self.try_status().is_none()
    }

    /// Waits for its end and for the end of its output.
    pub fn wait_exit(&mut self, deadline: Duration) -> ExitStatus {
        let name = self.name.clone();
        let status =
            super::wait::eventually(deadline, &format!("{name} ends"), || self.try_status());
        // a grandchild may hold the pipe open: its output is of no interest once the child is gone
        self.signal_group(Signal::KILL);
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status
    }

    /// Sends a signal to the child alone.
    pub fn signal(&self, signal: Signal) {
        if self.status.is_none()
            && let Some(pid) = pid(self.child.id())
        {
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGTERM, then waits for the end.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(deadline)
    }

    /// `kill -9` of the whole group, then waits: as near to a power cut as a process can come.
    pub fn kill9(&mut self) -> ExitStatus {
        self.signal_group(Signal::KILL);
        self.wait_exit(SOON)
    }

    fn signal_group(&self, signal: Signal) {
        // the group outlives its leader while members live; an empty group is ESRCH. The id of
        // a reaped leader can only be used again when its group is empty, and then for nobody
        // that we started: a leader's id that is reused is no group until somebody makes it one.
        if let Some(pid) = pid(self.child.id()) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if self.readers.is_empty() {
            return; // ended and reaped by wait_exit, its group killed there
        }
        self.signal_group(Signal::KILL);
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

fn pid(raw: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(raw).ok()?)
}

fn reader(
    from: impl Read + Send + 'static,
    stream: Stream,
    file: PathBuf,
    shared: Shared,
) -> JoinHandle<()> {
    let mut log = File::options()
        .create(true)
        .append(true)
        .open(&file)
        .unwrap_or_else(|e| panic!("opening {}: {e}", file.display()));
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut raw = Vec::new();
        loop {
            raw.clear();
            match from.by_ref().take(LINE).read_until(b'\n', &mut raw) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            let _ = log.write_all(&raw);
            let line = String::from_utf8_lossy(&raw).trim_end_matches(['\n', '\r']).to_owned();
            let mut lines = shared.0.lock().expect("lines");
            if lines.ring.len() == RING {
                lines.ring.pop_front();
                lines.dropped += 1;
            }
            lines.ring.push_back((stream, line));
            shared.1.notify_all();
        }
        shared.0.lock().expect("lines").open -= 1;
        shared.1.notify_all();
    })
}

/// What a command that ran to its end has printed.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output as text.
    pub out: String,
    /// Standard error as text.
    pub err: String,
}

impl Output {
    /// The output, or a panic with everything when the exit code is not 0.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "a command failed: {self:#?}");
        self
    }
}

/// Runs a command to its end with `input` on stdin, for at most `deadline`.
pub fn run_with(mut command: Command, input: &[u8], deadline: Duration) -> Output {
    let shown = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().unwrap_or_else(|e| panic!("starting {shown}: {e}"));
    let group = pid(child.id());
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(&input);
    });
    let (done, wait) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let _ = done.send(child.wait_with_output());
    });
    let output = wait.recv_timeout(deadline).unwrap_or_else(|_| {
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let output = wait.recv();
        panic!("{shown} did not end within {deadline:?}; so far: {output:?}");
    });
    let _ = (worker.join(), feeder.join());
    let output = output.unwrap_or_else(|e| panic!("running {shown}: {e}"));
    Output {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command to its end with nothing on stdin.
pub fn run(command: Command, deadline: Duration) -> Output {
    run_with(command, b"", deadline)
}

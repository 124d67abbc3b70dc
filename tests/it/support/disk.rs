//! Small disks of a test: a tmpfs over a folder, to be filled, turned read-only and freed again.

use super::{is_root, skip};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted tmpfs; unmounted with the value. Make it after what uses it: dropped before it.
pub struct Disk {
    at: PathBuf,
}

/// True when the caller should return: no right to mount (said loudly).
pub fn missing(test: &str) -> bool {
    skip(test, !is_root(), "needs root, to mount a small tmpfs")
}

impl Disk {
    /// Mounts one of `kib` KiB over a folder, which is made if need be.
    pub fn over(at: &Path, kib: u64) -> Self {
        std::fs::create_dir_all(at).expect("making the mount point");
        let options = format!("size={kib}k,mode=0700");
        mount(&["-t", "tmpfs", "-o", &options, "crmsync-test"], at);
        Self { at: at.to_path_buf() }
    }

    /// Another size, `ro`, `rw`.
    pub fn remount(&self, how: &str) {
        mount(&["-o", &format!("remount,{how}")], &self.at);
    }

    /// Writes into one file until nothing goes in any more.
    pub fn fill(&self) {
        let path = self.at.join("filler");
        let mut file = std::fs::File::options().create(true).append(true).open(path);
        let file = file.as_mut().expect("making the filler");
        for size in [64 << 10, 4096, 1] {
            while file.write_all(&vec![b'x'; size]).is_ok() {}
        }
    }

    /// Takes the filler away.
    pub fn free(&self) {
        std::fs::remove_file(self.at.join("filler")).expect("removing the filler");
    }
}

fn mount(args: &[&str], at: &Path) {
    let mut command = Command::new("mount");
    command.args(args).arg(at);
    super::proc::run(command, super::wait::SOON).ok();
}

impl Drop for Disk {
    fn drop(&mut self) {
        // lazily: a failed test still holds files open
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

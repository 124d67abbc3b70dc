//! The state folder: its modes, its lock, and what kind of disk it lies on.

use super::StoreError;
use rustix::fs::{FlockOperation, flock, statfs};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

/// How often a lock that is held is looked at again, 20 ms apart.
const PATIENCE: u32 = 25;

/// Makes the folder 0700 and takes its lock. The lock ends with the file, also by kill -9.
pub(super) fn take(dir: &Path) -> Result<File, StoreError> {
    make_private(dir)?;
    refuse_network(dir)?;
    let path = dir.join("lock");
    let failed = |e: &std::io::Error| StoreError::io("taking the lock", &path, e);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|e| failed(&e))?;
    // A holder that has just ended may still be shared by a child between its fork and its exec:
    // a moment's patience, then the holder is a real one.
    let mut tries = PATIENCE;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(rustix::io::Errno::WOULDBLOCK) if tries > 0 => {
                tries -= 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let (pid, uid) = owner(&mut file);
                return Err(StoreError::Locked { path: dir.to_owned(), pid, uid });
            }
            Err(e) => return Err(failed(&e.into())),
        }
    }
    let text = format!("{} {}\n", std::process::id(), rustix::process::geteuid().as_raw());
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()))
        .map_err(|e| failed(&e))?;
    Ok(file)
}

/// Pid and uid as written by the holder; zeros where they cannot be read.
fn owner(file: &mut File) -> (u32, u32) {
    let mut text = String::new();
    if file.take(64).read_to_string(&mut text).is_err() {
        return (0, 0);
    }
    let mut words = text.split_whitespace().map(|w| w.parse().unwrap_or(0));
    (words.next().unwrap_or(0), words.next().unwrap_or(0))
}

fn make_private(dir: &Path) -> Result<(), StoreError> {
    const WHAT: &str = "making the state folder";
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| StoreError::io(WHAT, dir, &e))?;
    let meta = fs::metadata(dir).map_err(|e| StoreError::io(WHAT, dir, &e))?;
    if meta.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .map_err(|e| StoreError::io(WHAT, dir, &e))?;
    }
    Ok(())
}

fn refuse_network(dir: &Path) -> Result<(), StoreError> {
    let stat =
        statfs(dir).map_err(|e| StoreError::io("looking at the file system", dir, &e.into()))?;
    // The magic is a 32-bit number in a signed or wider field, depending on the machine.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let magic = stat.f_type as u32;
    let fs = match network_name(magic) {
        Some(name) => Some(name.to_owned()),
        None if magic == FUSE => fuse_type(dir).filter(|t| is_network_fuse(t)),
        None => None,
    };
    match fs {
        Some(fs) => Err(StoreError::NetworkFs { path: dir.to_owned(), fs }),
        None => Ok(()),
    }
}

const FUSE: u32 = 0x6573_5546;

/// Numbers from statfs(2) and linux/magic.h.
fn network_name(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "nfs",
        0xFF53_4D42 => "cifs",
        0xFE53_4D42 => "smb2",
        0x517B => "smb",
        0x0102_1997 => "9p",
        0x00C3_6400 => "ceph",
        0x5346_414F | 0x6B41_4653 => "afs",
        0x7375_7245 => "coda",
        0x564C => "ncp",
        0x7461_636F => "ocfs2",
        0x0116_1970 => "gfs2",
        0x0BD0_0BD0 => "lustre",
        _ => return None,
    })
}

/// FUSE tells its kind only in the mount table: the type of the longest mount point above `dir`.
fn fuse_type(dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    mount_type(&table, &dir)
}

fn mount_type(table: &str, dir: &Path) -> Option<String> {
    table
        .lines()
        .filter_map(|line| {
            // `36 35 98:0 /root /mount options shared:1 - type source options`, proc(5).
            let (left, right) = line.split_once(" - ")?;
            let mount = left.split(' ').nth(4)?.replace("\\040", " ");
            dir.starts_with(&mount).then(|| (mount.len(), right.split(' ').next()))
        })
        .max_by_key(|(len, _)| *len)
        .and_then(|(_, kind)| kind.map(str::to_owned))
}

fn is_network_fuse(kind: &str) -> bool {
    const NETWORK: [&str; 9] =
        ["sshfs", "gluster", "s3", "rclone", "davfs", "ceph", "gcsfuse", "nfs", "smb"];
    kind.strip_prefix("fuse.").is_some_and(|k| NETWORK.iter().any(|n| k.contains(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_known_by_name() {
        assert_eq!(network_name(0x6969), Some("nfs"));
        assert_eq!(network_name(0xFF53_4D42), Some("cifs"));
        assert_eq!(network_name(0xEF53), None, "ext4");
        let table = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                     40 22 0:40 / /mnt/far\\040disk rw shared:1 - fuse.sshfs ada@host: rw\n\
                     41 22 0:41 / /mnt/near rw - fuseblk /dev/sdb1 rw\n";
        let kind = |p: &str| mount_type(table, Path::new(p)).unwrap();
        assert!(is_network_fuse(&kind("/mnt/far disk/state")));
        assert!(!is_network_fuse(&kind("/mnt/near/state")));
        assert_eq!(kind("/var"), "ext4");
    }
}

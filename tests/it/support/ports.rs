//! Free ports that stay ours.
//!
//! A port found by binding to 0 can be taken by anybody before the server opens it, the kernel's
//! own outgoing connections included. Ports here lie below the range of outgoing connections and
//! each is held by a file lock for the life of the test process, so that test programs that run
//! at once never hand out the same one.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::sync::Mutex;

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

static HELD: Mutex<BTreeMap<u16, File>> = Mutex::new(BTreeMap::new());

/// A TCP port on loopback that nobody listens on and nobody else of the bench will be given.
pub fn free_port() -> u16 {
    let dir = std::env::temp_dir()
        .join(format!("crmsync-test-ports-{}", rustix::process::geteuid().as_raw()));
    std::fs::create_dir_all(&dir).expect("making the folder of port locks");
    let mut held = HELD.lock().expect("the list of ports");
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("below COUNT");
    for step in 0..COUNT {
        let port = FIRST + (start + step) % COUNT;
        if held.contains_key(&port) {
            continue;
        }
        let Ok(file) =
            OpenOptions::new().create(true).append(true).open(dir.join(port.to_string()))
        else {
            continue;
        };
        if file.try_lock().is_err() || TcpListener::bind(("127.0.0.1", port)).is_err() {
            continue;
        }
        held.insert(port, file);
        return port;
    }
    panic!("no free port from {FIRST} on, {COUNT} tried");
}

/// Waits until somebody listens on the port of loopback.
pub fn wait_listening(port: u16, who: &str) {
    super::wait::eventually(super::wait::START, &format!("{who} listens on {port}"), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
}

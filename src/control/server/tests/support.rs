//! A server on a socket of its own, and a client that sends exactly the bytes it is told.

use super::scripted::Scripted;
use crate::control::server::socket::READ_TIMEOUT;
use crate::control::server::{Access, bind, serve_patiently};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Running {
    pub path: PathBuf,
    pub commands: Arc<Scripted>,
    pub stop: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
    _folder: TempDir,
}

/// As the own user: everything is allowed.
pub fn own() -> Access {
    Access::new(rustix::process::getuid().as_raw(), "none", "none")
}

/// As somebody in no group of ours.
pub fn nobody() -> Access {
    Access::new(4_000_000, "no-such-group", "no-such-group").without_root()
}

pub fn start(access: Access) -> Running {
    start_patiently(access, READ_TIMEOUT)
}

pub fn start_patiently(access: Access, patience: Duration) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/control.sock");
    let listener = bind(&path, 0o666).unwrap();
    let commands = Arc::new(Scripted::default());
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve_patiently(
        listener,
        commands.clone(),
        access,
        stop.clone(),
        patience,
        Handle::current(),
    ));
    Running { path, commands, stop, task, _folder: folder }
}

impl Running {
    /// Sends the bytes, closes the writing side if told, reads to the end.
    pub async fn raw(&self, bytes: &[u8], close: bool) -> Vec<u8> {
        let talk = async {
            let mut stream = UnixStream::connect(&self.path).await.unwrap();
            // The server may answer and close before all is written.
            let _ = stream.write_all(bytes).await;
            if close {
                let _ = stream.shutdown().await;
            }
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        tokio::time::timeout(PATIENCE, talk).await.unwrap()
    }

    /// One request; status and JSON body (null where there is none).
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.ask_as(method, path, "application/json", body.as_bytes()).await
    }

    pub async fn ask_as(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        split(&self.raw(&bytes, false).await)
    }
}

pub fn split(answer: &[u8]) -> (u16, Value) {
    let text = String::from_utf8_lossy(answer);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

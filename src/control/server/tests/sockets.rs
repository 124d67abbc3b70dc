//! Making the socket, and how many may use it.

use super::support::{PATIENCE, own, split, start};
use crate::control::server::{Access, BindError, CALLERS, bind};
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

#[tokio::test]
async fn the_socket_is_made_with_its_folder_and_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/crmsync/control.sock");
    let listener = bind(&path, 0o666).unwrap();
    let mode = |p: &std::path::Path| p.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o666);
    assert_eq!(mode(path.parent().unwrap()), 0o755);
    assert!(matches!(bind(&path, 0o666), Err(BindError::InUse { .. })));
    drop(listener);
    bind(&path, 0o660).unwrap();
    assert_eq!(mode(&path), 0o660);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.sock");
    std::fs::write(&path, "mine").unwrap();
    let error = bind(&path, 0o666).unwrap_err();
    assert!(matches!(error, BindError::NotASocket { .. }) && error.to_string().contains("hint:"));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

/// Opens an event stream and waits until it stands.
async fn listen(path: &std::path::Path) -> UnixStream {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut part = [0u8; 1024];
    let n = tokio::time::timeout(PATIENCE, stream.read(&mut part)).await.unwrap().unwrap();
    assert!(part[..n].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&part[..n]));
    stream
}

#[tokio::test]
async fn sixty_four_callers_and_no_more() {
    let server = start(own());
    let mut all = Vec::new();
    for _ in 0..CALLERS {
        all.push(listen(&server.path).await);
    }
    let request = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let (status, json) = split(&server.raw(request, false).await);
    assert_eq!((status, json["code"].as_str()), (503, Some("unavailable")));
    assert!(server.commands.calls().is_empty());
    all.truncate(CALLERS - 1);
    let until_free = async {
        while split(&server.raw(request, false).await).0 != 200 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, until_free).await.unwrap();
}

#[tokio::test]
async fn the_last_places_are_not_for_members_of_a_group() {
    let server = start(Access::new(4_000_000, "root", "none").without_root());
    let mut all = Vec::new();
    for _ in 0..CALLERS - 8 {
        all.push(listen(&server.path).await);
    }
    let request = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    assert_eq!(split(&server.raw(request, false).await).0, 503);
}

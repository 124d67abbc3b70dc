//! The listening socket: made safely, at most 64 callers at a time, none of them forever.
//!
//! Hides stale sockets, peer credentials, permits and the read deadline. Invariants: a socket on
//! which somebody answers is never taken away; a caller who does not finish a request within ten
//! seconds is cut; strangers and group members cannot take the last places from root.

use super::access::Access;
use axum::serve::Listener;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Callers at a time.
pub const CALLERS: usize = 64;
/// Of these, places that only root and the daemon's own uid get.
const RESERVED: usize = 8;
/// What is asked for as a socket's buffer, in bytes; the system gives what it allows.
const SEND: usize = 1 << 20;
/// From the first moment of waiting for a request to its last byte.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the control socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A living daemon has it.
    #[error(
        "opening the control socket {}: another daemon answers there\n\
         hint: stop it (systemctl stop crmsyncd), or choose another --socket", path.display()
    )]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket lies there.
    #[error(
        "opening the control socket {}: a file that is no socket lies there\n\
         hint: move it away, or choose another --socket", path.display()
    )]
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system said no.
    #[error(
        "opening the control socket {}: {what}: {cause}\n\
         hint: look at the folder's owner and mode (ls -ld)", path.display()
    )]
    Io {
        /// The socket.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The cause.
        cause: io::Error,
    },
}

/// Opens the socket with these permissions. Makes its folder (0755) if it is missing; takes a
/// stale socket away, but only when nobody answers on it. Called within a tokio runtime.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, BindError> {
    let io = |what| move |cause| BindError::Io { path: path.to_owned(), what, cause };
    let parents = path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
    let missing: Vec<&Path> = parents.take_while(|p| !p.exists()).collect();
    for folder in missing.into_iter().rev() {
        std::fs::create_dir(folder).map_err(io("making its folder"))?;
        // Set, not asked for: the daemon's umask would keep everybody else out.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))
            .map_err(io("opening its folder"))?;
    }
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) if alive(path).map_err(io("asking who has it"))? => {
            return Err(BindError::InUse { path: path.to_owned() });
        }
        Ok(_) => std::fs::remove_file(path).map_err(io("removing a stale one"))?,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(io("looking at it")(e)),
    }
    let listener = UnixListener::bind(path).map_err(io("binding"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .map_err(io("setting its mode"))?;
    Ok(listener)
}

/// Whether somebody listens. Does not wait: a listener with a full queue is alive.
fn alive(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INPROGRESS) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether a request of this connection is being worked on; counts up at its begin and its end.
#[derive(Debug, Default)]
pub struct Pace(AtomicU64);

/// While this lives, the read deadline rests.
#[derive(Debug)]
pub struct Busy(Arc<Pace>);

impl Pace {
    /// A request has arrived.
    pub fn busy(self: &Arc<Self>) -> Busy {
        self.0.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Who is at the other end.
#[derive(Debug, Clone)]
pub struct Peer {
    /// As the kernel tells.
    pub uid: u32,
    /// Of this connection.
    pub pace: Arc<Pace>,
}

/// The listener with its places.
pub struct Door {
    listener: UnixListener,
    access: Arc<Access>,
    patience: Duration,
    all: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Door {
    /// Nobody is in yet; `patience` is what a caller gets for a whole request.
    pub fn new(listener: UnixListener, access: Arc<Access>, patience: Duration) -> Self {
        let all = Arc::new(Semaphore::new(CALLERS));
        Self { listener, access, patience, all, open: Arc::new(Semaphore::new(CALLERS - RESERVED)) }
    }

    fn places(&self, uid: u32) -> Option<Places> {
        let open = if self.access.is_master(uid) {
            None
        } else {
            Some(Arc::clone(&self.open).try_acquire_owned().ok()?)
        };
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Places { _all: all, _open: open })
    }
}

struct Places {
    _all: OwnedSemaphorePermit,
    _open: Option<OwnedSemaphorePermit>,
}

/// Ready to be sent without waiting: it fits any socket buffer.
const FULL: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n",
    "content-length: 104\r\nretry-after: 1\r\nconnection: close\r\n\r\n",
    r#"{"code":"unavailable","message":"too many callers at a time: 64 at most","hint":"try again in a moment"}"#,
);

impl Listener for Door {
    type Io = Line;
    type Addr = Peer;

    async fn accept(&mut self) -> (Line, Peer) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(e) => {
                    // Out of file descriptors, most likely: give others time to go.
                    tracing::warn!(cause = %e, "accepting a caller of the control socket failed");
                    sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let Ok(uid) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
            let Some(places) = self.places(uid) else {
                // Best effort: who cannot read it sees the connection closed.
                let _ = stream.try_write(FULL.as_bytes());
                continue;
            };
            // A status of a thousand connections in one write: each further one waits for its turn.
            let _ = set_socket_send_buffer_size(&stream, SEND);
            let pace = Arc::new(Pace::default());
            let line = Line {
                stream,
                pace: Arc::clone(&pace),
                patience: self.patience,
                deadline: Box::pin(sleep(self.patience)),
                armed: 0,
                _places: places,
            };
            return (line, Peer { uid, pace });
        }
    }

    fn local_addr(&self) -> io::Result<Peer> {
        Ok(Peer { uid: rustix::process::getuid().as_raw(), pace: Arc::default() })
    }
}

/// One connection.
pub struct Line {
    stream: UnixStream,
    pace: Arc<Pace>,
    patience: Duration,
    deadline: Pin<Box<Sleep>>,
    /// The count of the pace for which the deadline was set.
    armed: u64,
    _places: Places,
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            return read;
        }
        let count = self.pace.0.load(Ordering::Acquire);
        if !count.is_multiple_of(2) {
            return Poll::Pending;
        }
        if self.armed != count {
            self.armed = count;
            let until = Instant::now() + self.patience;
            self.deadline.as_mut().reset(until);
        }
        ready!(self.deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

//! A real PostgreSQL of the test process: made when first needed, ended with the process.
//!
//! A shell stands between: it reads orders from a pipe, and when the pipe breaks, because this
//! process ended in whatever way, it ends the server and removes its folder. Without the server's
//! programs the tests say so and pass, unless `CRMSYNC_TEST_REQUIRE=1`.

use crate::replica::Server;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

const NOBODY: u32 = 65534;

/// `$1` programs, `$2` folder, `$3` port; further words are options of the server.
const KEEPER: &str = r#"
trap "" INT TERM HUP
bin=$1 dir=$2 port=$3; shift 3
"$bin/initdb" -D "$dir/data" -U crmtest -A trust --no-sync -E UTF8 --locale=C.UTF-8 >"$dir/log" 2>&1 || { cat "$dir/log" >&2; exit 1; }
start() {
  "$bin/postgres" -D "$dir/data" -k "$dir" -p "$port" -c listen_addresses= -c max_connections=200 "$@" >>"$dir/log" 2>&1 &
  pid=$!
  n=0
  until "$bin/pg_isready" -q -h "$dir" -p "$port"; do
    n=$((n+1)); [ $n -lt 600 ] || break
    kill -0 $pid 2>/dev/null || break
    sleep 0.05
  done
}
stop() { kill -"$1" $pid 2>/dev/null; wait $pid 2>/dev/null; }
start "$@"
echo done
while read -r order; do
  case $order in
    fast) stop INT ;;
    crash) stop QUIT ;;
    start) start "$@" ;;
  esac
  echo done
done
stop QUIT
rm -rf "$dir"
"#;

/// A server of its own; it ends when this is dropped.
pub(super) struct Postgres {
    pub(super) socket: PathBuf,
    keeper: Mutex<(Child, BufReader<std::process::ChildStdout>)>,
}

fn programs() -> Option<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|d| Some(d.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists() && bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

impl Postgres {
    /// `None` where the server is not installed and need not be.
    pub(super) fn start(options: &[&str]) -> Option<Self> {
        Self::start_at(5432, options)
    }

    /// The same with another port, for one that listens beside its socket.
    #[allow(clippy::disallowed_methods)]
    pub(super) fn start_at(port: u16, options: &[&str]) -> Option<Self> {
        let Some(bin) = programs() else {
            assert!(
                std::env::var_os("CRMSYNC_TEST_REQUIRE").is_none(),
                "PostgreSQL is not installed"
            );
            eprintln!("NOT TESTED: PostgreSQL is not installed");
            return None;
        };
        let dir = tempfile::Builder::new().prefix("crmsync-pg-").tempdir().unwrap().keep();
        let mut keeper = Command::new("/bin/sh");
        keeper.args(["-c", KEEPER, "keeper"]).arg(bin).arg(&dir);
        keeper.arg(port.to_string()).args(options);
        if rustix::process::geteuid().is_root() {
            // The server refuses to run as root.
            give(&dir);
            keeper.uid(NOBODY).gid(NOBODY);
        }
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        keeper.current_dir("/").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = keeper.spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let server = Self { socket: dir, keeper: Mutex::new((child, said)) };
        server.wait();
        Some(server)
    }

    fn wait(&self) {
        let mut line = String::new();
        let mut keeper = self.keeper.lock().unwrap();
        keeper.1.read_line(&mut line).unwrap();
        assert_eq!(line, "done\n", "PostgreSQL did not start: see above");
    }

    /// `fast` and `crash` end the server, `start` starts it again.
    pub(super) fn order(&self, order: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        keeper.0.stdin.as_mut().unwrap().write_all(format!("{order}\n").as_bytes()).unwrap();
        drop(keeper);
        self.wait();
    }

    /// As crmsync is told of it.
    pub(super) fn server(&self) -> Arc<Server> {
        at(&self.socket)
    }
}

/// The server whose socket is in that folder.
pub(super) fn at(socket: &Path) -> Arc<Server> {
    Arc::new(Server {
        host: socket.to_str().unwrap().to_owned(),
        port: 5432,
        database: "postgres".into(),
        user: Some("crmtest".into()),
        tls: false,
        password: None,
        ca_file: None,
        readers: None,
    })
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut keeper = self.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(keeper.0.stdin.take());
        let _ = keeper.0.wait();
    }
}

/// Lets the server own it, where it runs as somebody else.
pub(super) fn give(path: &Path) {
    if rustix::process::geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// The one that most tests share.
pub(super) fn shared() -> Option<&'static Postgres> {
    static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
    SHARED
        .get_or_init(|| Postgres::start(&["-c", "fsync=off", "-c", "shared_buffers=32MB"]))
        .as_ref()
}

/// A client of the test's own.
pub(super) fn client(socket: &Path) -> postgres::Client {
    client_at(socket, 5432)
}

/// The same of a server with another port.
pub(super) fn client_at(socket: &Path, port: u16) -> postgres::Client {
    let mut config = postgres::Config::new();
    config
        .host_path(socket)
        .port(port)
        .user("crmtest")
        .dbname("postgres")
        .connect_timeout(Duration::from_secs(10));
    let mut client = config.connect(postgres::NoTls).expect("a client of the test");
    client.batch_execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'").expect("a session");
    client
}

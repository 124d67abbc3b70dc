//! A session: its settings, statements prepared once, and the waiting for answers.
//!
//! Hides the client library's futures and the runtime that drives them on the caller's thread.
//! Invariants: no wait without an end, whether the server is gone, stopped or frozen in the middle
//! of a statement; a session is set up the same way each time.

use super::fail::{Fail, unavailable};
use super::server::{CONNECTING, Server, Traffic};
use crate::replica::ReplicaError;
use bytes::Bytes;
use futures_util::future::{Fuse, FutureExt};
use futures_util::{SinkExt, pin_mut};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io::ErrorKind::TimedOut;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, CopyInSink, Error, Row, Statement};

const FROZEN: &str = "is the server stopped or overloaded? it is tried again by itself";
/// Encoding and version of the server. In passing it is asked to look, while it works, whether we
/// are still there: what we gave up must not hold its locks to the end. (14 and newer, and not
/// every system has it.)
const ABOUT: &str = "SELECT pg_catalog.current_setting('server_encoding'),
        pg_catalog.current_setting('server_version_num')::int,
        CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 140000
              AND pg_catalog.version() LIKE '%linux%'
          THEN pg_catalog.set_config('client_connection_check_interval', '10s', false) END";
/// Prepared statements kept.
const PREPARED: usize = 64;
/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How long the server is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// For a connection to come up, and for a sign of life.
    pub(super) connect: Duration,
    /// Without an answer to a statement before a sign of life is asked for.
    pub(super) quiet: Duration,
    /// What the server gives an ordinary statement,
    pub(super) statement: Duration,
    /// and one whose length the amount of data sets.
    pub(super) long: Duration,
    /// What comes later than that by so much does not come.
    pub(super) grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            quiet: Duration::from_secs(60),
            statement: Duration::from_mins(10),
            long: Duration::from_hours(6),
            grace: Duration::from_mins(1),
        }
    }
}

/// An open session. Dropped, it ends without a farewell.
pub(super) struct Db {
    client: Client,
    wire: Wire,
    prepared: BTreeMap<String, Statement>,
}

impl Db {
    /// Connects and sets the session up for `schema`. `name` is shown in `pg_stat_activity`.
    pub(super) fn connect(
        server: &Server,
        limits: Limits,
        schema: &str,
        name: &str,
    ) -> Result<Self, ReplicaError> {
        Self::dial(server, limits, schema, name).map_err(|e| e.at(&server.to_string(), CONNECTING))
    }

    fn dial(server: &Server, limits: Limits, schema: &str, name: &str) -> Result<Self, Fail> {
        let driver = Driver::new()?;
        let (client, traffic) = driver.block_on(async {
            timeout(limits.connect, server.dial(name)).await.unwrap_or_else(|_| {
                let cause = format!("it did not answer within {} s", limits.connect.as_secs());
                Err(Fail::Said(unavailable(&server.to_string(), CONNECTING, &cause, FROZEN)))
            })
        })?;
        let traffic = traffic.fuse();
        let wire = Wire { traffic, driver, server: server.clone(), limits, within: limits.connect };
        let mut db = Self { client, wire, prepared: BTreeMap::new() };
        db.begin_session(schema)?;
        db.ordinary();
        Ok(db)
    }

    /// Ends it in order.
    pub(super) fn end(self) {
        let Self { client, wire, .. } = self;
        drop(client);
        let Wire { traffic, driver, .. } = wire;
        let _ = driver.block_on(async { Ok(timeout(FAREWELL, traffic).await) });
    }

    fn begin_session(&mut self, schema: &str) -> Result<(), Fail> {
        // Rows and cursor fall back together if the server crashes, so no commit waits for its
        // disk. Plans are made for the values at hand: a table that was empty when a statement was
        // prepared may have millions of rows now. A run that waits for its source holds a
        // transaction open, and may.
        self.batch(&format!(
            "SET search_path = {}, pg_catalog, pg_temp; SET synchronous_commit = off;
             SET standard_conforming_strings = on; SET TimeZone = 'UTC'; SET DateStyle = 'ISO';
             SET client_min_messages = warning; SET plan_cache_mode = force_custom_plan;
             SET lock_timeout = '10s'; SET statement_timeout = {};
             SET idle_in_transaction_session_timeout = 0; SET default_transaction_read_only = off;",
            super::quoted(schema),
            self.wire.limits.statement.as_millis(),
        ))?;
        let row = self.wire.wait(self.client.query_one(ABOUT, &[]))?;
        let (encoding, version): (String, i32) = (row.get(0), row.get(1));
        let refused = |cause: String, hint: &str| {
            Err(Fail::Said(unavailable("the database", CONNECTING, &cause, hint)))
        };
        if encoding != "UTF8" {
            let cause = format!("its encoding is {encoding}");
            return refused(
                cause,
                "make the database anew: createdb --encoding UTF8 --template template0 NAME",
            );
        }
        if version < 120_000 {
            return refused(
                format!("its version is {version}"),
                "PostgreSQL 12 or newer is needed",
            );
        }
        Ok(())
    }

    /// Begins a transaction of ordinary statements.
    pub(super) fn begin(&mut self) -> Result<(), Fail> {
        self.ordinary();
        // Not READ WRITE: the session's default is that, and a standby has to refuse by a code that
        // means nothing else.
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED")
    }

    fn ordinary(&mut self) {
        self.wire.within = self.wire.limits.statement + self.wire.limits.grace;
    }

    /// The rest of the transaction may take as long as its data does.
    pub(super) fn take_long(&mut self) -> Result<(), Fail> {
        let Limits { long, grace, .. } = self.wire.limits;
        self.wire.within = long + grace;
        self.batch(&format!("SET LOCAL statement_timeout = {}", long.as_millis()))
    }

    fn prepare(&mut self, sql: &str) -> Result<Statement, Fail> {
        if let Some(statement) = self.prepared.get(sql) {
            return Ok(statement.clone());
        }
        if self.prepared.len() >= PREPARED {
            self.prepared.clear();
        }
        let statement = self.wire.wait(self.client.prepare(sql))?;
        self.prepared.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// After tables changed.
    pub(super) fn unprepare(&mut self) {
        self.prepared.clear();
    }

    pub(super) fn query(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fail> {
        let statement = self.prepare(sql)?;
        self.wire.wait(self.client.query(&statement, params))
    }

    pub(super) fn execute(
        &mut self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Fail> {
        let statement = self.prepare(sql)?;
        self.wire.wait(self.client.execute(&statement, params))
    }

    /// A count.
    pub(super) fn count(&mut self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Fail> {
        let statement = self.prepare(sql)?;
        let n: i64 = self.wire.wait(self.client.query_one(&statement, params))?.get(0);
        Ok(u64::try_from(n).unwrap_or(0))
    }

    /// Begins a copy into a table.
    pub(super) fn copy_in(&mut self, sql: &str) -> Result<CopyIn<'_>, Fail> {
        let statement = self.prepare(sql)?;
        let sink = self.wire.wait(self.client.copy_in(&statement))?;
        Ok(CopyIn { sink: Box::pin(sink), wire: &mut self.wire })
    }

    /// Statements without parameters or rows.
    pub(super) fn batch(&mut self, sql: &str) -> Result<(), Fail> {
        self.wire.wait(self.client.batch_execute(sql))
    }
}

/// A copy that is under way; dropped before it is finished, nothing of it stays.
pub(super) struct CopyIn<'a> {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    wire: &'a mut Wire,
}

impl CopyIn<'_> {
    pub(super) fn write(&mut self, rows: &[u8]) -> Result<(), Fail> {
        self.wire.wait(self.sink.send(Bytes::copy_from_slice(rows)))
    }

    pub(super) fn finish(mut self) -> Result<(), Fail> {
        self.wire.wait(self.sink.as_mut().finish()).map(drop)
    }
}

/// What carries the session's messages.
struct Wire {
    traffic: Fuse<Traffic>,
    driver: Driver,
    /// Asked for a sign of life when an answer is long in coming.
    server: Server,
    limits: Limits,
    /// For the statements of now.
    within: Duration,
}

impl Wire {
    /// Waits for an answer, as long as the server may still give one. One that does not come is
    /// the end of the session: whoever asks again is told so at once.
    fn wait<T>(&mut self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, Fail> {
        let Self { traffic, driver, server, limits, within } = self;
        let waited = driver.block_on(async {
            let answer = answered(traffic, answer);
            pin_mut!(answer);
            let mut left = *within;
            while !left.is_zero() {
                let pause = limits.quiet.min(left);
                if let Ok(answer) = timeout(pause, &mut answer).await {
                    return answer.map_err(Fail::Sql);
                }
                left -= pause;
                // Long work and a frozen server look alike from here; not so to somebody new.
                tokio::select! {
                    answer = &mut answer => return answer.map_err(Fail::Sql),
                    there = server.answers(limits.connect) => if !there {
                        return Err(late("the server has stopped answering"));
                    }
                }
            }
            Err(late(&format!("no answer to a statement within {} s", within.as_secs())))
        });
        if matches!(waited, Err(Fail::Io(_))) {
            driver.end();
        }
        waited
    }
}

fn late(cause: &str) -> Fail {
    Fail::Io(std::io::Error::new(TimedOut, cause))
}

/// The answer, while the traffic is kept going; or why that broke.
async fn answered<T>(
    traffic: &mut Fuse<Traffic>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    pin_mut!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(Err(error)) = traffic.poll_unpin(cx) {
            return Poll::Ready(Err(error));
        }
        answer.as_mut().poll(cx)
    })
    .await
}

/// A runtime that works while somebody blocks on it. Dropped, it waits for nothing, not even for
/// the look-up of a name, and so may be dropped anywhere.
struct Driver(Option<Runtime>);

impl Driver {
    fn new() -> std::io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    fn block_on<T>(&self, work: impl Future<Output = Result<T, Fail>>) -> Result<T, Fail> {
        match &self.0 {
            Some(runtime) => runtime.block_on(work),
            None => Err(super::lost()),
        }
    }

    fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.end();
    }
}

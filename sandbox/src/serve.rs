//! `crmsync-sandbox serve`: from the options to a running sandbox, and its end.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use jiff::SignedDuration;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::bulk::Bulk;
use crate::calls::CallLog;
use crate::clock::Clock;
use crate::data::{GenSpec, IdOrder, Org, RowOrder};
use crate::faults::Faults;
use crate::meter::Meter;
use crate::oauth::grants::Grants;
use crate::rest::cursors::Cursors;
use crate::rest::system_rows;
use crate::sandbox::{App, Sandbox, World, next_second, org_id18};
use crate::server;
use crate::users::{PASSWORD, Users};

/// The redirect address the default app is registered with.
const REDIRECT: &str = "http://localhost:17817/oauth/cb/salesforce";
/// What there is when neither `--records` nor `--data` says otherwise.
const RECORDS: [(&str, u64); 4] =
    [("Account", 200), ("Contact", 300), ("Lead", 100), ("Opportunity", 150)];

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Address for HTTP; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Address for HTTPS; needs a certificate and its key.
    #[arg(long, requires = "tls_cert", requires = "tls_key")]
    tls_listen: Option<SocketAddr>,
    /// Certificate chain, PEM.
    #[arg(long, requires = "tls_listen")]
    tls_cert: Option<PathBuf>,
    /// Private key, PEM.
    #[arg(long, requires = "tls_listen")]
    tls_key: Option<PathBuf>,
    /// Records to make up, as `Account=10000`; may be repeated.
    #[arg(long, value_parser = records)]
    records: Vec<(String, u64)>,
    /// The order of the made-up ids against the order of creation.
    #[arg(long, default_value = "ascending", value_parser = ["ascending", "shuffled"])]
    order: String,
    /// The same seed makes up the same data.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder with recorded describes and records to serve.
    #[arg(long)]
    data: Option<PathBuf>,
    /// API calls in 24 hours.
    #[arg(long, default_value_t = 15_000)]
    quota_max: u64,
    /// MiB of memory for the results of finished Bulk jobs; what does not fit is written anew for
    /// each page.
    #[arg(long, default_value_t = 1_536)]
    bulk_memory: usize,
    /// The order of rows in the results of Bulk jobs without ORDER BY.
    #[arg(long, default_value = "scrambled", value_parser = ["scrambled", "created"])]
    bulk_order: String,
    /// Rotate refresh tokens.
    #[arg(long)]
    rotate: bool,
    /// What `instance_url` and `id` say; by default the HTTP address.
    #[arg(long)]
    public_url: Option<String>,
    /// Client id of the registered app.
    #[arg(long, default_value = "3MVG9sandboxClient")]
    client_id: String,
    /// Client secret of the registered app.
    #[arg(long, default_value = "sandbox-client-secret")]
    client_secret: String,
    /// Let the app exchange and refresh without its secret.
    #[arg(long)]
    public_client: bool,
    /// A further registered redirect address; may be repeated.
    #[arg(long)]
    redirect: Vec<String>,
    /// Seconds an access token lives; by default until it is revoked.
    #[arg(long)]
    token_life: Option<u32>,
    /// Id of the org, 15 or 18 characters.
    #[arg(long, default_value = "00DSB0000000001")]
    org_id: String,
}

fn records(text: &str) -> Result<(String, u64), String> {
    let (object, count) =
        text.split_once('=').ok_or("expected OBJECT=NUMBER, as in Account=10000")?;
    let count = count.parse().map_err(|_| format!("'{count}' is no number of records"))?;
    Ok((object.to_owned(), count))
}

/// Serves until a signal.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    // Both before anything is announced: a signal in between must not be lost.
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("listening on {}", options.listen))?;
    let http = format!("http://{}", listener.local_addr()?);
    let tls = match (options.tls_listen, &options.tls_cert, &options.tls_key) {
        (Some(address), Some(cert), Some(key)) => {
            let acceptor = server::acceptor(cert, key)?;
            let listener = TcpListener::bind(address)
                .await
                .with_context(|| format!("listening on {address}"))?;
            Some((listener, acceptor))
        }
        _ => None,
    };
    let https = tls
        .as_ref()
        .map(|(listener, _)| listener.local_addr().map(|at| format!("https://{at}")))
        .transpose()?;
    let sandbox = build(&options, &http)?;
    let ready = {
        let world = sandbox.world();
        let user = world.users.all().next().map(|user| user.username.clone());
        json!({
            "http": http, "https": https, "org_id": world.org_id,
            "client_id": world.app.client_id, "client_secret": world.app.client_secret,
            "redirect_uri": world.app.redirects.first(),
            "user": user, "password": PASSWORD, "pid": std::process::id(),
        })
    };
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{ready}").context("printing the ready line")?;
        out.flush().context("printing the ready line")?;
    }
    let plain = server::serve_http(Arc::clone(&sandbox), listener);
    let secure = async {
        match tls {
            Some((listener, acceptor)) => {
                server::serve_https(Arc::clone(&sandbox), listener, acceptor).await
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        never = plain => match never {},
        never = secure => match never {},
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Makes the data up or loads it, and everything around it.
pub(crate) fn build(options: &Options, http: &str) -> anyhow::Result<Arc<Sandbox>> {
    let clock = Clock::default();
    let now = clock.now();
    let org_id = org_id18(&options.org_id);
    ensure!(
        org_id.is_some(),
        "--org-id {} is no org id\nhint: 00D and 15 or 18 letters and digits in all",
        options.org_id
    );
    let users = Users::new(now);
    let mut records = options.records.clone();
    if records.is_empty() && options.data.is_none() {
        records = RECORDS.map(|(name, n)| (name.to_owned(), n)).to_vec();
    }
    let base_time = now.checked_sub(SignedDuration::from_hours(1)).context("reading the clock")?;
    let mut org = Org::generate(&GenSpec {
        records,
        seed: options.seed,
        order: match options.order.as_str() {
            "shuffled" => IdOrder::Shuffled,
            _ => IdOrder::Ascending,
        },
        base_time,
        users: users.all().map(|user| user.id.clone()).collect(),
    });
    if let Some(folder) = &options.data {
        let report = org
            .load_dir(folder)
            .with_context(|| format!("loading the recorded data in {}", folder.display()))?;
        let mut out = std::io::stderr().lock();
        for line in report {
            // Who closed stderr does not want to know.
            let _ = writeln!(out, "{line}");
        }
    }
    let run_as = users.all().next().map(|user| user.username.clone());
    let mut redirects = vec![REDIRECT.to_owned()];
    redirects.extend(options.redirect.iter().cloned());
    let world = World {
        org_id: org_id.unwrap_or_default(),
        public_url: options.public_url.as_deref().unwrap_or(http).trim_end_matches('/').to_owned(),
        app: App {
            client_id: options.client_id.clone(),
            client_secret: options.client_secret.clone(),
            redirects,
            require_secret: !options.public_client,
            run_as,
            blocked: false,
            installed: true,
            admin_approved_only: false,
        },
        users,
        grants: Grants::new(options.rotate, options.token_life.map(i64::from)),
        meter: Meter::new(options.quota_max),
        calls: CallLog::default(),
        faults: Faults::default(),
        cursors: Cursors::default(),
        bulk: Bulk::new(
            options.bulk_memory.saturating_mul(1 << 20),
            if options.bulk_order == "created" { RowOrder::Created } else { RowOrder::Scrambled },
        ),
        org_inactive: false,
        ip_restricted: false,
        page_size: None,
        per_app_usage: false,
        app_used: 0,
        schema_changed: next_second(now),
        logins: Vec::new(),
    };
    let sandbox = Sandbox::new(clock, org, world);
    system_rows::put(&sandbox);
    Ok(sandbox)
}

//! Where the daemon's log goes: the journal with structured fields when systemd listens, else
//! stderr. Levels: `CRMSYNC_LOG` (a tracing filter), `info` by default.
//!
//! Invariant: bodies of foreign calls are never logged; libraries that would are capped at `info`
//! whatever the filter says.

use super::env;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Libraries that print requests, headers or mails at their lower levels.
const CAPPED: [&str; 9] = [
    "reqwest",
    "hyper",
    "hyper_util",
    "h2",
    "rustls",
    "oauth2",
    "lettre",
    "tower",
    "rustls_platform_verifier",
];

/// Starts logging. Call once.
pub fn start() {
    let wish = env::variable("CRMSYNC_LOG").unwrap_or_else(|| "info".into());
    let mut filter =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(&wish);
    // Says at `info` what is nobody's news.
    if let Ok(directive) = "tokio_cron_scheduler=warn".parse() {
        filter = filter.add_directive(directive);
    }
    for name in CAPPED {
        if let Ok(directive) = format!("{name}=info").parse() {
            filter = filter.add_directive(directive);
        }
    }
    // Only a service writes to the journal: a daemon in a terminal is read in that terminal.
    let journal = env::variable("JOURNAL_STREAM").and_then(|_| journal_layer());
    let stderr = journal.is_none().then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(false)
    });
    let set = Registry::default().with(filter).with(journal).with(stderr).try_init();
    if set.is_err() {
        tracing::debug!("logging was started before");
    }
}

fn journal_layer() -> Option<impl Layer<Registry2> + Send + Sync> {
    use tracing_journald::{Priority, PriorityMappings};
    let layer = tracing_journald::layer().ok()?;
    Some(layer.with_field_prefix(Some("CRMSYNC".into())).with_priority_mappings(PriorityMappings {
        error: Priority::Error,
        warn: Priority::Warning,
        info: Priority::Informational,
        debug: Priority::Debug,
        trace: Priority::Debug,
    }))
}

type Registry2 = tracing_subscriber::layer::Layered<EnvFilter, Registry>;

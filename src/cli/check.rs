//! `check`: the configuration as the daemon would read it, without the daemon.

use super::Ctx;
use super::error::{BAD_CONFIG, CliError, DONE};
use super::output;
use crate::control::protocol::SCHEMA_VERSION;
use crate::daemon::configuration::{self, ReadError};
use crate::daemon::env;
use crate::provider;
use crmsync_core::config::{Checked, Report};
use crmsync_core::domain::CredentialKind;
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

pub(super) fn run(ctx: &Ctx, dir: &Path) -> Result<u8, CliError> {
    let loaded = match configuration::load(dir, &env::config_variables()) {
        Ok(loaded) => loaded,
        Err(e) => return unread(ctx, &e),
    };
    if ctx.json {
        let (report, callbacks) = match &loaded.result {
            Ok(checked) => {
                let report = Report { findings: checked.warnings.clone(), left_out: 0 };
                (report, callbacks(checked))
            }
            Err(report) => (report.clone(), Vec::new()),
        };
        let callbacks: Vec<_> =
            callbacks.iter().map(|(name, url)| json!({"connection": name, "url": url})).collect();
        super::json(&json!({
            "schema": SCHEMA_VERSION,
            "good": loaded.result.is_ok(),
            "report": report.to_json(),
            "callbacks": callbacks,
        }))?;
        return Ok(if loaded.result.is_ok() { DONE } else { BAD_CONFIG });
    }
    match &loaded.result {
        Ok(checked) => {
            output::out(&render(dir, checked))?;
            Ok(DONE)
        }
        Err(report) => {
            // The report is what was asked for: data.
            output::out(&report.render(false))?;
            Ok(BAD_CONFIG)
        }
    }
}

fn unread(ctx: &Ctx, error: &ReadError) -> Result<u8, CliError> {
    if ctx.json {
        let text = error.to_string();
        super::json(&json!({ "schema": SCHEMA_VERSION, "good": false, "error": text }))?;
    }
    output::err(&format!("error: {error}"));
    Ok(BAD_CONFIG)
}

pub(super) fn render(dir: &Path, checked: &Checked) -> String {
    let mut out = String::new();
    if !checked.warnings.is_empty() {
        let report = Report { findings: checked.warnings.clone(), left_out: 0 };
        let _ = writeln!(out, "{}", report.render(false));
    }
    let n = checked.settings.connections.len();
    let plural = if n == 1 { "" } else { "s" };
    let _ = writeln!(out, "{}: good, {n} connection{plural}", dir.display());
    let callbacks = callbacks(checked);
    if !callbacks.is_empty() {
        out.push_str("\nregister at the vendor as callback address, exactly so:\n");
    }
    for (name, url) in callbacks {
        let _ = writeln!(out, "  {name}: {url}");
    }
    out
}

/// For each connection that a person authorizes in a browser, where the browser comes back to.
fn callbacks(checked: &Checked) -> Vec<(String, String)> {
    let connections = checked.settings.connections.iter();
    let by_code = connections.filter(|(_, c)| c.auth == CredentialKind::Code);
    let url = |c: &crmsync_core::config::settings::Connection| {
        let fixed = provider::spec(&c.provider).and_then(|spec| spec.callback);
        c.callback_url.clone().or_else(|| fixed.map(str::to_owned))
    };
    by_code.filter_map(|(name, c)| Some((name.to_string(), url(c)?))).collect()
}

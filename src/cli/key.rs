//! `key init` and `key status`.

use super::Ctx;
use super::error::{CliError, DONE};
use super::output::{self, View, line};
use crate::control::client::Url;
use crate::control::protocol::{KeyStatus, SCHEMA_VERSION};
use crate::daemon::{configuration, env};
use crate::store::vault::{move_key, systemd_steps};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub(super) async fn status(ctx: &Ctx) -> Result<u8, CliError> {
    let answer = ctx.client.get::<KeyStatus>(&Url::new(&["v1", "key"])).await?;
    ctx.show(&answer, render)?;
    Ok(DONE)
}

pub(super) fn render(key: &KeyStatus, _: &View) -> String {
    let id = if key.id.is_empty() { "none".to_owned() } else { line(&key.id) };
    let mut out = format!("key {id}, from: {}\n", line(&key.source));
    let _ = writeln!(out, "  place   {}", line(&key.path));
    let _ = writeln!(out, "  seals   {} secrets", key.sealed);
    if !key.warning.is_empty() {
        let _ = writeln!(out, "  warning {}", line(&key.warning));
    }
    match key.source.as_str() {
        "state folder" => out.push_str("  next: crmsync key init\n"),
        "missing" | "wrong" => out.push_str(
            "  next: put the right key back and restart crmsyncd; if it is lost, remove nothing,\n  \
             and authorize each connection again: crmsync reauthorize NAME\n",
        ),
        _ => {}
    }
    out
}

/// Moves the key where that was asked for, and prints what root types next. Needs no daemon.
pub(super) fn init(
    ctx: &Ctx,
    target: Option<PathBuf>,
    config: &Path,
    state_dir: Option<PathBuf>,
) -> Result<u8, CliError> {
    let state_dir = match state_dir {
        Some(dir) => dir,
        None => configured(config)?,
    };
    let from = state_dir.join("master.key");
    if let Err(e) = from.symlink_metadata() {
        let message = format!("looking for the key in {}: {e}", from.display());
        let hint = "run it as root; is the key a systemd credential already? crmsync key status";
        return Err(CliError::here(message, hint));
    }
    let moved = match target {
        Some(target) => {
            let hint = "the key is where it was; name a file that does not exist yet";
            move_key(&state_dir, &target).map_err(|e| CliError::here(e.to_string(), hint))?;
            Some(target)
        }
        None => None,
    };
    let key_file = moved.as_deref().unwrap_or(&from);
    let encrypted = Path::new("/usr/bin/systemd-creds").exists();
    let steps = systemd_steps(key_file, encrypted);
    if ctx.json {
        let moved = moved.as_deref().map(Path::display).map(|p| p.to_string());
        super::json(&serde_json::json!({
            "schema": SCHEMA_VERSION,
            "key": key_file.display().to_string(),
            "moved_to": moved,
            "steps": steps,
        }))?;
        return Ok(DONE);
    }
    let lies = if moved.is_some() { "was moved to" } else { "lies in" };
    output::err(&format!("the key {lies} {}; type as root, line by line:", key_file.display()));
    output::out(&steps.join("\n"))?;
    Ok(DONE)
}

fn configured(config: &Path) -> Result<PathBuf, CliError> {
    let hint = "name the state folder: --state-dir /var/lib/crmsync";
    let loaded = configuration::load(config, &env::config_variables())
        .map_err(|e| CliError::here(e.to_string(), hint))?;
    let checked = loaded.result.map_err(|_| {
        let message = "looking for the state folder: the configuration has mistakes";
        CliError::here(message, "crmsync check; or name the folder: --state-dir DIR")
    })?;
    Ok(checked.settings.daemon.state_dir)
}

//! `log`: the runs of a connection, the story of one, and runs as they come.

use super::error::{CliError, DONE};
use super::output::{View, line, number, span};
use super::{Ctx, output, status, sync};
use crate::control::client::Url;
use crate::control::envelope::Runs;
use crate::control::protocol::{Event, RunLine};
use std::fmt::Write as _;

pub(super) async fn list(
    ctx: &Ctx,
    name: &str,
    limit: usize,
    follow: bool,
) -> Result<u8, CliError> {
    let url = super::connection(name, &["runs"])?.with("limit", Some(limit.to_string()));
    let mut events = if follow { Some(ctx.client.events().await?) } else { None };
    let answer = ctx.client.get::<Runs>(&url).await?;
    ctx.show(&answer, |r, view| render(name, &r.runs, view))?;
    let Some(events) = &mut events else { return Ok(DONE) };
    loop {
        let Some(event) = events.next().await? else {
            let message = format!("following the runs of {name}: the daemon stops");
            return Err(CliError::here(message, "systemctl status crmsyncd"));
        };
        match &event {
            Event::RunStarted { connection, .. } | Event::Progress { connection, .. }
                if connection != name => {}
            Event::RunEnded(run) if run.connection != name => {}
            Event::RunStarted { .. } | Event::RunEnded(_) if ctx.json => {
                let json = serde_json::to_value(&event).unwrap_or_default();
                let schema = crate::control::protocol::SCHEMA_VERSION;
                output::out(&serde_json::json!({ "schema": schema, "event": json }).to_string())?;
            }
            Event::RunStarted { run, .. } => output::out(&format!("{name}: syncing (run {run})"))?,
            Event::RunEnded(run) => output::out(&sync::outcome(run, &ctx.view))?,
            Event::Missed { count } => {
                output::err(&format!("{count} events were missed: see crmsync log {name}"));
            }
            Event::Progress { .. }
            | Event::Status(_)
            | Event::Notice(_)
            | Event::Reloaded { .. } => {}
        }
    }
}

pub(super) fn render(name: &str, runs: &[RunLine], view: &View) -> String {
    if runs.is_empty() {
        return format!("{name}: no run yet\n");
    }
    // The newest stands last, as in every log.
    let runs: Vec<RunLine> = runs.iter().rev().cloned().collect();
    status::runs(&runs, view)
}

pub(super) async fn story(ctx: &Ctx, id: &str) -> Result<u8, CliError> {
    let answer = ctx.client.get::<RunLine>(&Url::new(&["v1", "runs", id])).await?;
    ctx.show(&answer, render_story)?;
    Ok(DONE)
}

pub(super) fn render_story(run: &RunLine, view: &View) -> String {
    let mut out = format!("{} (run {})\n", run.connection, run.id);
    let ended = run.ended.map_or("still running".to_owned(), |t| view.at_zone(t));
    let took = span(run.started, run.ended.unwrap_or(view.now));
    let _ = writeln!(out, "  started  {}", view.at_zone(run.started));
    let _ = writeln!(out, "  ended    {ended} ({took})");
    let _ = writeln!(out, "  outcome  {}", line(&run.outcome));
    let (read, changed) = (number(run.read), number(run.changed));
    let (deleted, calls) = (number(run.deleted), number(run.calls));
    let _ = writeln!(
        out,
        "  rows     {read} read, {changed} changed, {deleted} deleted; {calls} calls"
    );
    if run.repeated > 1 {
        let _ = writeln!(out, "  and {} more like it, without any change", run.repeated - 1);
    }
    if !run.lines.is_empty() {
        out.push('\n');
    }
    for text in &run.lines {
        let _ = writeln!(out, "  {}", line(text));
    }
    out
}

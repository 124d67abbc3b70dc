//! `sync`: run now; with `--follow` to the end, with a bar on a terminal and plain lines elsewhere.

use super::error::{CliError, DONE, FAILED, NEEDS_AUTHORIZATION};
use super::output::{View, line, number, span};
use super::{Ctx, command, output};
use crate::control::client::{Answer, ClientError, Url};
use crate::control::envelope::Versioned;
use crate::control::protocol::{ConnectionDetail, Event, RefusalCode, RunLine, SyncRequest};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::Duration;

pub(super) async fn run(ctx: &Ctx, args: command::Sync) -> Result<u8, CliError> {
    let url = super::connection(&args.name, &["sync"])?;
    let request =
        SyncRequest { objects: args.objects, full: args.full, despite_quota: args.despite_quota };
    if !args.follow {
        let answer = ctx.client.post::<RunLine>(&url, &request).await?;
        ctx.show(&answer, started)?;
        return Ok(DONE);
    }
    // Listening before asking: no event of the run can be missed.
    let mut events = ctx.client.events().await?;
    let begun = ctx.client.post::<RunLine>(&url, &request).await?.value;
    let mut shown = Shown::new(&begun);
    let mut waiting = begun.outcome == "waiting";
    let ended = loop {
        match events.next().await? {
            Some(Event::Progress { run, object, rows, expected, calls, .. }) if run == begun.id => {
                shown.progress(&object, rows, expected, calls);
            }
            Some(Event::RunEnded(ended)) if ended.id == begun.id => break ended,
            Some(Event::RunStarted { run, .. }) if run == begun.id => waiting = false,
            // The run before ended in a way that lets none follow.
            Some(Event::Status(now))
                if waiting && now.name == begun.connection && now.status != "Active" =>
            {
                let message = format!(
                    "following the next run of {}: it did not begin: {}: {}",
                    now.name, now.status, now.reason
                );
                return Err(CliError::here(message, now.hint));
            }
            // Too slow, or the next run is on already: the log tells how ours ended.
            Some(Event::Missed { .. }) => {
                if let Some(ended) = look(ctx, &begun.id).await? {
                    break ended;
                }
            }
            Some(Event::RunStarted { connection, run })
                if connection == begun.connection && run != begun.id =>
            {
                if let Some(ended) = look(ctx, &begun.id).await? {
                    break ended;
                }
            }
            None => {
                if let Some(ended) = look(ctx, &begun.id).await? {
                    break ended;
                }
                let message =
                    format!("following the run of {}: the daemon stops", begun.connection);
                let hint =
                    format!("systemctl status crmsyncd, then crmsync log {}", begun.connection);
                return Err(CliError::here(message, hint));
            }
            Some(
                Event::Progress { .. }
                | Event::RunEnded(_)
                | Event::Status(_)
                | Event::RunStarted { .. }
                | Event::Notice(_)
                | Event::Reloaded { .. },
            ) => {}
        }
    };
    shown.end();
    let json = serde_json::to_value(Versioned::new(ended.clone())).unwrap_or_default();
    let ended = Answer { json, value: ended };
    ctx.show(&ended, outcome)?;
    if ended.value.outcome == "done" {
        return Ok(DONE);
    }
    let detail = ctx.client.get::<ConnectionDetail>(&super::connection(&args.name, &[])?).await?;
    let status = detail.value.status;
    if !status.hint.is_empty() {
        output::err(&format!("hint: {}", line(&status.hint)));
    }
    Ok(if status.needs_authorization { NEEDS_AUTHORIZATION } else { FAILED })
}

/// The run in the log, once it has ended; its name of while it ran finds it there.
async fn look(ctx: &Ctx, id: &str) -> Result<Option<RunLine>, CliError> {
    match ctx.client.get::<RunLine>(&Url::new(&["v1", "runs", id])).await {
        Ok(answer) => Ok(Some(answer.value).filter(|run| run.ended.is_some())),
        Err(ClientError::Refused(why)) if why.code == RefusalCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn started(run: &RunLine, _: &View) -> String {
    let (name, id) = (&run.connection, &run.id);
    format!("{name}: syncing (run {id})\n  next: crmsync log {name}, crmsync status {name}\n")
}

pub(super) fn outcome(run: &RunLine, view: &View) -> String {
    format!(
        "{}: {} in {}: {} rows read, {} changed, {} deleted, {} calls\n",
        run.connection,
        line(&run.outcome),
        span(run.started, run.ended.unwrap_or(view.now)),
        number(run.read),
        number(run.changed),
        number(run.deleted),
        number(run.calls)
    )
}

/// What a person sees meanwhile, on stderr.
struct Shown {
    name: String,
    bar: Option<ProgressBar>,
    objects: BTreeMap<String, (u64, Option<u64>)>,
}

impl Shown {
    fn new(run: &RunLine) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar.set_message(format!("{}: syncing", run.connection));
            bar
        });
        if bar.is_none() {
            output::err(&format!("{}: syncing (run {})", run.connection, run.id));
        }
        Self { name: run.connection.clone(), bar, objects: BTreeMap::new() }
    }

    fn progress(&mut self, object: &str, rows: u64, expected: Option<u64>, calls: u64) {
        self.objects.insert(object.to_owned(), (rows, expected));
        let of = expected.map(|n| format!(" of {}", number(n))).unwrap_or_default();
        let text = format!("{}: {}{of} rows, {} calls", line(object), number(rows), number(calls));
        let Some(bar) = &self.bar else {
            output::err(&text);
            return;
        };
        let done: u64 = self.objects.values().map(|(rows, _)| rows).sum();
        let whole: Option<u64> = self.objects.values().map(|(_, expected)| *expected).sum();
        let template =
            if whole.is_some() { "{msg} [{bar:30}] {percent} %" } else { "{msg} {spinner}" };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("## "));
        }
        if let Some(whole) = whole {
            bar.set_length(whole.max(done));
        }
        bar.set_position(done);
        bar.set_message(format!("{}: {text}", self.name));
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

//! `status`: the table, and everything about one connection.

use super::error::{CliError, DONE, NEEDS_AUTHORIZATION};
use super::output::{View, line, number, span, table};
use super::{Ctx, notices};
use crate::control::client::Url;
use crate::control::protocol::{
    ConnectionDetail, ConnectionStatus, JobStatus, Line, ObjectStatus, ProofStatus, QuotaStatus,
    RunLine, StatusReply,
};
use std::fmt::Write as _;

pub(super) async fn run(ctx: &Ctx, name: Option<String>, all: bool) -> Result<u8, CliError> {
    let Some(name) = name else {
        let url = Url::new(&["v1", "status"]).flag("all", all);
        let answer = ctx.client.get(&url).await?;
        ctx.show(&answer, render)?;
        return Ok(DONE);
    };
    let answer = ctx.client.get::<ConnectionDetail>(&super::connection(&name, &[])?).await?;
    ctx.show(&answer, render_detail)?;
    let dead = answer.value.status.needs_authorization;
    Ok(if dead { NEEDS_AUTHORIZATION } else { DONE })
}

pub(super) fn render(reply: &StatusReply, view: &View) -> String {
    let d = &reply.daemon;
    let started = view.at_zone(d.started);
    let mut out = format!(
        "crmsyncd {} (pid {}) since {started}: {}\n",
        line(&d.version),
        d.pid,
        line(&d.summary)
    );
    for warning in &d.warnings {
        let _ = writeln!(out, "warning: {}", line(warning));
    }
    out.push('\n');
    out.push_str(&lines(&reply.connections, view));
    out
}

/// The table, and under it what is to be done.
pub(super) fn lines(connections: &[Line], view: &View) -> String {
    if connections.is_empty() {
        return "no connections are configured\n\
                next: write one into /etc/crmsync/conf.d, then crmsync check\n"
            .to_owned();
    }
    let header = ["CONNECTION", "STATUS", "REASON", "SINCE", "CAUGHT UP TO", "ROWS", "NEXT RUN"];
    let rows = connections.iter().map(|c| {
        vec![
            if c.retired { format!("{} (retired)", c.name) } else { c.name.clone() },
            c.status.clone(),
            c.reason.clone(),
            view.at(c.since),
            view.maybe(c.caught_up_to),
            number(c.rows),
            view.maybe(c.next_run),
        ]
    });
    let mut out = table(&header, &[5], rows.collect());
    let told: Vec<&Line> =
        connections.iter().filter(|c| !c.detail.is_empty() || !c.hint.is_empty()).collect();
    if !told.is_empty() {
        out.push('\n');
    }
    for c in told {
        let what = if c.detail.is_empty() { &c.reason } else { &c.detail };
        let _ = writeln!(out, "{}: {}", c.name, line(what));
        if !c.hint.is_empty() {
            let _ = writeln!(out, "  next: {}", line(&c.hint));
        }
    }
    out
}

/// One connection in a line or two, after a change.
pub(super) fn one(c: &ConnectionStatus, view: &View) -> String {
    let mut out =
        format!("{}: {}: {}, since {}\n", c.name, c.status, line(&c.reason), view.at_zone(c.since));
    if !c.detail.is_empty() {
        let _ = writeln!(out, "  {}", line(&c.detail));
    }
    if !c.hint.is_empty() {
        let _ = writeln!(out, "  next: {}", line(&c.hint));
    }
    out
}

pub(super) fn render_detail(d: &ConnectionDetail, view: &View) -> String {
    let c = &d.status;
    let mut out = format!("{} ({})\n", c.name, line(&c.provider));
    let mut fact = |key: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {key:<11} {}", line(&value));
        }
    };
    let retired = if c.retired { " (retired: no longer in the configuration)" } else { "" };
    let since = view.at_zone(c.since);
    fact("status", format!("{}: {}, since {since}{retired}", c.status, c.reason));
    fact("why", c.detail.clone());
    fact("next", c.hint.clone());
    let caught = c.caught_up_to.map_or("not yet".to_owned(), |t| view.at_zone(t));
    let deletes = c.deletes_to.map(|t| format!(", deletes to {}", view.at_zone(t)));
    fact("caught up", format!("{caught}{}", deletes.unwrap_or_default()));
    let next = c.next_run.map_or("none".to_owned(), |t| view.at_zone(t));
    fact("next run", format!("{next} ({})", d.schedule));
    fact("org", d.org.clone().unwrap_or_default());
    fact("account", d.account.clone().unwrap_or_default());
    fact("address", d.address.clone().unwrap_or_default());
    fact("replica", format!("{} ({} rows)", d.replica, number(c.rows)));
    fact("mails to", d.admins.join(", "));
    fact("created", view.at_zone(d.created));
    let by = if d.modified_by.is_empty() { "" } else { " by " };
    fact("modified", format!("{}{by}{}", view.at_zone(d.modified), d.modified_by));
    if let Some(q) = &d.quota {
        fact("quota", quota(q, view));
    }
    if let Some(r) = &d.request {
        fact(
            "request",
            format!("{}: {}, {}, since {}", r.id, r.reason, r.state, view.at_zone(r.opened)),
        );
        fact("", r.detail.clone());
        if r.state == "awaiting confirmation" {
            fact(
                "",
                format!("crmsync reauthorize confirm {0} | crmsync reauthorize reject {0}", r.id),
            );
        }
    }
    out.push('\n');
    out.push_str(&objects(&c.name, &d.objects, view));
    if !d.runs.is_empty() {
        out.push_str("\nlast runs\n");
        out.push_str(&runs(&d.runs, view));
    }
    if !d.notices.is_empty() {
        out.push_str("\nopen notices\n");
        out.push_str(&notices::render(&d.notices, view));
    }
    out
}

/// Use of a limit in a line.
pub(super) fn quota(q: &QuotaStatus, view: &View) -> String {
    let max = if q.max == 0 { "?".to_owned() } else { number(q.max) };
    let mut out = format!(
        "{} of {max} {} used ({} %), stops at {}; by crmsync {}",
        number(q.used),
        q.limit,
        q.percent,
        number(q.line),
        number(q.own)
    );
    if let Some(since) = q.held_since {
        let _ = write!(out, "; held since {}", view.at_zone(since));
    }
    out
}

fn objects(name: &str, objects: &[ObjectStatus], view: &View) -> String {
    if objects.is_empty() {
        return "no objects have been read yet\n".to_owned();
    }
    let header = [
        "OBJECT",
        "TABLE",
        "PHASE",
        "FIELDS",
        "ROWS",
        "DELETED",
        "HIDDEN",
        "ODD",
        "CAUGHT UP TO",
        "DELETES TO",
    ];
    let rows = objects.iter().map(|o| {
        vec![
            o.name.clone(),
            o.table.clone(),
            o.phase.clone(),
            o.fields.to_string(),
            number(o.rows),
            number(o.deleted),
            number(o.hidden),
            number(o.odd),
            view.maybe(o.caught_up_to),
            view.maybe(o.deletes_to),
        ]
    });
    let mut out = table(&header, &[3, 4, 5, 6, 7], rows.collect());
    for o in objects {
        if let Some(trouble) = &o.trouble {
            let _ = writeln!(out, "{}: {}", o.name, line(trouble));
        }
        if let Some(held) = o.held {
            let held = number(held);
            let _ = writeln!(out, "{}: {held} deletes are held for approval", o.name);
            let _ = writeln!(out, "  next: crmsync approve {name}");
        }
        if let Some(job) = &o.job {
            let _ = writeln!(out, "{}: {}", o.name, job_line(job, view));
        }
        if let Some(proof) = &o.proof {
            let _ = writeln!(out, "{}: {}", o.name, proof_line(proof, view));
        }
        if let Some(at) = o.calculated_to {
            let _ = writeln!(out, "{}: calculated fields to {}", o.name, view.at(at));
        }
        if o.odd > 0 {
            let odd = number(o.odd);
            let _ = writeln!(out, "{}: {odd} values did not fit; see _crmsync_odd", o.name);
        }
    }
    out
}

/// What is waited for, why, and until when.
fn job_line(job: &JobStatus, view: &View) -> String {
    let mut out = format!("a bulk job reads {}", job.reads);
    match job.since {
        Some(since) => {
            let _ = write!(out, " since {}: {}", view.at(since), line(&job.says));
        }
        None => {
            let _ = write!(out, ": {}", line(&job.says));
        }
    }
    if job.rows > 0 || job.expected.is_some() {
        let of = job.expected.map_or(String::new(), |n| format!(" of {}", number(n)));
        let _ = write!(out, ", {}{of} rows are in", number(job.rows));
    }
    if let Some(next) = job.next_look {
        let _ = write!(out, ", next look at {}", view.at(next));
    }
    if let Some(end) = job.gives_up {
        let _ = write!(out, ", given up at {}", view.at(end));
    }
    out
}

fn proof_line(proof: &ProofStatus, view: &View) -> String {
    let at = view.at(proof.at);
    match proof {
        ProofStatus { unproved: Some(why), .. } => {
            format!("not compared with the source at {at}: {}", line(why))
        }
        ProofStatus { differs, .. } if *differs > 0 => {
            format!("{} rows differ from the source, compared at {at}", number(*differs))
        }
        ProofStatus { repaired, rows, .. } => {
            let rows = number(*rows);
            let mended = match repaired {
                0 => String::new(),
                n => format!(", {} of them read again", number(*n)),
            };
            format!("{rows} rows as at the source, compared at {at}{mended}")
        }
    }
}

/// Runs as a table.
pub(super) fn runs(runs: &[RunLine], view: &View) -> String {
    let header = ["STARTED", "TOOK", "CALLS", "READ", "CHANGED", "DELETED", "RUN", "OUTCOME"];
    let rows = runs.iter().map(|r| {
        let again = if r.repeated > 1 { format!(" ({} times)", r.repeated) } else { String::new() };
        vec![
            view.at(r.started),
            span(r.started, r.ended.unwrap_or(view.now)),
            number(r.calls),
            number(r.read),
            number(r.changed),
            number(r.deleted),
            r.id.clone(),
            format!("{}{again}", r.outcome),
        ]
    });
    table(&header, &[1, 2, 3, 4, 5], rows.collect())
}

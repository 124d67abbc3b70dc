//! `quota`: use of each limit, who used it, and a plot of the day.

use super::Ctx;
use super::error::{CliError, DONE};
use super::output::{View, line, number};
use super::status;
use crate::control::client::Url;
use crate::control::envelope::Quotas;
use crate::control::protocol::QuotaStatus;
use crmsync_core::domain::Time;
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(super) async fn run(ctx: &Ctx, name: Option<String>) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "quota"]).with("name", name);
    let answer = ctx.client.get::<Quotas>(&url).await?;
    ctx.show(&answer, |q, view| render(&q.domains, view))?;
    Ok(DONE)
}

pub(super) fn render(domains: &[QuotaStatus], view: &View) -> String {
    if domains.is_empty() {
        return "no limits are known yet: they are read with the first answers\n".to_owned();
    }
    domains.iter().map(|q| one(q, view)).collect::<Vec<_>>().join("\n")
}

fn one(q: &QuotaStatus, view: &View) -> String {
    let mut out = format!("{}, used by {}\n", line(&q.domain), q.connections.join(", "));
    let _ = writeln!(out, "  {}", line(&status::quota(q, view)));
    let others = q.used.saturating_sub(q.own);
    let _ = writeln!(out, "  by others about {}", number(others));
    if let Some(probe) = q.next_probe {
        let _ = writeln!(out, "  looked at again {}", view.at_zone(probe));
    }
    if !q.exempt.is_empty() {
        let list: Vec<String> =
            q.exempt.iter().map(|(what, n)| format!("{} {what}", number(*n))).collect();
        let _ = writeln!(out, "  not stopped by the line: {}", list.join(", "));
    }
    out.push_str(&plot(q, view));
    out
}

/// Widest bar.
const WIDTH: u64 = 50;

/// A bar for each hour, the last number told in it; `|` is where scheduled work stops.
fn plot(q: &QuotaStatus, view: &View) -> String {
    let mut hours: BTreeMap<i64, (Time, u64)> = BTreeMap::new();
    for (time, used) in &q.points {
        hours.insert(time.as_second().div_euclid(3600), (*time, *used));
    }
    let most = hours.values().map(|(_, used)| *used).chain([q.max, 1]).max().unwrap_or(1);
    let scaled = |n: u64| usize::try_from(u128::from(n) * u128::from(WIDTH) / u128::from(most));
    let column = |n: u64| scaled(n).unwrap_or_default();
    let stop = column(q.line);
    let mut out = String::new();
    if !hours.is_empty() {
        out.push_str("\n  used at the end of each hour; | is where scheduled work stops\n");
    }
    let last = hours.values().rev().take(24).collect::<Vec<_>>();
    for (time, used) in last.into_iter().rev() {
        let mut bar = "#".repeat(column(*used));
        if q.line > 0 {
            while bar.len() < stop {
                bar.push(' ');
            }
            let rest = bar.split_off(stop);
            let _ = write!(bar, "|{rest}");
        }
        let _ = writeln!(out, "  {} {:>13} {bar}", view.clock(*time), number(*used));
    }
    out
}

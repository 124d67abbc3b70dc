//! `test`: a list of checks, each pass or fail with text.

use super::Ctx;
use super::error::{CliError, DONE, FAILED, NEEDS_AUTHORIZATION};
use super::output::{View, table};
use crate::control::protocol::{ConnectionDetail, TestReply};
use crmsync_core::domain::CheckOutcome;

pub(super) async fn run(ctx: &Ctx, name: &str) -> Result<u8, CliError> {
    let url = super::connection(name, &["test"])?;
    let answer = ctx.client.post::<TestReply>(&url, &serde_json::json!({})).await?;
    ctx.show(&answer, render)?;
    if answer.value.passed {
        return Ok(DONE);
    }
    let now = ctx.client.get::<ConnectionDetail>(&super::connection(name, &[])?).await?;
    let dead = now.value.status.needs_authorization;
    Ok(if dead { NEEDS_AUTHORIZATION } else { FAILED })
}

pub(super) fn render(reply: &TestReply, _: &View) -> String {
    let rows = reply.checks.iter().map(|check| {
        let (word, detail) = match &check.outcome {
            CheckOutcome::Pass { detail } => ("pass", detail),
            CheckOutcome::Fail { detail, required: true } => ("FAIL", detail),
            CheckOutcome::Fail { detail, required: false } => ("warn", detail),
            CheckOutcome::Unknown { detail } => ("?", detail),
        };
        vec![word.to_owned(), check.label.clone(), detail.clone()]
    });
    let all = if reply.passed { "passed" } else { "failed" };
    format!("{}\n{all}\n", table(&["", "CHECK", "RESULT"], &[], rows.collect()))
}

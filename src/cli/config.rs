//! `config show` and `reload`.

use super::Ctx;
use super::error::{CliError, DONE};
use super::output::View;
use crate::control::client::Url;
use crate::control::envelope::ConfigText;
use crate::control::protocol::ReloadReply;
use std::fmt::Write as _;

pub(super) async fn show(ctx: &Ctx, origin: bool) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "config"]).flag("origin", origin);
    let answer = ctx.client.get::<ConfigText>(&url).await?;
    ctx.show(&answer, |c, _| c.text.clone())?;
    Ok(DONE)
}

pub(super) async fn reload(ctx: &Ctx) -> Result<u8, CliError> {
    let url = Url::new(&["v1", "reload"]);
    let answer = ctx.client.post::<ReloadReply>(&url, &serde_json::json!({})).await?;
    for warning in &answer.value.warnings {
        super::output::err(warning);
    }
    ctx.show(&answer, render)?;
    Ok(DONE)
}

pub(super) fn render(reply: &ReloadReply, _: &View) -> String {
    let mut out = String::new();
    let mut list = |word: &str, names: &[String]| {
        if !names.is_empty() {
            let _ = writeln!(out, "{word}: {}", names.join(", "));
        }
    };
    list("added", &reply.added);
    list("retired", &reply.removed);
    for (name, keys) in &reply.changed {
        list(&format!("changed: {name}"), keys);
    }
    let _ = match reply.untouched {
        1 => writeln!(out, "1 connection was not touched"),
        n => writeln!(out, "{n} connections were not touched"),
    };
    out
}

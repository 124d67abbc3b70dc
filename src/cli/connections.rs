//! `connections`, `forget`, `rename`.

use super::error::{CliError, DONE};
use super::{Ctx, output, prompt, status};
use crate::control::client::Url;
use crate::control::envelope::{Connections, Done};
use crate::control::protocol::{ForgetRequest, RenameRequest};

pub(super) async fn list(ctx: &Ctx) -> Result<u8, CliError> {
    let answer = ctx.client.get::<Connections>(&Url::new(&["v1", "connections"])).await?;
    ctx.show(&answer, |c, view| status::lines(&c.connections, view))?;
    Ok(DONE)
}

pub(super) async fn forget(
    ctx: &Ctx,
    name: &str,
    with_data: bool,
    yes: bool,
) -> Result<u8, CliError> {
    let url = super::connection(name, &["forget"])?;
    if !yes {
        let what = if with_data { "its grant, its history and its replica" } else { "its state" };
        let question = format!("Remove {name} with {what}? This cannot be undone. [y/N] ");
        if !prompt::terminal() {
            let message = format!("forgetting {name}: nobody is there to confirm it");
            return Err(CliError::usage(message, "add --yes"));
        }
        if !prompt::yes(&question)? {
            return Err(CliError::here("not confirmed: nothing was changed", ""));
        }
    }
    let answer = ctx.client.post::<Done>(&url, &ForgetRequest { with_data }).await?;
    ctx.show(&answer, |_, _| format!("{name}: forgotten\n"))?;
    Ok(DONE)
}

pub(super) async fn rename(ctx: &Ctx, old: &str, new: &str) -> Result<u8, CliError> {
    let url = super::connection(old, &["rename"])?;
    super::connection(new, &[])?;
    let answer = ctx.client.post::<Done>(&url, &RenameRequest { to: new.to_owned() }).await?;
    let next =
        format!("  next: rename [connections.{old}] in the configuration, then crmsync reload");
    ctx.show(&answer, |_, _| format!("{old} is now called {new}\n{}\n", output::line(&next)))?;
    Ok(DONE)
}

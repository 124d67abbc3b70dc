//! `secret set`: into the vault, by way of the daemon.

use super::error::{CliError, DONE};
use super::{Ctx, prompt};
use crate::control::envelope::Done;
use reqwest::Method;

pub(super) async fn set(ctx: &Ctx, name: &str, key: &str) -> Result<u8, CliError> {
    let url = super::connection(name, &["secrets", key])?;
    let secret = prompt::secret(&format!("{key} of {name} (not shown): ")).await?;
    let answer = ctx.client.hand_in::<Done>(Method::PUT, &url, &secret).await?;
    ctx.show(&answer, |_, _| format!("{name}: {key} is in the vault\n"))?;
    Ok(DONE)
}

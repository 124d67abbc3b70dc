//! Short orders: `pause`, `resume`, `approve`, `disconnect`.

use super::error::{CliError, DONE, FAILED};
use super::{Ctx, output, status};
use crate::control::client::Url;
use crate::control::envelope::Connections;
use crate::control::protocol::{ConnectionStatus, PauseRequest, SCHEMA_VERSION};
use serde_json::{Value, json};

pub(super) async fn pause(
    ctx: &Ctx,
    name: &str,
    time: Option<String>,
    note: Option<String>,
) -> Result<u8, CliError> {
    let for_seconds = time.map(|text| {
        let parsed = crmsync_core::domain::parse_duration(&text);
        parsed.ok().and_then(|d| u64::try_from(d.as_secs()).ok()).ok_or_else(|| {
            let message = format!("`{}` is not a duration", output::line(&text));
            CliError::usage(message, "e.g. --for 90m, 12h, 2d or 1h30m")
        })
    });
    let request = PauseRequest { for_seconds: for_seconds.transpose()?, note };
    order(ctx, name, "pause", &json!(request)).await
}

pub(super) async fn resume(ctx: &Ctx, name: &str) -> Result<u8, CliError> {
    order(ctx, name, "resume", &json!({})).await
}

pub(super) async fn approve(ctx: &Ctx, name: &str) -> Result<u8, CliError> {
    order(ctx, name, "approve", &json!({})).await
}

/// One connection, or each that has a grant.
pub(super) async fn disconnect(ctx: &Ctx, name: Option<String>) -> Result<u8, CliError> {
    if let Some(name) = name {
        return order(ctx, &name, "disconnect", &json!({})).await;
    }
    let all = ctx.client.get::<Connections>(&Url::new(&["v1", "connections"])).await?;
    let (mut code, mut done) = (DONE, Vec::new());
    for connection in all.value.connections {
        let url = super::connection(&connection.name, &["disconnect"])?;
        match ctx.client.post::<ConnectionStatus>(&url, &json!({})).await {
            Ok(answer) if ctx.json => done.push(answer.json),
            Ok(answer) => output::out(&status::one(&answer.value, &ctx.view))?,
            Err(e) => {
                // The others are disconnected all the same: that is what was asked for.
                output::err(&format!("error: disconnecting {}: {e}", connection.name));
                code = FAILED;
            }
        }
    }
    if ctx.json {
        super::json(&json!({ "schema": SCHEMA_VERSION, "connections": done }))?;
    }
    Ok(code)
}

async fn order(ctx: &Ctx, name: &str, what: &str, body: &Value) -> Result<u8, CliError> {
    let url = super::connection(name, &[what])?;
    let answer = ctx.client.post::<ConnectionStatus>(&url, body).await?;
    ctx.show(&answer, status::one)?;
    Ok(DONE)
}

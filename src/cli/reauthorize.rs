//! `reauthorize`: the CLI's door to a new grant.
//!
//! Invariant: the CLI relays, the daemon exchanges: no code, token or password is looked at here,
//! but for the `state` in a redirect, so that a stranger's request cannot end our attempt.

use super::error::{CliError, DONE, NEEDS_AUTHORIZATION};
use super::listener::{self, Landing};
use super::output::{View, line};
use super::{Ctx, command, output, prompt};
use crate::control::client::{Answer, Url};
use crate::control::protocol::{
    GrantReply, ReauthorizeReply, ReauthorizeRequest, RequestLine, SCHEMA_VERSION,
};
use reqwest::Method;
use secrecy::SecretString;
use serde_json::json;

/// Longest address that is taken.
const LONGEST: usize = 12 * 1024;

pub(super) async fn run(ctx: &Ctx, args: command::Reauthorize) -> Result<u8, CliError> {
    match args.answer {
        Some(command::ReauthorizeAnswer::Confirm { id }) => {
            let url = Url::new(&["v1", "requests", &id, "confirm"]);
            return granted(ctx, &ctx.client.post(&url, &json!({})).await?);
        }
        Some(command::ReauthorizeAnswer::Reject { id }) => {
            let url = Url::new(&["v1", "requests", &id, "reject"]);
            let answer = ctx.client.post::<RequestLine>(&url, &json!({})).await?;
            ctx.show(&answer, rejected)?;
            return Ok(DONE);
        }
        None => {}
    }
    let name = args.name.unwrap_or_default();
    let url = super::connection(&name, &["reauthorize"])?;
    let request = ReauthorizeRequest { as_other_account: args.as_other_account };
    let door = ctx.client.post::<ReauthorizeReply>(&url, &request).await?;
    match door.value {
        ReauthorizeReply::Done(reply) => granted(ctx, &Answer { json: door.json, value: reply }),
        ReauthorizeReply::Password { request, username } => {
            let question = format!("Password of {} for {name} (not shown): ", line(&username));
            let password = prompt::secret(&question).await?;
            let url = Url::new(&["v1", "requests", &request, "password"]);
            granted(ctx, &ctx.client.hand_in(Method::POST, &url, &password).await?)
        }
        ReauthorizeReply::Browser { request, url, redirect_uri } => {
            let landing = Landing::of(&url, &redirect_uri);
            let answer = browser(ctx, &name, &request, &url, landing, args.paste).await?;
            granted(ctx, &answer)
        }
    }
}

/// Shows the address; takes where the browser was sent from the listener or from stdin.
async fn browser(
    ctx: &Ctx,
    name: &str,
    request: &str,
    url: &str,
    landing: Option<Landing>,
    paste: bool,
) -> Result<Answer<GrantReply>, CliError> {
    let door = match landing.filter(|_| !paste) {
        Some(landing) => match listener::open(landing).await {
            Ok(door) => Some(door),
            Err(e) => {
                output::err(&e);
                None
            }
        },
        None => None,
    };
    address(ctx, name, request, url)?;
    let hand_in = Url::new(&["v1", "requests", request, "callback"]);
    let Some(door) = door else {
        output::err(
            "Then paste the whole address that the browser ended at (it may show an error):",
        );
        let redirected = tokio::task::spawn_blocking(|| prompt::pasted("> ", LONGEST)).await;
        let redirected = redirected.map_err(|e| CliError::here(e.to_string(), "try again"))??;
        return Ok(ctx.client.hand_in(Method::POST, &hand_in, &redirected).await?);
    };
    output::err(&format!(
        "Waiting for the browser on port {}. From another machine: ssh -L {0}:localhost:{0} HOST,\n\
         or stop with Ctrl-C and use crmsync reauthorize {name} --paste",
        door.port()
    ));
    let (redirected, page) = door
        .wait()
        .await
        .map_err(|e| CliError::here(e, format!("crmsync reauthorize {name} --paste")))?;
    let answer = ctx
        .client
        .hand_in::<GrantReply>(Method::POST, &hand_in, &SecretString::from(redirected))
        .await;
    let told = match &answer {
        Ok(answer) => (true, render(&answer.value)),
        Err(e) => (false, e.to_string()),
    };
    page.show(told.0, &told.1).await;
    Ok(answer?)
}

/// The address is data: a script may open it.
fn address(ctx: &Ctx, name: &str, request: &str, url: &str) -> Result<(), CliError> {
    if ctx.json {
        let door = json!({
            "schema": SCHEMA_VERSION, "door": "browser", "request": request, "url": url,
        });
        return super::json(&door);
    }
    output::err(&format!("To authorize {name}, open this address and log in:\n\n"));
    output::out(url)?;
    output::err("\n");
    Ok(())
}

fn granted(ctx: &Ctx, answer: &Answer<GrantReply>) -> Result<u8, CliError> {
    ctx.show(answer, |reply, _| render(reply))?;
    Ok(match answer.value {
        GrantReply::Authorized { .. } => DONE,
        GrantReply::AwaitingConfirmation { .. } => NEEDS_AUTHORIZATION,
    })
}

pub(super) fn render(reply: &GrantReply) -> String {
    match reply {
        GrantReply::Authorized { account, org } => {
            let (account, org) = (line(account), line(org));
            format!("authorized as {account} ({org}); catching up\n")
        }
        GrantReply::AwaitingConfirmation { request, expected, found } => format!(
            "this is another account than before: {} instead of {}. Nothing was changed yet.\n  \
             to take it:   crmsync reauthorize confirm {request}\n  \
             to refuse it: crmsync reauthorize reject {request}\n",
            line(found),
            line(expected)
        ),
    }
}

fn rejected(request: &RequestLine, _: &View) -> String {
    let name = &request.connection;
    format!("{name}: the other account was refused\n  next: crmsync reauthorize {name}\n")
}

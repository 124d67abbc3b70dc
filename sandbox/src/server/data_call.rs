//! One call under `/services/data`: who calls, may he, what does it cost, is there quota left; then
//! the work itself, off the event loop.

use std::fmt::Write;
use std::sync::Arc;

use super::answer::Ticket;
use crate::calls::Usage;
use crate::reply::Reply;
use crate::request::Request;
use crate::rest::{self, Caller};
use crate::sandbox::{Sandbox, World};

/// The session of the bearer token, or the 401.
fn caller(world: &World, sandbox: &Sandbox, request: &Request) -> Result<(Caller, String), Reply> {
    let expired = || Reply::error(401, "INVALID_SESSION_ID", "Session expired or invalid");
    let Some(header) = request.header("authorization") else {
        return Err(expired());
    };
    let token = match header.split_once(' ') {
        Some((scheme, token))
            if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth") =>
        {
            token.trim()
        }
        _ => return Err(Reply::error(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")),
    };
    let session = world.grants.session(sandbox.now(), token).ok_or_else(expired)?;
    let user = world.users.get(&session.user).ok_or_else(expired)?;
    if !user.active || user.frozen || world.app.blocked || world.ip_restricted {
        return Err(expired());
    }
    Ok((Caller::new(world, user), session.grant.clone()))
}

fn client_name(request: &Request) -> Option<String> {
    let options = request.header("sforce-call-options")?;
    options.split(',').find_map(|option| {
        let (name, value) = option.split_once('=')?;
        name.trim().eq_ignore_ascii_case("client").then(|| value.trim().to_owned())
    })
}

/// Performs the call and writes it down.
pub(super) async fn perform(
    sandbox: &Arc<Sandbox>,
    request: Request,
    decoded: &str,
    ticket: &mut Ticket,
) -> Reply {
    let kind = rest::kind(&request);
    sandbox.events.count(kind);
    if kind == "versions" {
        let fail = sandbox.world().faults.take_fail(&request.target, decoded);
        return match fail {
            Some(fail) => {
                sandbox.events.count("failed");
                fail.reply()
            }
            None => rest::versions(),
        };
    }
    sandbox.events.count("call");
    let cost = rest::cost(&request);
    // One lock for arrival and charge: two calls never see the same usage before them.
    let (seq, decided) = {
        let now = sandbox.now();
        let mut world = sandbox.world();
        let known = caller(&world, sandbox, &request);
        let client = client_name(&request).unwrap_or_else(|| match &known {
            Ok((_, grant)) => grant.clone(),
            Err(_) => String::from("unknown"),
        });
        let charged = if known.is_ok() { cost } else { 0 };
        let seq = world.calls.arrive(now, &client, kind, decoded, charged);
        let decided = known.and_then(|(caller, _)| {
            if world.org_inactive {
                return Err(Reply::error(403, "ORG_LOCKED", "organization is locked"));
            }
            if !world.meter.charge(now, cost) {
                return Err(Reply::error(
                    403,
                    "REQUEST_LIMIT_EXCEEDED",
                    "TotalRequests Limit exceeded.",
                ));
            }
            world.app_used = world.app_used.saturating_add(cost);
            if let Some(fail) = world.faults.take_fail(&request.target, decoded) {
                sandbox.events.count("failed");
                return Err(fail.reply());
            }
            if !caller.api_enabled {
                return Err(Reply::error(
                    403,
                    "API_CURRENTLY_DISABLED",
                    "API is disabled for this User",
                ));
            }
            Ok(caller)
        });
        (seq, decided)
    };
    ticket.of_call(seq);
    let reply = match decided {
        Err(reply) => reply,
        Ok(caller) => {
            let shared = Arc::clone(sandbox);
            let work = move || rest::answer(&shared, &caller, &request);
            match tokio::task::spawn_blocking(work).await {
                Ok(reply) => reply,
                Err(_) => Reply::error(
                    500,
                    "UNKNOWN_EXCEPTION",
                    "An unexpected error occurred. Please include this ErrorId if you contact support",
                ),
            }
        }
    };
    let mut world = sandbox.world();
    let (used, max) = world.meter.usage(sandbox.now());
    world.calls.answered(seq, reply.status, Usage { used, max });
    let mut info = format!("api-usage={used}/{max}");
    if world.per_app_usage {
        let (app_used, app_max) = (world.app_used, max / 4);
        let _ = write!(info, "; per-app-api-usage={app_used}/{app_max}(appName=crmsync)");
    }
    drop(world);
    sandbox.events.count(&format!("status:{}", reply.status));
    reply.with("sforce-limit-info", info)
}

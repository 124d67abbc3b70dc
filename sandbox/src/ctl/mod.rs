//! The control interface under `/_sandbox/VERB`: every switch for trouble, the counters, the record
//! of calls, the dump. `crmsync-sandbox ctl` speaks to it; so may any HTTP client. No
//! authentication: the sandbox listens on loopback and holds nothing of value.
//!
//! Positional arguments are `arg=` parameters in order, named ones any other; in the query or in a
//! form body. A mistake is a 400 with `{"error": …}` and changes nothing.

mod args;
mod bulk;
pub(crate) mod client;
mod data;
mod people;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::Sandbox;
use args::Args;

/// What a verb answers: a value, or a sentence that says what is wrong.
pub(crate) type Done = Result<Value, String>;

/// The longest a `wait` may last.
const WAIT_LIMIT: Duration = Duration::from_mins(10);

/// Answers a control request.
pub(crate) async fn answer(sandbox: &Arc<Sandbox>, request: Request) -> Reply {
    let verb = request.segments.get(1).cloned().unwrap_or_default();
    let mut args = Args::new(request.form());
    let done = match verb.as_str() {
        "wait" => wait(sandbox, &mut args).await,
        "dump" => return dump(sandbox, &mut args).await,
        _ => {
            let sandbox = Arc::clone(sandbox);
            let work = move || run(&sandbox, &verb, &mut args);
            tokio::task::spawn_blocking(work)
                .await
                .unwrap_or_else(|error| Err(format!("the verb failed: {error}")))
        }
    };
    reply(done)
}

fn reply(done: Done) -> Reply {
    match done {
        Ok(value) => Reply::json(200, &value),
        Err(error) => Reply::json(400, &json!({"error": error})),
    }
}

fn run(sandbox: &Sandbox, verb: &str, args: &mut Args) -> Done {
    let done = people::run(sandbox, verb, args)
        .or_else(|| trouble::run(sandbox, verb, args))
        .or_else(|| data::run(sandbox, verb, args))
        .or_else(|| bulk::run(sandbox, verb, args))
        .unwrap_or_else(|| match verb {
            "counters" => Ok(json!(sandbox.events.all())),
            "reset-counters" => {
                args.nothing_left()?;
                sandbox.events.reset();
                sandbox.world().calls.reset();
                Ok(json!({"ok": true}))
            }
            "calls" => {
                let since = args.number("since")?.unwrap_or(0);
                let world = sandbox.world();
                let calls: Vec<_> = world.calls.since(since).collect();
                Ok(json!({"calls": calls}))
            }
            "state" => Ok(state(sandbox)),
            unknown => Err(format!("unknown verb '{unknown}'; hint: sandbox/README.md lists them")),
        })?;
    // Verbs that change something have asked this before they did.
    args.nothing_left()?;
    Ok(done)
}

/// Runs a verb with its arguments as they would have come in a form.
#[cfg(test)]
pub(crate) fn run_pairs(sandbox: &Sandbox, verb: &str, pairs: Vec<(String, String)>) -> Done {
    run(sandbox, verb, &mut Args::new(pairs))
}

async fn wait(sandbox: &Sandbox, args: &mut Args) -> Done {
    let kind = args.named_or_next("kind")?;
    let count = args.number("count")?.unwrap_or(1);
    let seconds = args.decimal("timeout")?.unwrap_or(30.0);
    args.nothing_left()?;
    let timeout = Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("timeout={seconds} is no span of seconds"))?
        .min(WAIT_LIMIT);
    let seen = sandbox.events.wait(&kind, count, timeout).await;
    Ok(json!({"kind": kind, "count": seen, "reached": seen >= count}))
}

async fn dump(sandbox: &Arc<Sandbox>, args: &mut Args) -> Reply {
    let object = match args.next("OBJECT").and_then(|object| {
        args.nothing_left()?;
        Ok(object)
    }) {
        Ok(object) => object,
        Err(error) => return reply(Err(error)),
    };
    let sandbox = Arc::clone(sandbox);
    let work = move || {
        let org = sandbox.org();
        let known = org.object_names().iter().any(|name| name.eq_ignore_ascii_case(&object));
        if !known {
            return reply(Err(format!("there is no object '{object}'")));
        }
        let mut lines = Vec::new();
        org.dump(&object, sandbox.now(), &mut lines);
        Reply::bytes(200, "application/x-ndjson", lines)
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| reply(Err(format!("the dump failed: {error}"))))
}

fn state(sandbox: &Sandbox) -> Value {
    let now = sandbox.now();
    let (objects, org_now) = {
        let org = sandbox.org();
        let counts: serde_json::Map<String, Value> = org
            .object_names()
            .into_iter()
            .filter_map(|name| {
                let count = org.record_count(&name, now)?;
                Some((name, json!(count)))
            })
            .filter(|(_, count)| *count != json!(0))
            .collect();
        (counts, now.to_string())
    };
    let mut world = sandbox.world();
    let (used, max) = world.meter.usage(now);
    json!({
        "now": org_now, "org_id": world.org_id, "public_url": world.public_url,
        "quota": {"used": used, "max": max},
        "users": world.users.all().collect::<Vec<_>>(),
        "grants": world.grants.all(),
        "rotate": world.grants.rotate, "refresh_policy": world.grants.policy,
        "app": {
            "client_id": world.app.client_id, "redirects": world.app.redirects,
            "blocked": world.app.blocked, "installed": world.app.installed,
            "require_secret": world.app.require_secret, "run_as": world.app.run_as,
        },
        "ip_restricted": world.ip_restricted, "org_inactive": world.org_inactive,
        "faults": world.faults, "bulk": world.bulk.switches, "records": objects,
    })
}

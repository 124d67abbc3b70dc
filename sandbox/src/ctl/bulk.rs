//! Verbs about Bulk jobs: how long they take, how they fail, what becomes of their pages.

use serde_json::json;

use super::Done;
use super::args::Args;
use crate::bulk::{Form, GIVEN_UP, NextFail, Spoil, TooMuch};
use crate::data::RowOrder;
use crate::sandbox::Sandbox;

/// Runs the verb if it is one of these.
pub(super) fn run(sandbox: &Sandbox, verb: &str, args: &mut Args) -> Option<Done> {
    Some(match verb {
        "bulk-latency" => latency(sandbox, args),
        "bulk-stuck" => args.only_switch().map(|on| {
            let now = sandbox.now();
            let bulk = &mut sandbox.world().bulk;
            bulk.switches.stuck = on;
            if !on {
                bulk.unstick(now);
            }
            json!({"stuck": on})
        }),
        "bulk-fail" => fail(sandbox, args),
        "bulk-fail-over" => fail_over(sandbox, args),
        "bulk-refuse" => refuse(sandbox, args),
        "bulk-corrupt" => corrupt(sandbox, args),
        "bulk-page-rows" => page_rows(sandbox, args),
        "bulk-order" => order(sandbox, args),
        "bulk-quota" => quota(sandbox, args),
        "bulk-expire" => expire(sandbox, args),
        "bulk-clear" => args.nothing_left().map(|()| {
            let now = sandbox.now();
            let bulk = &mut sandbox.world().bulk;
            bulk.clear(now);
            json!({"ok": true})
        }),
        _ => return None,
    })
}

fn latency(sandbox: &Sandbox, args: &mut Args) -> Done {
    let seconds = args.named_or_next("seconds")?;
    args.nothing_left()?;
    let millis = seconds
        .parse::<f64>()
        .ok()
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok())
        .and_then(|span| u32::try_from(span.as_millis()).ok())
        .ok_or_else(|| format!("'{seconds}' is no number of seconds (at most 49 days)"))?;
    sandbox.world().bulk.switches.latency_ms = millis;
    Ok(json!({"latency_ms": millis}))
}

fn fail(sandbox: &Sandbox, args: &mut Args) -> Done {
    let fail = NextFail {
        left: args.number("next")?.unwrap_or(1),
        object: args.named("object"),
        message: args.named("message").unwrap_or_else(|| GIVEN_UP.to_owned()),
    };
    args.nothing_left()?;
    if fail.left > 0 {
        sandbox.world().bulk.switches.fail.push(fail.clone());
    }
    Ok(json!(fail))
}

fn fail_over(sandbox: &Sandbox, args: &mut Args) -> Done {
    if args.named("off").is_some() || args.maybe().as_deref() == Some("off") {
        args.nothing_left()?;
        sandbox.world().bulk.switches.too_much.clear();
        return Ok(json!({"ok": true}));
    }
    let limit = TooMuch {
        days: args.decimal("days")?,
        rows: args.number("rows")?.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX)),
        object: args.named("object"),
        message: args.named("message").unwrap_or_else(|| GIVEN_UP.to_owned()),
    };
    args.nothing_left()?;
    if limit.days.is_none() && limit.rows.is_none() {
        return Err(String::from("argument days= or rows= is missing"));
    }
    sandbox.world().bulk.switches.too_much.push(limit.clone());
    Ok(json!(limit))
}

fn refuse(sandbox: &Sandbox, args: &mut Args) -> Done {
    let object = args.next("OBJECT")?;
    let second = args.next("FIELD|on|off")?;
    let message = args.named("message");
    let (name, on) = match (second.as_str(), args.maybe()) {
        (field, Some(switch)) => (format!("{object}.{field}"), switch),
        (_, None) => (object, second),
    };
    args.nothing_left()?;
    let name = name.to_lowercase();
    let mut world = sandbox.world();
    let refused = &mut world.bulk.switches.refused;
    match on.as_str() {
        "on" => refused.insert(name, message),
        "off" => refused.remove(&name),
        other => return Err(format!("expected on or off, not '{other}'")),
    };
    Ok(json!({"refused": refused.keys().collect::<Vec<_>>()}))
}

fn corrupt(sandbox: &Sandbox, args: &mut Args) -> Done {
    let form = args.next("FORM")?;
    if form == "off" {
        args.nothing_left()?;
        sandbox.world().bulk.switches.corrupt.clear();
        return Ok(json!({"ok": true}));
    }
    let form = Form::named(&form)?;
    let times = args.named("times");
    let left = match times.as_deref() {
        None => Some(1),
        Some("always") => None,
        Some(text) => {
            Some(text.parse().map_err(|_| format!("times={text}: expected a number or always"))?)
        }
    };
    let spoil = Spoil { left, object: args.named("object"), form };
    args.nothing_left()?;
    if left != Some(0) {
        sandbox.world().bulk.switches.corrupt.push(spoil.clone());
    }
    Ok(json!(spoil))
}

fn page_rows(sandbox: &Sandbox, args: &mut Args) -> Done {
    let text = args.only("N|off")?;
    let rows = match text.as_str() {
        "off" => None,
        text => Some(
            text.parse()
                .ok()
                .filter(|rows| *rows > 0)
                .ok_or_else(|| format!("'{text}' is no number of rows"))?,
        ),
    };
    sandbox.world().bulk.switches.page_rows = rows;
    Ok(json!({"page_rows": rows}))
}

fn order(sandbox: &Sandbox, args: &mut Args) -> Done {
    let name = args.only("scrambled|created")?;
    let order = match name.as_str() {
        "scrambled" => RowOrder::Scrambled,
        "created" => RowOrder::Created,
        other => return Err(format!("expected scrambled or created, not '{other}'")),
    };
    sandbox.world().bulk.switches.row_order = order;
    Ok(json!({"order": name}))
}

fn quota(sandbox: &Sandbox, args: &mut Args) -> Done {
    let (used, max) = (args.number("used")?, args.number("max")?);
    args.nothing_left()?;
    let now = sandbox.now();
    let mut world = sandbox.world();
    world.bulk.daily.set(now, used, max);
    let (used, max) = world.bulk.daily.usage(now);
    Ok(json!({"used": used, "max": max}))
}

fn expire(sandbox: &Sandbox, args: &mut Args) -> Done {
    let id = args.maybe();
    args.nothing_left()?;
    let expired = sandbox.world().bulk.expire(id.as_deref(), sandbox.now());
    Ok(json!({"expired": expired}))
}

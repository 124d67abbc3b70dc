//! Verbs that arm faults, move quota and clock, and end cursors.

use serde_json::json;

use super::Done;
use super::args::Args;
use crate::faults::{Act, Action, Cut, Fail, PartRefusal, Throttle, TokenError};
use crate::sandbox::Sandbox;

const SLOW_LIMIT_MS: u64 = 600_000;

/// Runs the verb if it is one of these.
pub(super) fn run(sandbox: &Sandbox, verb: &str, args: &mut Args) -> Option<Done> {
    Some(match verb {
        "quota" => quota(sandbox, args),
        "others-spend" => others_spend(sandbox, args),
        "per-app-usage" => args.only_switch().map(|on| {
            sandbox.world().per_app_usage = on;
            json!({"per_app_usage": on})
        }),
        "token-error" => token_error(sandbox, args),
        "fail" => fail(sandbox, args),
        "act-then" => act_then(sandbox, args),
        "cut" => cut(sandbox, args, false),
        "stall" => cut(sandbox, args, true),
        "throttle" => throttle(sandbox, args),
        "dribble" => dribble(sandbox, args),
        "composite-deleted" => args.only("allow|part|whole").and_then(|how| {
            let how = match how.as_str() {
                "allow" => PartRefusal::Allow,
                "part" => PartRefusal::Part,
                "whole" => PartRefusal::Whole,
                other => return Err(format!("expected allow, part or whole, not '{other}'")),
            };
            sandbox.world().faults.composite_deleted = how;
            Ok(json!({"composite_deleted": how}))
        }),
        "release" => args.nothing_left().map(|()| {
            sandbox.release.send_modify(|n| *n = n.wrapping_add(1));
            json!({"ok": true})
        }),
        "slow" => args.number("ms").and_then(|ms| {
            let ms = ms.ok_or("argument ms= is missing")?.min(SLOW_LIMIT_MS);
            args.nothing_left()?;
            sandbox.world().faults.slow_ms = ms;
            Ok(json!({"slow_ms": ms}))
        }),
        "maintenance" => args.only_switch().map(|on| {
            sandbox.world().faults.maintenance = on;
            json!({"maintenance": on})
        }),
        "clear-faults" => args.nothing_left().map(|()| {
            sandbox.world().faults = crate::faults::Faults::default();
            json!({"ok": true})
        }),
        "expire-locators" => {
            args.nothing_left().map(|()| json!({"expired": sandbox.world().cursors.expire()}))
        }
        "page-size" => page_size(sandbox, args),
        "clock" => args.only("+SECONDS").and_then(|text| {
            let seconds: i64 = text
                .trim_start_matches('+')
                .parse()
                .map_err(|_| format!("'{text}' is no number of seconds"))?;
            let offset = sandbox.clock.advance(seconds);
            Ok(json!({"offset": offset, "now": sandbox.now().to_string()}))
        }),
        _ => return None,
    })
}

fn quota(sandbox: &Sandbox, args: &mut Args) -> Done {
    let (used, max) = (args.number("used")?, args.number("max")?);
    args.nothing_left()?;
    let mut world = sandbox.world();
    let now = sandbox.now();
    world.meter.set(now, used, max);
    let (used, max) = world.meter.usage(now);
    Ok(json!({"used": used, "max": max}))
}

fn others_spend(sandbox: &Sandbox, args: &mut Args) -> Done {
    let calls = args.next_number("N")?;
    let per_second = args.number("per_second")?;
    args.nothing_left()?;
    let mut world = sandbox.world();
    let now = sandbox.now();
    world.meter.others_spend(now, calls, per_second);
    let (used, max) = world.meter.usage(now);
    Ok(json!({"used": used, "max": max}))
}

fn status(args: &mut Args, usual: u16) -> Result<u16, String> {
    match args.number("status")? {
        None => Ok(usual),
        Some(n) => u16::try_from(n)
            .ok()
            .filter(|n| (200..600).contains(n))
            .ok_or_else(|| format!("status={n} is no HTTP status")),
    }
}

fn token_error(sandbox: &Sandbox, args: &mut Args) -> Done {
    let fault = TokenError {
        error: args.next("ERROR")?,
        description: args.maybe().unwrap_or_default(),
        left: args.number("times")?.unwrap_or(1),
        status: status(args, 400)?,
    };
    args.nothing_left()?;
    if fault.left > 0 {
        sandbox.world().faults.token_error.push(fault.clone());
    }
    Ok(json!(fault))
}

fn fail(sandbox: &Sandbox, args: &mut Args) -> Done {
    let body = args.named("body");
    let content_type = args.named("content_type").unwrap_or_else(|| {
        let json = body.as_deref().is_some_and(|body| body.trim_start().starts_with(['{', '[']));
        String::from(if json {
            "application/json;charset=UTF-8"
        } else {
            "text/html;charset=UTF-8"
        })
    });
    let fault = Fail {
        left: args.number("next")?.unwrap_or(1),
        path: args.named("path"),
        status: status(args, 500)?,
        code: args.named("code").unwrap_or_else(|| String::from("UNKNOWN_EXCEPTION")),
        message: args
            .named("message")
            .unwrap_or_else(|| String::from("An unexpected error occurred.")),
        body,
        content_type,
        retry_after: args.named("retry_after"),
        parts: match args.named("parts").as_deref() {
            None | Some("off") => false,
            Some("on") => true,
            Some(other) => return Err(format!("parts={other}: expected on or off")),
        },
    };
    args.nothing_left()?;
    if fault.left > 0 {
        sandbox.world().faults.fail.push(fault.clone());
    }
    Ok(json!(fault))
}

fn act_then(sandbox: &Sandbox, args: &mut Args) -> Done {
    let then = args.next("drop|hold")?;
    let before = match args.named("when").as_deref() {
        None | Some("after") => false,
        Some("before") => true,
        Some(other) => return Err(format!("when={other}: expected before or after")),
    };
    let action = match (then.as_str(), before) {
        ("drop", false) => Action::Drop,
        ("drop", true) => Action::DropBefore,
        ("hold", false) => Action::Hold,
        ("hold", true) => Action::HoldBefore,
        (other, _) => return Err(format!("expected drop or hold, not '{other}'")),
    };
    let fault = Act { action, path: args.named("path"), left: args.number("times")?.unwrap_or(1) };
    args.nothing_left()?;
    if fault.left > 0 {
        sandbox.world().faults.act.push(fault.clone());
    }
    Ok(json!(fault))
}

fn cut(sandbox: &Sandbox, args: &mut Args, stall: bool) -> Done {
    let after = args.number("after_bytes")?.unwrap_or(100);
    let fault = Cut {
        after_bytes: usize::try_from(after)
            .map_err(|_| format!("after_bytes={after} is too large"))?,
        path: args.named("path"),
        left: args.number("times")?.unwrap_or(1),
        stall,
    };
    args.nothing_left()?;
    if fault.left > 0 {
        sandbox.world().faults.cut.push(fault.clone());
    }
    Ok(json!(fault))
}

/// Ten pieces a second, or one byte at a time where that is too much.
fn throttle(sandbox: &Sandbox, args: &mut Args) -> Done {
    let rate = args.number("bytes_per_second")?.ok_or("argument bytes_per_second= is missing")?;
    let bytes = (rate / 10).max(1);
    let every_ms = bytes.saturating_mul(1000) / rate.max(1);
    pace(sandbox, args, bytes, every_ms)
}

fn dribble(sandbox: &Sandbox, args: &mut Args) -> Done {
    let bytes = args.number("bytes")?.ok_or("argument bytes= is missing")?;
    let every_ms = args.number("ms")?.ok_or("argument ms= is missing")?;
    pace(sandbox, args, bytes, every_ms)
}

fn pace(sandbox: &Sandbox, args: &mut Args, bytes: u64, every_ms: u64) -> Done {
    let fault = Throttle {
        bytes: bytes.max(1),
        every_ms: every_ms.min(SLOW_LIMIT_MS),
        path: args.named("path"),
        left: args.number("times")?.unwrap_or(1),
    };
    args.nothing_left()?;
    if fault.left > 0 {
        sandbox.world().faults.throttle.push(fault.clone());
    }
    Ok(json!(fault))
}

fn page_size(sandbox: &Sandbox, args: &mut Args) -> Done {
    let text = args.only("N|off")?;
    let size = match text.as_str() {
        "off" => None,
        text => Some(
            text.parse::<usize>()
                .ok()
                .filter(|size| *size > 0)
                .ok_or_else(|| format!("'{text}' is no page size"))?,
        ),
    };
    sandbox.world().page_size = size;
    Ok(json!({"page_size": size}))
}

//! Verbs about users, the app, grants and the org's identity.

use serde_json::json;

use super::Done;
use super::args::Args;
use crate::oauth::grants::RefreshPolicy;
use crate::rest::system_rows;
use crate::sandbox::{Sandbox, next_second};
use crate::users::{PERMISSIONS, User};

/// Runs the verb if it is one of these.
pub(super) fn run(sandbox: &Sandbox, verb: &str, args: &mut Args) -> Option<Done> {
    Some(match verb {
        "revoke" => revoke(sandbox, args),
        "deactivate" => change_user(sandbox, args, |user, _| {
            user.active = false;
            Ok(())
        })
        .inspect(|_| {
            // The sessions of a deactivated user end at once.
            sandbox.events.count("deactivated");
        }),
        "activate" => change_user(sandbox, args, |user, _| {
            user.active = true;
            Ok(())
        }),
        "freeze" => change_user(sandbox, args, |user, args| {
            user.frozen = args.switch()?;
            Ok(())
        }),
        "password" => {
            let now = sandbox.now();
            change_user(sandbox, args, |user, args| {
                user.password = args.next("NEW")?;
                user.password_changed = now;
                Ok(())
            })
        }
        "profile" => change_user(sandbox, args, |user, args| {
            user.profile_id = args.next("PROFILE_ID")?;
            Ok(())
        }),
        "permission" => change_user(sandbox, args, |user, args| {
            let name = args.next("PERMISSION")?;
            let known = PERMISSIONS
                .iter()
                .find(|known| {
                    known.eq_ignore_ascii_case(&name)
                        || known
                            .strip_prefix("Permissions")
                            .is_some_and(|short| short.eq_ignore_ascii_case(&name))
                })
                .ok_or_else(|| {
                    format!("unknown permission '{name}'; known: ApiEnabled, ViewSetup, ViewAllUsers, ViewAllData")
                })?;
            if args.switch()? {
                user.permissions.insert(known);
            } else {
                user.permissions.remove(known);
            }
            Ok(())
        }),
        "hide-object" => change_user(sandbox, args, |user, args| {
            let object = args.next("OBJECT")?.to_lowercase();
            if args.switch()? {
                user.hidden_objects.insert(object);
            } else {
                user.hidden_objects.remove(&object);
            }
            Ok(())
        }),
        "hide-field" => change_user(sandbox, args, |user, args| {
            let object = args.next("OBJECT")?.to_lowercase();
            let field = args.next("FIELD")?.to_lowercase();
            if args.switch()? {
                user.hidden_fields.insert((object, field));
            } else {
                user.hidden_fields.remove(&(object, field));
            }
            Ok(())
        }),
        "hide-records" => change_user(sandbox, args, |user, args| {
            let percent = args.next_number("PERCENT")?;
            user.hidden_percent = u8::try_from(percent)
                .ok()
                .filter(|percent| *percent <= 100)
                .ok_or_else(|| format!("{percent} is no percentage"))?;
            Ok(())
        }),
        "block-app" => app_switch(sandbox, args, |app, on| app.blocked = on),
        "uninstall-app" => app_switch(sandbox, args, |app, on| app.installed = !on),
        "require-secret" => app_switch(sandbox, args, |app, on| app.require_secret = on),
        "admin-approved-only" => app_switch(sandbox, args, |app, on| app.admin_approved_only = on),
        "client-secret" => args.next("SECRET").map(|secret| {
            sandbox.world().app.client_secret = secret;
            json!({"ok": true})
        }),
        "redirect" => args.next("URL").map(|url| {
            let mut world = sandbox.world();
            if !world.app.redirects.contains(&url) {
                world.app.redirects.push(url);
            }
            json!({"redirects": world.app.redirects})
        }),
        "run-as" => run_as(sandbox, args),
        "org-id" => org_id(sandbox, args),
        "org-inactive" => args.switch().map(|on| {
            sandbox.world().org_inactive = on;
            json!({"org_inactive": on})
        }),
        "rotate" => args.switch().map(|on| {
            sandbox.world().grants.rotate = on;
            json!({"rotate": on})
        }),
        "refresh-policy" => refresh_policy(sandbox, args),
        "token-life" => token_life(sandbox, args),
        "expire-tokens" => {
            let user = args.named("user");
            user_name(sandbox, user).map(|user| {
                let ended = sandbox.world().grants.expire_sessions(user.as_deref());
                json!({"expired": ended})
            })
        }
        "ip-restricted" => args.switch().map(|on| {
            sandbox.world().ip_restricted = on;
            json!({"ip_restricted": on})
        }),
        _ => return None,
    })
}

fn user_name(sandbox: &Sandbox, name: Option<String>) -> Result<Option<String>, String> {
    let world = sandbox.world();
    name.map(|name| {
        world
            .users
            .get(&name)
            .map(|user| user.username.clone())
            .ok_or_else(|| format!("there is no user '{name}'"))
    })
    .transpose()
}

fn revoke(sandbox: &Sandbox, args: &mut Args) -> Done {
    let user = args.named("user").or_else(|| args.maybe());
    let user = user_name(sandbox, user)?;
    let revoked = sandbox.world().grants.revoke_all(user.as_deref(), "revoked by an admin");
    Ok(json!({"revoked": revoked}))
}

/// Changes a copy and keeps it only when the whole verb was understood.
fn change_user(
    sandbox: &Sandbox,
    args: &mut Args,
    change: impl FnOnce(&mut User, &mut Args) -> Result<(), String>,
) -> Done {
    let name = args.next("USER")?;
    let changed = {
        let mut world = sandbox.world();
        let now = sandbox.now();
        let user =
            world.users.get_mut(&name).ok_or_else(|| format!("there is no user '{name}'"))?;
        let mut changed = user.clone();
        change(&mut changed, args)?;
        args.nothing_left()?;
        changed.sight_changed = next_second(now);
        *user = changed.clone();
        let username = changed.username.clone();
        if !changed.active || changed.frozen {
            world.grants.expire_sessions(Some(&username));
        }
        changed
    };
    system_rows::put(sandbox);
    Ok(json!(changed))
}

fn app_switch(
    sandbox: &Sandbox,
    args: &mut Args,
    set: impl FnOnce(&mut crate::sandbox::App, bool),
) -> Done {
    let on = args.switch()?;
    args.nothing_left()?;
    set(&mut sandbox.world().app, on);
    Ok(json!({"on": on}))
}

fn run_as(sandbox: &Sandbox, args: &mut Args) -> Done {
    let name = args.next("USER|none")?;
    let user = match name.as_str() {
        "none" => None,
        _ => user_name(sandbox, Some(name))?,
    };
    sandbox.world().app.run_as.clone_from(&user);
    Ok(json!({"run_as": user}))
}

fn org_id(sandbox: &Sandbox, args: &mut Args) -> Done {
    let id = args.next("ORG_ID")?;
    let id = crate::sandbox::org_id18(&id).ok_or_else(|| {
        format!("'{id}' is no org id: 00D and 15 or 18 letters and digits in all")
    })?;
    args.nothing_left()?;
    sandbox.world().org_id.clone_from(&id);
    system_rows::put(sandbox);
    Ok(json!({"org_id": id}))
}

fn refresh_policy(sandbox: &Sandbox, args: &mut Args) -> Done {
    let name = args.next("until-revoked|immediate|idle|fixed")?;
    let policy = match name.as_str() {
        "until-revoked" => RefreshPolicy::UntilRevoked,
        "immediate" => RefreshPolicy::Immediate,
        "idle" => RefreshPolicy::IdleSeconds(seconds(args)?),
        "fixed" => RefreshPolicy::FixedSeconds(seconds(args)?),
        other => return Err(format!("unknown policy '{other}'")),
    };
    sandbox.world().grants.policy = policy;
    Ok(json!({"refresh_policy": policy}))
}

fn seconds(args: &mut Args) -> Result<i64, String> {
    let n = args.next_number("SECONDS")?;
    i64::try_from(n).map_err(|_| format!("{n} seconds are too many"))
}

fn token_life(sandbox: &Sandbox, args: &mut Args) -> Done {
    let text = args.next("SECONDS|none")?;
    let life = match text.as_str() {
        "none" => None,
        text => Some(text.parse::<i64>().map_err(|_| format!("'{text}' is no whole number"))?),
    };
    sandbox.world().grants.token_life = life;
    Ok(json!({"token_life": life}))
}

//! `POST /services/oauth2/token`: code, refresh token or client credentials against an access
//! token. The answer has `issued_at` as a string of milliseconds and no `expires_in`.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{error, identity_url};
use crate::reply::Reply;
use crate::request::{Request, percent_decode};
use crate::sandbox::{Sandbox, World};

type Fields = [(String, String)];

fn field<'f>(fields: &'f Fields, name: &str) -> Option<&'f str> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Checks client id and secret, from the form or from HTTP Basic.
pub(super) fn authenticate(
    world: &World,
    request: &Request,
    fields: &Fields,
    secret_required: bool,
) -> Result<(), Reply> {
    let basic = request
        .header("authorization")
        .and_then(|value| value.strip_prefix("Basic "))
        .and_then(|text| STANDARD.decode(text.trim()).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|pair| {
            let (id, secret) = pair.split_once(':')?;
            Some((percent_decode(id), percent_decode(secret)))
        });
    let (id, secret) = match &basic {
        Some((id, secret)) => (Some(id.as_str()), Some(secret.as_str())),
        None => (field(fields, "client_id"), field(fields, "client_secret")),
    };
    if id != Some(world.app.client_id.as_str()) {
        return Err(error(400, "invalid_client_id", "client identifier invalid"));
    }
    match secret.filter(|secret| !secret.is_empty()) {
        Some(secret) if secret == world.app.client_secret => Ok(()),
        None if !secret_required => Ok(()),
        _ => Err(error(400, "invalid_client", "invalid client credentials")),
    }
}

/// The endpoint.
pub(super) fn answer(sandbox: &Sandbox, request: &Request) -> Reply {
    let fields = request.form();
    let grant_type = field(&fields, "grant_type").unwrap_or("");
    match grant_type {
        "authorization_code" | "refresh_token" | "client_credentials" | "password" => {
            sandbox.events.count(&format!("token:{grant_type}"));
        }
        _ => sandbox.events.count("token:other"),
    }
    let mut world = sandbox.world();
    let reply = match world.faults.take_token_error() {
        Some(fault) => Err(error(fault.status, &fault.error, &fault.description)),
        None => decide(sandbox, &mut world, request, &fields, grant_type),
    };
    drop(world);
    match reply {
        Ok(reply) => {
            sandbox.events.count("token:granted");
            reply
        }
        Err(reply) => {
            sandbox.events.count("token:refused");
            reply
        }
    }
}

fn decide(
    sandbox: &Sandbox,
    world: &mut World,
    request: &Request,
    fields: &Fields,
    grant_type: &str,
) -> Result<Reply, Reply> {
    let now = sandbox.now();
    if !matches!(
        grant_type,
        "authorization_code" | "refresh_token" | "client_credentials" | "password"
    ) {
        return Err(error(400, "unsupported_grant_type", "grant type not supported"));
    }
    let secret_required = world.app.require_secret || grant_type == "client_credentials";
    authenticate(world, request, fields, secret_required)?;
    if world.org_inactive {
        return Err(error(400, "inactive_org", "organization is locked, closed or suspended"));
    }
    if !world.app.installed {
        return Err(error(400, "invalid_client", "app must be installed into org"));
    }
    if world.app.blocked {
        return Err(error(400, "OAUTH_APP_BLOCKED", "this app is blocked by admin"));
    }
    if world.ip_restricted {
        return invalid("ip restricted or invalid login hours");
    }
    let client = world.app.client_id.clone();
    let (user, grant, scope, refresh) = match grant_type {
        "authorization_code" => {
            let Some(code) = field(fields, "code") else {
                return Err(error(400, "invalid_request", "missing required code"));
            };
            let code = world.grants.take_code(now, code).or_else(invalid)?;
            if code.client != client {
                return invalid("invalid authorization code");
            }
            if field(fields, "redirect_uri") != Some(code.redirect.as_str()) {
                return Err(error(
                    400,
                    "redirect_uri_mismatch",
                    "redirect_uri must match configuration",
                ));
            }
            let verifier = field(fields, "code_verifier").unwrap_or("");
            let hashed = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
            if !(43..=128).contains(&verifier.len()) || hashed != code.challenge {
                return invalid("invalid code verifier");
            }
            usable(world, &code.user)?;
            let (grant, refresh) =
                world.grants.approve(&sandbox.chance, now, &code.user, &client, &code.scope);
            (code.user, grant, code.scope, refresh)
        }
        "refresh_token" => {
            let token = field(fields, "refresh_token").unwrap_or("");
            // Before the token is spent: a deactivated user must not lose a rotated one.
            if let Some(owner) = world.grants.owner(token) {
                usable(world, &owner)?;
            }
            let (grant, next) =
                world.grants.refresh(&sandbox.chance, now, &client, token).or_else(invalid)?;
            (grant.user, grant.id, grant.scope, next)
        }
        "client_credentials" => {
            let Some(user) = world.app.run_as.clone() else {
                return invalid("no client credentials user enabled");
            };
            usable(world, &user)?;
            let scope = String::from("api id");
            let (grant, _) = world.grants.approve(&sandbox.chance, now, &user, &client, &scope);
            (user, grant, scope, None)
        }
        // Being removed by the vendor; what an org answers in which it is switched off.
        _ => return invalid("authentication failure"),
    };
    let org15 = world.org_id.get(..15).unwrap_or_default().to_owned();
    let access =
        world.grants.open_session(&sandbox.chance, now, &org15, &grant, (&user, &client, &scope));
    let id = world.users.get(&user).map(|user| identity_url(world, user)).unwrap_or_default();
    let issued_at = now.as_millisecond().to_string();
    let mut body = Map::new();
    let mut put = |name: &str, value: String| body.insert(name.to_owned(), Value::String(value));
    put("access_token", access);
    if let Some(refresh) = refresh {
        put("refresh_token", refresh);
    }
    put("signature", signature(&world.app.client_secret, &id, &issued_at));
    put("scope", scope);
    put("instance_url", world.public_url.clone());
    put("id", id);
    put("token_type", String::from("Bearer"));
    put("issued_at", issued_at);
    Ok(Reply::json(200, &Value::Object(body))
        .with("cache-control", "no-store")
        .with("pragma", "no-cache"))
}

fn invalid<T>(description: &str) -> Result<T, Reply> {
    Err(error(400, "invalid_grant", description))
}

fn usable(world: &World, user: &str) -> Result<(), Reply> {
    match world.users.get(user) {
        Some(user) if user.active && !user.frozen => {
            if world.app.admin_approved_only {
                return Err(error(
                    400,
                    "invalid_app_access",
                    "user is not admin approved to access this app",
                ));
            }
            Ok(())
        }
        Some(user) if user.frozen => Err(error(400, "invalid_grant", "authentication failure")),
        _ => Err(error(400, "invalid_grant", "inactive user")),
    }
}

/// base64(HMAC-SHA256(secret, id + `issued_at`)).
fn signature(secret: &str, id: &str, issued_at: &str) -> String {
    match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mut mac) => {
            mac.update(id.as_bytes());
            mac.update(issued_at.as_bytes());
            STANDARD.encode(mac.finalize().into_bytes())
        }
        Err(_) => String::new(),
    }
}

//! OAuth 2.0 and identity, as the dossier's section 2 has them: authorize, token, revoke,
//! introspect, userinfo, identity address, metadata.
//!
//! Errors of the token endpoint are JSON objects with status 400; errors of userinfo and of the
//! identity address are **403 with plain text**, the classic trap for a client that refreshes only
//! on 401.

pub(crate) mod authorize;
pub(crate) mod grants;
mod pages;
mod token;

use serde_json::{Value, json};

use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::{Sandbox, World};
use crate::users::{User, same_id};

/// The JSON error object of the token endpoint.
pub(crate) fn error(status: u16, error: &str, description: &str) -> Reply {
    Reply::json(status, &json!({"error": error, "error_description": description}))
        .with("cache-control", "no-store")
        .with("pragma", "no-cache")
}

/// Answers what is under `/services/oauth2`, `/id` and `/.well-known`; `None` for another path.
pub(crate) fn answer(sandbox: &Sandbox, request: &Request) -> Option<Reply> {
    let segments: Vec<&str> = request.segments.iter().map(String::as_str).collect();
    let post_only = |reply: fn(&Sandbox, &Request) -> Reply| {
        if request.method == "POST" {
            reply(sandbox, request)
        } else {
            error(400, "invalid_request", "must use HTTP POST")
        }
    };
    Some(match segments.as_slice() {
        ["services", "oauth2", "authorize"] => {
            sandbox.events.count("authorize");
            authorize::answer(sandbox, request)
        }
        ["services", "oauth2", "token"] => {
            sandbox.events.count("token");
            post_only(token::answer)
        }
        ["services", "oauth2", "revoke"] => {
            sandbox.events.count("revoke");
            revoke(sandbox, request)
        }
        ["services", "oauth2", "introspect"] => {
            sandbox.events.count("introspect");
            post_only(introspect)
        }
        ["services", "oauth2", "userinfo"] => {
            sandbox.events.count("userinfo");
            userinfo(sandbox, request)
        }
        ["id", "keys"] => Reply::json(200, &json!({"keys": []})),
        ["id", org, user] => {
            sandbox.events.count("identity");
            identity(sandbox, request, org, user)
        }
        [".well-known", "openid-configuration"] => metadata(sandbox),
        _ => return None,
    })
}

fn form_field(request: &Request, name: &str) -> Option<String> {
    request.form().into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

fn revoke(sandbox: &Sandbox, request: &Request) -> Reply {
    let Some(token) = form_field(request, "token") else {
        return error(400, "invalid_request", "token parameter is missing");
    };
    if sandbox.world().grants.revoke_token(&token) {
        Reply::empty(200)
    } else {
        error(400, "invalid_token", "invalid token")
    }
}

fn introspect(sandbox: &Sandbox, request: &Request) -> Reply {
    let now = sandbox.now();
    let world = sandbox.world();
    if let Err(reply) = token::authenticate(&world, request, &request.form(), true) {
        return reply;
    }
    let token = form_field(request, "token").unwrap_or_default();
    let Some(session) = world.grants.session(now, &token) else {
        return Reply::json(200, &json!({"active": false}));
    };
    let user = world.users.get(&session.user);
    let subject = user.map(|user| identity_url(&world, user));
    let issued = session.issued.as_second();
    Reply::json(
        200,
        &json!({
            "active": true, "scope": session.scope, "client_id": session.client,
            "username": session.user, "sub": subject, "token_type": "access_token",
            "exp": session.expires.map_or(issued + 7200, |end| end.as_second()),
            "iat": issued, "nbf": issued,
        }),
    )
}

/// The identity address of a user: its last two segments are org and user.
pub(crate) fn identity_url(world: &World, user: &User) -> String {
    format!("{}/id/{}/{}", world.public_url, world.org_id, user.id)
}

fn bearer(request: &Request) -> Option<&str> {
    let value = request.header("authorization")?;
    let (scheme, token) = value.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("oauth"))
        .then(|| token.trim())
}

/// The user behind the token of a userinfo or identity request, or the plain-text refusal.
fn identified(sandbox: &Sandbox, world: &World, request: &Request) -> Result<User, Reply> {
    let from_query = request.param("oauth_token").or_else(|| request.param("access_token"));
    let Some(token) = bearer(request).or(from_query) else {
        return Err(Reply::text(403, "Missing_OAuth_Token"));
    };
    let bad = || Reply::text(403, "Bad_OAuth_Token");
    let session = world.grants.session(sandbox.now(), token).ok_or_else(bad)?;
    if world.app.blocked || world.ip_restricted || world.org_inactive {
        return Err(bad());
    }
    world
        .users
        .get(&session.user)
        .filter(|user| user.active && !user.frozen)
        .cloned()
        .ok_or_else(bad)
}

fn userinfo(sandbox: &Sandbox, request: &Request) -> Reply {
    let world = sandbox.world();
    match identified(sandbox, &world, request) {
        Ok(user) => Reply::json(200, &userinfo_body(&world, &user)),
        Err(reply) => reply,
    }
}

fn urls(world: &World) -> Value {
    let base = &world.public_url;
    let org = world.org_id.get(..15).unwrap_or_default();
    let data = format!("{base}/services/data/v{{version}}/");
    json!({
        "enterprise": format!("{base}/services/Soap/c/{{version}}/{org}"),
        "metadata": format!("{base}/services/Soap/m/{{version}}/{org}"),
        "partner": format!("{base}/services/Soap/u/{{version}}/{org}"),
        "rest": data, "sobjects": format!("{data}sobjects/"), "search": format!("{data}search/"),
        "query": format!("{data}query/"), "recent": format!("{data}recent/"),
    })
}

fn userinfo_body(world: &World, user: &User) -> Value {
    let base = &world.public_url;
    json!({
        "sub": identity_url(world, user),
        "user_id": user.id, "organization_id": world.org_id,
        "preferred_username": user.username, "nickname": user.first_name.to_lowercase(),
        "name": user.name(), "email": user.username, "email_verified": true,
        "given_name": user.first_name, "family_name": user.last_name,
        "zoneinfo": "America/Los_Angeles",
        "photos": {"picture": format!("{base}/profilephoto/005/F"), "thumbnail": format!("{base}/profilephoto/005/T")},
        "profile": format!("{base}/{}", user.id), "picture": format!("{base}/profilephoto/005/F"),
        "address": {}, "is_salesforce_integration_user": false,
        "urls": urls(world),
        "active": user.active, "user_type": "STANDARD", "language": "en_US", "locale": "en_US",
        "utcOffset": -28_800_000,
        "updated_at": user.password_changed.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    })
}

fn identity(sandbox: &Sandbox, request: &Request, org: &str, id: &str) -> Reply {
    let world = sandbox.world();
    let user = match identified(sandbox, &world, request) {
        Ok(user) => user,
        Err(reply) => return reply,
    };
    if !same_id(org, &world.org_id) {
        return Reply::text(403, "Wrong_Org");
    }
    if world.users.get(id).is_none() {
        return Reply::text(404, "Bad_Id");
    }
    if !same_id(id, &user.id) {
        return Reply::text(404, "No_Access");
    }
    Reply::json(
        200,
        &json!({
            "id": identity_url(&world, &user), "asserted_user": true,
            "user_id": user.id, "organization_id": world.org_id, "username": user.username,
            "nick_name": user.first_name.to_lowercase(), "display_name": user.name(),
            "email": user.username, "email_verified": true,
            "first_name": user.first_name, "last_name": user.last_name,
            "timezone": "America/Los_Angeles", "urls": urls(&world), "active": user.active,
            "user_type": "STANDARD", "language": "en_US", "locale": "en_US",
            "utcOffset": -28_800_000, "is_app_installed": world.app.installed,
        }),
    )
}

fn metadata(sandbox: &Sandbox) -> Reply {
    let base = sandbox.world().public_url.clone();
    let at = |name: &str| format!("{base}/services/oauth2/{name}");
    Reply::json(
        200,
        &json!({
            "issuer": base, "authorization_endpoint": at("authorize"), "token_endpoint": at("token"),
            "revocation_endpoint": at("revoke"), "introspection_endpoint": at("introspect"),
            "userinfo_endpoint": at("userinfo"), "jwks_uri": format!("{base}/id/keys"),
            "scopes_supported": ["api", "refresh_token", "offline_access", "id", "openid", "full"],
            "response_types_supported": ["code"], "code_challenge_methods_supported": ["S256"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        }),
    )
}

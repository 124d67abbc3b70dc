//! `GET|POST /services/oauth2/authorize`: who is it, does he agree, and where does the code go.
//!
//! An error before the redirect address is known to be registered is a page, every later one is a
//! redirect. Only S256 is accepted, and it cannot be left out. A browser that has logged in is
//! remembered by a cookie, which `prompt=login` passes over.

use super::{grants::Grants, pages};
use crate::reply::Reply;
use crate::request::Request;
use crate::sandbox::{Sandbox, World};

const SCOPES: [&str; 12] = [
    "api",
    "refresh_token",
    "offline_access",
    "id",
    "openid",
    "profile",
    "email",
    "address",
    "phone",
    "web",
    "full",
    "content",
];
const DEFAULT_SCOPE: &str = "refresh_token id api";

struct Asked<'f> {
    redirect: &'f str,
    state: Option<&'f str>,
    scope: String,
    challenge: &'f str,
    prompt: &'f str,
}

fn field<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

fn back(redirect: &str, state: Option<&str>, pairs: &[(&str, &str)]) -> Reply {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    let joint = if redirect.contains('?') { '&' } else { '?' };
    Reply::redirect(format!("{redirect}{joint}{}", query.finish()))
}

fn refused(asked: &Asked<'_>, error: &str, description: &str) -> Reply {
    back(asked.redirect, asked.state, &[("error", error), ("error_description", description)])
}

fn check<'f>(world: &World, fields: &'f [(String, String)]) -> Result<Asked<'f>, Reply> {
    let page =
        |error: &str, description: &str| Err(Reply::html(400, pages::error(error, description)));
    if field(fields, "client_id") != Some(world.app.client_id.as_str()) {
        return page("invalid_client_id", "client identifier invalid");
    }
    let Some(redirect) = field(fields, "redirect_uri") else {
        return page("redirect_uri_missing", "redirect_uri must be given");
    };
    // Byte by byte: no normalising of slashes, case or ports.
    if !world.app.redirects.iter().any(|known| known == redirect) {
        return page("redirect_uri_mismatch", "redirect_uri must match configuration");
    }
    let asked = Asked {
        redirect,
        state: field(fields, "state"),
        scope: field(fields, "scope").unwrap_or(DEFAULT_SCOPE).to_owned(),
        challenge: field(fields, "code_challenge").unwrap_or(""),
        prompt: field(fields, "prompt").unwrap_or(""),
    };
    let refuse = |error: &str, description: &str| Err(refused(&asked, error, description));
    if field(fields, "response_type") != Some("code") {
        return refuse("unsupported_response_type", "response type not supported");
    }
    if asked.challenge.is_empty() {
        return refuse("invalid_request", "missing required code challenge");
    }
    if field(fields, "code_challenge_method") != Some("S256") {
        return refuse("invalid_request", "code challenge method must be S256");
    }
    let challenge = asked.challenge;
    if challenge.len() != 43
        || !challenge.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    {
        return refuse("invalid_request", "invalid code challenge");
    }
    if !asked.scope.split(' ').all(|word| SCOPES.contains(&word)) {
        return refuse("invalid_scope", "requested scope is invalid, unknown or malformed");
    }
    if !world.app.installed {
        return refuse("invalid_client", "app must be installed into org");
    }
    if world.app.blocked {
        return refuse("OAUTH_APP_BLOCKED", "this app is blocked by admin");
    }
    if world.org_inactive {
        return refuse("inactive_org", "organization is locked, closed or suspended");
    }
    Ok(asked)
}

fn cookie(request: &Request) -> Option<&str> {
    request.header("cookie")?.split(';').find_map(|pair| pair.trim().strip_prefix("sid="))
}

fn consent_page(fields: &[(String, String)], user: &str, scope: &str, login: &str) -> Reply {
    Reply::html(200, pages::consent(fields, user, scope, login))
        .with("set-cookie", format!("sid={login}; Path=/; HttpOnly"))
}

/// The endpoint.
pub(crate) fn answer(sandbox: &Sandbox, request: &Request) -> Reply {
    let fields = request.form();
    let mut world = sandbox.world();
    let asked = match check(&world, &fields) {
        Ok(asked) => asked,
        Err(reply) => return reply,
    };
    if request.method != "POST" {
        let known = cookie(request)
            .filter(|_| asked.prompt != "login" && asked.prompt != "select_account")
            .and_then(|sid| world.logins.iter().find(|(known, _)| known == sid).cloned())
            .filter(|(_, user)| world.users.get(user).is_some_and(|user| user.active));
        return match known {
            Some((_, user))
                if asked.prompt != "consent"
                    && world.grants.has_approved(&user, &world.app.client_id) =>
            {
                granted(sandbox, &mut world, &asked, &user)
            }
            Some((sid, user)) => consent_page(&fields, &user, &asked.scope, &sid),
            None => {
                let hint = field(&fields, "login_hint").unwrap_or("");
                Reply::html(200, pages::login(&fields, hint, None))
            }
        };
    }
    let login = match field(&fields, "login") {
        Some(login) => world.logins.iter().find(|(known, _)| known == login).cloned(),
        None => {
            let name = field(&fields, "username").unwrap_or("");
            let password = field(&fields, "password").unwrap_or("");
            let user = world.users.get(name).filter(|user| user.password == password);
            let Some(user) = user else {
                let why = "Please check your username and password.";
                return Reply::html(200, pages::login(&fields, name, Some(why)));
            };
            if !user.active || user.frozen {
                return refused(&asked, "inactive_user", "user is inactive");
            }
            if world.ip_restricted {
                return refused(&asked, "access_denied", "ip restricted or invalid login hours");
            }
            if world.app.admin_approved_only {
                return refused(
                    &asked,
                    "OAUTH_APP_ACCESS_DENIED",
                    "user is not admin approved to access this app",
                );
            }
            let username = user.username.clone();
            let login = sandbox.chance.text(40);
            if world.logins.len() >= 1000 {
                world.logins.remove(0);
            }
            world.logins.push((login.clone(), username.clone()));
            Some((login, username))
        }
    };
    let Some((login, user)) = login else {
        let why = "Your session has ended. Log in again.";
        return Reply::html(200, pages::login(&fields, "", Some(why)));
    };
    match field(&fields, "approve") {
        None => consent_page(&fields, &user, &asked.scope, &login),
        Some("1" | "allow" | "true") => granted(sandbox, &mut world, &asked, &user),
        Some(_) => refused(&asked, "access_denied", "end-user denied authorization"),
    }
}

fn granted(sandbox: &Sandbox, world: &mut World, asked: &Asked<'_>, user: &str) -> Reply {
    let now = sandbox.now();
    let client = world.app.client_id.clone();
    let grants: &mut Grants = &mut world.grants;
    let code = grants.issue_code(
        &sandbox.chance,
        now,
        user,
        &client,
        asked.redirect,
        &asked.scope,
        asked.challenge,
    );
    sandbox.events.count("code");
    back(asked.redirect, asked.state, &[("code", &code)])
}

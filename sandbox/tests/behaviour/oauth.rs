//! Logging in, refreshing, losing the grant.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::support::{Answer, Sandbox, form};

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-rule-of-43";
const EXPIRED: &str = "expired access/refresh token";
const REDIRECT: &str = "http://localhost:17817/oauth/cb/salesforce";

fn challenge() -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER))
}

fn asked<'a>(client: &'a str, challenge: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("response_type", "code"),
        ("client_id", client),
        ("redirect_uri", REDIRECT),
        ("scope", "api refresh_token id"),
        ("state", "st&te=1"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
}

fn callback(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 302, "{}", answer.text());
    let to = url::Url::parse(answer.header("location").unwrap()).unwrap();
    assert!(to.as_str().starts_with(REDIRECT));
    to.query_pairs().into_owned().collect()
}

fn value(pairs: &[(String, String)], name: &str) -> String {
    let found = pairs.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).unwrap_or_default()
}

/// The inputs of a page's form that carry a value, unescaped.
fn inputs(page: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| -> Option<String> {
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(value.replace("&lt;", "<").replace("&quot;", "\"").replace("&amp;", "&"))
    };
    page.split("<input")
        .skip(1)
        .filter_map(|tag| {
            let tag = tag.split_once('>')?.0;
            Some((attribute(tag, "name")?, attribute(tag, "value")?))
        })
        .collect()
}

fn approve(sandbox: &Sandbox, user: &str) -> Answer {
    let challenge = challenge();
    let mut pairs = asked(sandbox.text("client_id"), &challenge);
    pairs.extend([("username", user), ("password", sandbox.text("password")), ("approve", "1")]);
    sandbox.post_form("/services/oauth2/authorize", &pairs)
}

fn exchange(sandbox: &Sandbox, code: &str, verifier: &str) -> Answer {
    sandbox.post_form(
        "/services/oauth2/token",
        &[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("client_id", sandbox.text("client_id")),
            ("client_secret", sandbox.text("client_secret")),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ],
    )
}

fn refresh(sandbox: &Sandbox, token: &str) -> Answer {
    sandbox.post_form(
        "/services/oauth2/token",
        &[
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("client_id", sandbox.text("client_id")),
            ("client_secret", sandbox.text("client_secret")),
        ],
    )
}

/// Access and refresh token of a fresh approval.
fn grant(sandbox: &Sandbox, user: &str) -> (String, String) {
    let code = value(&callback(&approve(sandbox, user)), "code");
    let body = exchange(sandbox, &code, VERIFIER).json();
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    (text("access_token"), text("refresh_token"))
}

#[test]
fn a_script_walks_the_pages_and_gets_a_token() {
    let sandbox = Sandbox::start(&[]);
    let challenge = challenge();
    let pairs = asked(sandbox.text("client_id"), &challenge);
    let target = format!("/services/oauth2/authorize?{}", form(&pairs));
    let login = sandbox.send("GET", &target, &[], "").unwrap();
    assert_eq!(login.status, 200);
    let mut fields = inputs(&login.text());
    fields.retain(|(name, _)| name != "username");
    let post = |fields: &[(String, String)]| {
        let pairs: Vec<(&str, &str)> =
            fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        sandbox.post_form("/services/oauth2/authorize", &pairs)
    };
    fields.push(("username".into(), "ada@example.com".into()));
    fields.push(("password".into(), "wrong".into()));
    let again = post(&fields);
    assert!(again.text().contains("check your username"), "{}", again.text());
    fields.pop();
    fields.push(("password".into(), sandbox.text("password").into()));
    let consent = post(&fields);
    assert!(consent.text().contains("Allow"), "{}", consent.text());
    let mut fields = inputs(&consent.text());
    fields.push(("approve".into(), "0".into()));
    let denied = callback(&post(&fields));
    assert_eq!(value(&denied, "error"), "access_denied");
    assert_eq!(value(&denied, "state"), "st&te=1");
    fields.pop();
    fields.push(("approve".into(), "1".into()));
    let granted = callback(&post(&fields));
    assert_eq!(value(&granted, "state"), "st&te=1");
    let code = value(&granted, "code");
    assert!(code.ends_with("=="));
    let answer = exchange(&sandbox, &code, VERIFIER);
    let body = answer.json();
    assert!(body["issued_at"].is_string());
    assert!(body.get("expires_in").is_none());
    assert_eq!(body["instance_url"], sandbox.ready["http"]);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let id = body["id"].as_str().unwrap();
    assert!(id.contains(&format!("/id/{}/005", sandbox.text("org_id"))));
    let access = body["access_token"].as_str().unwrap();
    let info = sandbox.get("/services/oauth2/userinfo", access).json();
    assert_eq!(info["organization_id"], sandbox.ready["org_id"]);
    assert_eq!(info["preferred_username"], "ada@example.com");
    let identity = id.strip_prefix(sandbox.text("http")).unwrap();
    assert_eq!(sandbox.get(identity, access).json()["username"], "ada@example.com");
    let again = exchange(&sandbox, &code, VERIFIER).oauth();
    assert_eq!(again.2, "expired authorization code");
}

#[test]
fn a_logged_in_browser_is_remembered_but_not_with_prompt_login() {
    let sandbox = Sandbox::start(&[]);
    let challenge = challenge();
    let first = approve(&sandbox, "ada");
    let code = value(&callback(&first), "code");
    exchange(&sandbox, &code, VERIFIER);
    let mut pairs = asked(sandbox.text("client_id"), &challenge);
    pairs.extend([("username", "ada"), ("password", sandbox.text("password"))]);
    let consent = sandbox.post_form("/services/oauth2/authorize", &pairs);
    let cookie = consent.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let mut pairs = asked(sandbox.text("client_id"), &challenge);
    let ask = |pairs: &[(&str, &str)]| {
        let target = format!("/services/oauth2/authorize?{}", form(pairs));
        sandbox.send("GET", &target, &[("Cookie", &cookie)], "").unwrap()
    };
    assert_eq!(ask(&pairs).status, 302, "approved before: straight back");
    pairs.push(("prompt", "login"));
    assert!(ask(&pairs).text().contains("type=\"password\""));
}

#[test]
fn authorize_refuses_what_it_must() {
    let sandbox = Sandbox::start(&[]);
    let challenge = challenge();
    let client = sandbox.text("client_id");
    let ask = |change: &[(&str, &str)]| {
        let mut pairs = asked(client, &challenge);
        for (name, value) in change {
            pairs.retain(|(known, _)| known != name);
            pairs.push((name, value));
        }
        let target = format!("/services/oauth2/authorize?{}", form(&pairs));
        sandbox.send("GET", &target, &[], "").unwrap()
    };
    // Not sent anywhere: the address cannot be trusted.
    for redirect in [
        "http://localhost:17817/oauth/cb/salesforce/",
        "http://LOCALHOST:17817/oauth/cb/salesforce",
        "http://localhost:17817/oauth/cb/salesforce?x=1",
    ] {
        let answer = ask(&[("redirect_uri", redirect)]);
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("redirect_uri_mismatch"));
    }
    assert_eq!(ask(&[("client_id", "x")]).status, 400);
    for (change, error) in [
        (("code_challenge_method", "plain"), "invalid_request"),
        (("code_challenge", ""), "invalid_request"),
        (("response_type", "token"), "unsupported_response_type"),
        (("scope", "api world"), "invalid_scope"),
    ] {
        assert_eq!(value(&callback(&ask(&[change])), "error"), error, "{change:?}");
    }
    sandbox.ctl("deactivate", &["bob"]);
    assert_eq!(value(&callback(&approve(&sandbox, "bob")), "error"), "inactive_user");
    sandbox.ctl("block-app", &["on"]);
    assert_eq!(value(&callback(&approve(&sandbox, "ada")), "error"), "OAUTH_APP_BLOCKED");
    let code = {
        sandbox.ctl("block-app", &["off"]);
        value(&callback(&approve(&sandbox, "ada")), "code")
    };
    let wrong = exchange(&sandbox, &code, &VERIFIER.replace('a', "b")).oauth();
    assert_eq!(wrong, (400, "invalid_grant".into(), "invalid code verifier".into()));
}

#[test]
fn a_grant_is_refreshed_rotated_and_lost() {
    let sandbox = Sandbox::start(&["--rotate"]);
    let (_, first) = grant(&sandbox, "ada");
    let body = refresh(&sandbox, &first).json();
    let second = body["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(refresh(&sandbox, &first).oauth().2, EXPIRED);
    assert_eq!(refresh(&sandbox, &second).oauth().2, EXPIRED, "the family is dead");

    sandbox.ctl("rotate", &["off"]);
    let (access, token) = grant(&sandbox, "ada");
    assert!(refresh(&sandbox, &token).json().get("refresh_token").is_none());
    sandbox.ctl("deactivate", &["ada"]);
    assert_eq!(refresh(&sandbox, &token).oauth().2, "inactive user");
    assert_eq!(sandbox.get("/services/oauth2/userinfo", &access).text(), "Bad_OAuth_Token");
    sandbox.ctl("activate", &["ada"]);
    sandbox.ctl("ip-restricted", &["on"]);
    assert_eq!(refresh(&sandbox, &token).oauth().2, "ip restricted or invalid login hours");
    sandbox.ctl("ip-restricted", &["off"]);
    sandbox.ctl("token-error", &["inactive_org", "organization is locked", "times=2"]);
    for _ in 0..2 {
        assert_eq!(refresh(&sandbox, &token).oauth().1, "inactive_org");
    }
    let live = refresh(&sandbox, &token).json();
    let access = live["access_token"].as_str().unwrap();
    assert_eq!(sandbox.ctl("revoke", &["user=ada"])["revoked"], 1);
    assert_eq!(refresh(&sandbox, &token).oauth().2, EXPIRED);
    let answer = sandbox.get("/services/data/v64.0/limits", access);
    assert_eq!((answer.status, answer.code().as_str()), (401, "INVALID_SESSION_ID"));
    let answer = sandbox.get("/services/oauth2/userinfo", access);
    assert_eq!((answer.status, answer.text().as_str()), (403, "Bad_OAuth_Token"));

    let (_, token) = grant(&sandbox, "ada");
    sandbox.ctl("refresh-policy", &["idle", "2592000"]);
    sandbox.ctl("clock", &["+2592001"]);
    assert_eq!(refresh(&sandbox, &token).oauth().2, EXPIRED);
    let (_, token) = grant(&sandbox, "ada");
    let answer = sandbox.post_form("/services/oauth2/revoke", &[("token", &token)]);
    assert_eq!(answer.status, 200);
    let answer = sandbox.post_form("/services/oauth2/revoke", &[("token", &token)]);
    assert_eq!(answer.oauth().1, "invalid_token");
}

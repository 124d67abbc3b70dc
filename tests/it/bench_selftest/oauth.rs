//! oidc-provider: code with PKCE, rotation, re-use detection, revocation, forgetting.

use crate::support::browser::parameter;
use crate::support::http;
use crate::support::oidc::{self, CLIENT_ID, CLIENT_SECRET, Oidc, REDIRECT};
use crate::support::tcp_proxy::{Mode, TcpProxy};
use base64::Engine as _;
use serde_json::{Value, json};
use sha2::Digest as _;

const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-rule-of-43-characters";

/// Log-in and consent; the token answer.
fn grant(server: &Oidc, user: &str) -> Value {
    let hash = sha2::Sha256::digest(VERIFIER.as_bytes());
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash);
    let query = http::form(&[
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", REDIRECT),
        ("scope", "api refresh_token"),
        ("state", "s-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    let address = format!("{}/services/oauth2/authorize?{query}", server.url());
    let landed = oidc::authorize(&address, user);
    assert!(landed.starts_with(REDIRECT), "{landed}");
    assert_eq!(parameter(&landed, "state").as_deref(), Some("s-1"));
    let code = parameter(&landed, "code").unwrap_or_else(|| panic!("no code in {landed}"));
    let fields = |verifier| {
        [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ]
    };
    server.token(&fields(VERIFIER)).expect(200).json()
}

fn refresh(server: &Oidc, token: &str) -> http::Answer {
    server.token(&[("grant_type", "refresh_token"), ("refresh_token", token)])
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

#[test]
fn a_grant_rotates_and_dies_by_reuse() {
    if oidc::missing("a_grant_rotates_and_dies_by_reuse") {
        return;
    }
    let server = Oidc::start(&[]);
    server.extra(&json!({"instance_url": "http://127.0.0.1:1"}));
    let first = grant(&server, "ada");
    assert_eq!(text(&first, "instance_url"), "http://127.0.0.1:1");
    let second = refresh(&server, text(&first, "refresh_token")).expect(200).json();
    assert_ne!(first["refresh_token"], second["refresh_token"], "it rotates");
    // the old one again: refused, and the new one is dead with it
    let refused = refresh(&server, text(&first, "refresh_token")).expect(400).json();
    assert_eq!(refused["error"], "invalid_grant");
    refresh(&server, text(&second, "refresh_token")).expect(400);
    assert_eq!(server.refreshes(), 1);
    assert_eq!(server.counts()["refresh_token.refused"], json!(2));
}

#[test]
fn a_grant_is_revoked_and_forgotten() {
    if oidc::missing("a_grant_is_revoked_and_forgotten") {
        return;
    }
    let server = Oidc::start(&[]);
    let one = grant(&server, "ada");
    let token = text(&one, "refresh_token");
    let fields = [("token", token), ("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)];
    http::post_form(&format!("{}/services/oauth2/revoke", server.url()), &[], &fields).expect(200);
    refresh(&server, token).expect(400);
    let two = grant(&server, "bob");
    server.forget();
    assert_eq!(
        refresh(&server, text(&two, "refresh_token")).expect(400).json()["error"],
        "invalid_grant"
    );
}

#[test]
fn a_lost_answer_loses_the_grant() {
    if oidc::missing("a_lost_answer_loses_the_grant") {
        return;
    }
    let server = Oidc::start(&[]);
    let proxy = TcpProxy::start(server.port);
    proxy.only("POST /services/oauth2/token");
    let one = grant(&server, "ada");
    proxy.set(Mode::DropAnswer);
    let address = format!("{}/services/oauth2/token", proxy.url());
    let body = http::form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&one, "refresh_token")),
        ("client_id", CLIENT_ID),
        ("client_secret", CLIENT_SECRET),
    ]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    http::try_request("POST", &address, &headers, body.as_bytes()).expect_err("no answer");
    proxy.wait_acted(1);
    assert_eq!(server.refreshes(), 1, "the server has rotated");
    refresh(&server, text(&one, "refresh_token")).expect(400);
}

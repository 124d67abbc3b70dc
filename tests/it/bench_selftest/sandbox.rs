//! The sandbox as the bench drives it: ready line, walk through its pages, control verbs, dump.

use crate::support::browser::{Walk, parameter, walk};
use crate::support::http;
use crate::support::sandbox::Sandbox;
use base64::Engine as _;
use serde_json::Value;
use sha2::Digest as _;

const REDIRECT: &str = "http://localhost:17817/oauth/cb/salesforce";
const VERIFIER: &str = "a-verifier-that-is-long-enough-for-the-rule-of-43-characters";

fn authorize_address(sandbox: &Sandbox) -> String {
    let hash = sha2::Sha256::digest(VERIFIER.as_bytes());
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash);
    let query = http::form(&[
        ("response_type", "code"),
        ("client_id", &sandbox.client_id),
        ("redirect_uri", REDIRECT),
        ("scope", "api refresh_token"),
        ("state", "s-1"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ]);
    format!("{}/services/oauth2/authorize?{query}", sandbox.http)
}

fn token(sandbox: &Sandbox) -> Value {
    let who = Walk { user: &sandbox.user, password: &sandbox.password, approve: true };
    let landed = walk(&authorize_address(sandbox), &who).expect("the walk");
    assert_eq!(parameter(&landed, "state").as_deref(), Some("s-1"), "{landed}");
    let code = parameter(&landed, "code").expect("a code");
    let fields = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("client_id", &sandbox.client_id),
        ("client_secret", &sandbox.client_secret),
    ];
    let address = format!("{}/services/oauth2/token", sandbox.http);
    http::post_form(&address, &[], &fields).expect(200).json()
}

#[test]
fn the_sandbox_is_walked_and_steered() {
    let sandbox = Sandbox::start(&["--records", "Account=25"]);
    let granted = token(&sandbox);
    let bearer = format!("Bearer {}", granted["access_token"].as_str().expect("a token"));
    let limits = format!("{}/services/data/v64.0/limits", sandbox.http);
    let headers = [("authorization", bearer.as_str())];
    http::request("GET", &limits, &headers, b"").expect(200);

    assert_eq!(sandbox.dump("Account").len(), 25);
    let source = sandbox.source("Account", &["Name", "AnnualRevenue"]);
    assert_eq!((source.records.len(), source.fields.len()), (25, 3), "{:?}", source.fields);
    sandbox.ctl(&["delete", "Account", "1"]);
    let gone = sandbox.dump("Account").iter().filter(|r| r["IsDeleted"] == true).count();
    assert_eq!(gone, 1, "a soft-deleted record stays in the dump");

    sandbox.ctl(&["revoke"]);
    http::request("GET", &limits, &headers, b"").expect(401);
}

#[test]
fn the_walk_declines_and_gets_stuck() {
    let sandbox = Sandbox::start(&["--records", "Account=1"]);
    let address = authorize_address(&sandbox);
    let no = Walk { user: &sandbox.user, password: &sandbox.password, approve: false };
    let landed = walk(&address, &no).expect("a redirect with the refusal");
    assert_eq!(parameter(&landed, "error").as_deref(), Some("access_denied"), "{landed}");
    let wrong = Walk { user: &sandbox.user, password: "not it", approve: true };
    walk(&address, &wrong).expect_err("a wrong password leads back to the page");
}

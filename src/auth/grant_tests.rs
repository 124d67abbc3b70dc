use super::*;
use crate::provider::salesforce::Salesforce;
use crate::provider::test_server::{Served, http, serve};
use crmsync_core::domain::{CredentialKind, Reason};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn provider(login: &Url) -> Salesforce {
    let keys = BTreeMap::from([("login_url".to_owned(), login.to_string())]);
    Salesforce::new(http(), &keys, CredentialKind::Code).unwrap()
}

fn app() -> App {
    App {
        client_id: "3MVG9".into(),
        client_secret: Some("SECRET-CANARY".to_owned().into()),
        redirect: "http://localhost:17817/oauth/cb/salesforce".into(),
    }
}

fn secret(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

fn form(server: &Served, at: usize) -> BTreeMap<String, String> {
    let body = server.seen.lock().unwrap()[at].body.clone();
    url::form_urlencoded::parse(body.as_bytes()).into_owned().collect()
}

const TOKEN: &str = r#"{"access_token":"ACCESS-CANARY","refresh_token":"REFRESH-CANARY",
    "instance_url":"https://x.my.salesforce.com","expires_in":7200,"token_type":"Bearer"}"#;

#[tokio::test]
async fn the_code_flow_proves_what_it_began() {
    let server = serve(|_| (200, vec![], TOKEN.into())).await;
    let p = provider(&server.base);
    let attempt = begin(&p.oauth().unwrap(), &app(), Some("ada@example.org"), &[7; 48]).unwrap();
    let query: BTreeMap<_, _> = attempt.authorize_url.query_pairs().into_owned().collect();
    assert_eq!(attempt.authorize_url.path(), "/services/oauth2/authorize");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "3MVG9"),
        ("redirect_uri", "http://localhost:17817/oauth/cb/salesforce"),
        ("scope", "api refresh_token id"),
        ("state", attempt.state.expose_secret()),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
        ("login_hint", "ada@example.org"),
    ] {
        assert_eq!(query.get(name).map(String::as_str), Some(value), "{name}");
    }
    let verifier = attempt.verifier.expose_secret();
    assert!((43..=128).contains(&verifier.len()));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    assert_eq!(query["code_challenge"], challenge);
    assert!(!attempt.authorize_url.as_str().contains(verifier));
    assert!(!format!("{attempt:?}").contains(verifier));

    let granted = exchange(&http(), &p, &app(), &attempt, &secret("aPrx==")).await.unwrap();
    assert_eq!(granted.session.token.expose_secret(), "ACCESS-CANARY");
    assert_eq!(granted.refresh.as_ref().unwrap().expose_secret(), "REFRESH-CANARY");
    assert!(!format!("{granted:?}").contains("CANARY"));
    let sent = form(&server, 0);
    for (name, value) in [
        ("grant_type", "authorization_code"),
        ("code", "aPrx=="),
        ("code_verifier", verifier),
        ("client_id", "3MVG9"),
        ("client_secret", "SECRET-CANARY"),
        ("redirect_uri", "http://localhost:17817/oauth/cb/salesforce"),
    ] {
        assert_eq!(sent.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert_eq!(server.targets(), ["/services/oauth2/token"]);
}

#[tokio::test]
async fn a_refresh_with_and_without_rotation_and_one_without_a_person() {
    let server = serve(|seen| {
        let plain = r#"{"access_token":"A","instance_url":"https://x.my.salesforce.com"}"#;
        let rotated = seen.body.contains("refresh_token=OLD");
        (200, vec![], if rotated { TOKEN.into() } else { plain.into() })
    })
    .await;
    let p = provider(&server.base);
    let rotated = refresh(&http(), &p, &app(), &secret("OLD")).await.unwrap();
    assert_eq!(rotated.refresh.unwrap().expose_secret(), "REFRESH-CANARY");
    let same = refresh(&http(), &p, &app(), &secret("SAME")).await.unwrap();
    assert!(same.refresh.is_none());
    client_credentials(&http(), &p, &app()).await.unwrap();
    assert_eq!(form(&server, 0)["grant_type"], "refresh_token");
    assert_eq!(form(&server, 2)["grant_type"], "client_credentials");
}

#[tokio::test]
async fn unsent_refused_and_unknown_are_told_apart() {
    async fn answer(status: u16, body: &str) -> GrantError {
        let body = body.to_owned();
        let server = serve(move |_| (status, vec![], body.clone())).await;
        let error =
            refresh(&http(), &provider(&server.base), &app(), &secret("CANARY")).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("CANARY"), "{text}");
        error
    }
    let dead = r#"{"error":"invalid_grant","error_description":"expired access/refresh token"}"#;
    let refused = answer(400, dead).await;
    assert!(matches!(
        refused,
        GrantError::Refused(Fault::NeedsAuthorization { reason: Reason::GrantRevoked, .. })
    ));
    for (status, body) in [(503, "<html>down</html>"), (500, dead), (429, "{}"), (420, "")] {
        let error = answer(status, body).await;
        assert!(matches!(error, GrantError::Refused(Fault::Passing { .. })), "{status} {error:?}");
    }
    assert!(matches!(answer(400, "what?").await, GrantError::Refused(Fault::Contract { .. })));
    assert!(matches!(answer(302, "").await, GrantError::Refused(Fault::Contract { .. })));
    for (status, body) in [
        (200, r#"{"access_token":"CANARY"#),
        (200, r#"{"access_token":"CANARY"}"#),
        (200, r#"{"access_token":"CANARY","instance_url":"http://evil.example"}"#),
        (200, "<html>CANARY</html>"),
        (200, ""),
        (502, ""),
        (504, "<html>"),
    ] {
        let error = answer(status, body).await;
        assert!(matches!(error, GrantError::Unknown(_)), "{status} {body} {error:?}");
    }
    // Gone before it was sent; cut after it was.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let error = refresh(&http(), &provider(&nobody), &app(), &secret("T")).await.unwrap_err();
    assert!(matches!(error, GrantError::NotSent(Fault::Passing { .. })), "{error:?}");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cutter = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 4096];
        let _ = socket.read(&mut buffer).await;
        let _ =
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{\"access_tok").await;
    });
    let error = refresh(&http(), &provider(&cutter), &app(), &secret("T")).await.unwrap_err();
    assert!(matches!(error, GrantError::Unknown(Fault::Passing { .. })), "{error:?}");
    task.await.unwrap();
}

#[tokio::test]
async fn what_is_revoked_already_is_revoked() {
    for (status, body, fine) in [
        (200, "", true),
        (400, r#"{"error":"invalid_token"}"#, true),
        (400, r#"{"error":"unsupported_token_type"}"#, true),
        (400, r#"{"error":"invalid_client"}"#, false),
        (503, "", false),
    ] {
        let server = serve(move |_| (status, vec![], body.to_owned())).await;
        let done = revoke(&http(), &provider(&server.base), &app(), &secret("R")).await;
        assert_eq!(done.is_ok(), fine, "{status} {body}");
        assert_eq!(form(&server, 0)["token"], "R");
        assert_eq!(server.targets(), ["/services/oauth2/revoke"]);
    }
}

#[test]
fn recorded_token_answers_open_sessions() {
    use crate::provider::salesforce::testing::{data, recorded};
    let Some(dir) = data() else { return };
    let p = provider(&Url::parse("https://login.salesforce.com").unwrap());
    for name in [
        "constructed/oauth_token_authorization_code.json",
        "constructed/oauth_token_client_credentials.json",
        "constructed/oauth_token_refresh_rotated.json",
        "oauth/restforce_auth_success_response.json",
        "oauth/restforce_reauth_success_response.json",
        "oauth/restforce_refresh_success_response.json",
    ] {
        let value: Value = serde_json::from_str(&recorded(&dir, name)).unwrap();
        let session = p.session(&value).unwrap();
        assert!(session.base.host_str().unwrap().ends_with(".salesforce.com"), "{name}");
    }
}

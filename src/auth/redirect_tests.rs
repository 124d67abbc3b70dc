use super::*;
use crate::auth::{App, begin};
use crate::provider::salesforce::Salesforce;
use crate::provider::test_server::http;
use crmsync_core::domain::{CredentialKind, Reason};
use proptest::prelude::*;

fn made() -> (Salesforce, Attempt) {
    let p = Salesforce::new(http(), &BTreeMap::new(), CredentialKind::Code).unwrap();
    let app = App {
        client_id: "c".into(),
        client_secret: None,
        redirect: "http://localhost:17817/oauth/cb/salesforce".into(),
    };
    let attempt = begin(&p.oauth().unwrap(), &app, None, &[9; 48]).unwrap();
    (p, attempt)
}

#[test]
fn codes_are_taken_from_what_people_paste() {
    let (p, attempt) = made();
    let state = attempt.state.expose_secret().to_owned();
    let code = |text: &str| {
        code_from_redirect(&p, &attempt, text).map(|code| code.expose_secret().to_owned())
    };
    let base = "http://localhost:17817/oauth/cb/salesforce";
    for text in [
        format!("{base}?code=aPrx%3D%3D&state={state}"),
        format!("  '{base}?state={state}&code=aPrx%3D%3D'\n"),
        format!("/oauth/cb/salesforce?code=aPrx%3D%3D&state={state}"),
        format!("code=aPrx%3D%3D&state={state}"),
        format!("{base}?code=aPrx%3D%3D&state={state}&iss=https%3A%2F%2Flogin.salesforce.com"),
        format!("{base}?code=aPrx%3D%3D&state={state}#frag"),
    ] {
        assert_eq!(code(&text).unwrap(), "aPrx==", "{text}");
    }
    // Decoded once, not twice.
    assert_eq!(code(&format!("{base}?code=a%253D&state={state}")).unwrap(), "a%3D");
    let is = |text: &str, piece: &str| {
        let error = code(text).unwrap_err().to_string();
        assert!(error.contains(piece), "{text}: {error}");
    };
    is("", "no state");
    is("hello", "no state");
    is(base, "no parameters");
    is(&format!("{base}?code=x"), "no state");
    is(&format!("{base}?code=x&state=other"), "another attempt");
    is(&format!("{base}?code=x&state={state}&iss=https%3A%2F%2Fevil.example"), "another server");
    is(&format!("{base}?state={state}"), "no code");
    is(&format!("{base}?code=&state={state}"), "no code");
    is(&format!("{base}?code=a&code=b&state={state}"), "twice");
    is(&"x".repeat(20_000), "too long");
}

#[test]
fn a_refusal_is_mapped_but_only_with_our_state() {
    let (p, attempt) = made();
    let state = attempt.state.expose_secret();
    let of = |query: &str| code_from_redirect(&p, &attempt, &format!("http://localhost/?{query}"));
    let denied =
        of(&format!("error=access_denied&error_description=end-user+denied&state={state}"));
    assert!(
        matches!(&denied, Err(RedirectError::Refused(Fault::Denied { permission, .. })) if permission.contains("end-user denied"))
    );
    let blocked = of(&format!(
        "error=OAUTH_APP_BLOCKED&error_description=this+app+is+blocked+by+admin&state={state}"
    ));
    assert!(matches!(
        blocked,
        Err(RedirectError::Refused(Fault::NeedsAuthorization { reason: Reason::AppBlocked, .. }))
    ));
    assert_eq!(of("error=access_denied&state=forged").unwrap_err(), RedirectError::State);
}

proptest! {
    #[test]
    fn nothing_pasted_panics_or_brings_a_code_without_the_state(text in "\\PC{0,300}") {
        let (p, attempt) = made();
        prop_assert!(code_from_redirect(&p, &attempt, &text).is_err());
    }
}

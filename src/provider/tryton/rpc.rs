//! One JSON-RPC exchange, and what its failures mean.
//!
//! Hides the protocol of series 6.0: errors of the application come with status 200, a dead
//! session is 401. Invariants: the body decides; an unknown class of error passes by itself, for
//! a server that has not loaded its database yet answers `["'res.user'", ""]`.

use super::Tryton;
use crate::provider::http::{Answer, DATA_LIMIT, excerpt};
use crate::provider::{Ctx, Failure};
use crmsync_core::domain::{Fault, Time};
use jiff::SignedDuration;
use reqwest::Method;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What a question was about, for faults that name it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub object: Option<&'a str>,
    pub fields: &'a [String],
}

/// The JSON text of a result.
pub(super) struct Got {
    pub result: String,
    pub server_time: Option<Time>,
}

#[derive(Deserialize)]
struct Reply<'a> {
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    error: Option<Value>,
}

/// Asks and pays for it.
pub(super) async fn call(
    tryton: &Tryton,
    ctx: Ctx<'_>,
    method: &str,
    params: Value,
    about: About<'_>,
) -> Result<Got, Failure> {
    let mut header =
        HeaderValue::from_str(&format!("Session {}", ctx.session.token.expose_secret()))
            .map_err(|_| Fault::contract("a session key that is no header"))?;
    header.set_sensitive(true);
    let request = tryton
        .http
        .request(Method::POST, tryton.endpoint.clone())?
        .header(AUTHORIZATION, header)
        .json(&json!({"id": 1, "method": method, "params": params}))
        .build()
        .map_err(|e| Fault::contract(format!("building a request: {}", e.without_url())))?;
    // No limit is told: there are no headers to read usage from.
    let (answer, _) = tryton.http.paid(ctx.toll, 1, request, DATA_LIMIT, |_| Vec::new()).await?;
    let server_time = answer.server_time();
    let result = result(answer, about)?;
    Ok(Got { result, server_time })
}

/// The result's JSON text out of an answer, or the failure.
pub(super) fn result(answer: Answer, about: About<'_>) -> Result<String, Failure> {
    if answer.status != 200 {
        return Err(refusal(&answer));
    }
    let host = answer.host.clone();
    if answer.is_html() {
        return Err(Fault::passing(format!("{host} answered with an HTML page")).into());
    }
    let body = String::from_utf8(answer.body)
        .map_err(|_| Fault::contract(format!("{host}: an answer is not UTF-8")))?;
    let reply: Reply = serde_json::from_str(&body)
        .map_err(|e| Fault::contract(format!("{host}: an answer is not JSON-RPC: {e}")))?;
    match (reply.error, reply.result) {
        (Some(error), _) if !error.is_null() => Err(application_error(&error, about).into()),
        (_, result) => Ok(result.map_or_else(|| "null".to_owned(), |raw| raw.get().to_owned())),
    }
}

/// An answer whose status is not 200.
pub(super) fn refusal(answer: &Answer) -> Failure {
    let host = &answer.host;
    match answer.status {
        401 => Failure::SessionDead(format!("{host} answered 401")),
        403 => {
            Fault::Denied { object: None, field: None, permission: format!("{host} answered 403") }
                .into()
        }
        404 => Fault::Misconfigured {
            what: format!("{host} answered 404; hint: check url and database"),
        }
        .into(),
        429 => Fault::Passing {
            what: format!("{host} answered 429: too many log-ins"),
            retry_after: answer.retry_after().or(Some(SignedDuration::from_mins(15))),
        }
        .into(),
        status if status < 500 && answer.is_html() => {
            // The framework's own error pages are HTML; their text is for people.
            Fault::passing(format!("{host} answered {status} with an HTML page")).into()
        }
        status => answer
            .passing()
            .unwrap_or_else(|| {
                Fault::contract(format!("{host} answered {status}: {}", excerpt(&answer.text())))
            })
            .into(),
    }
}

/// `["UserError", ["You are not allowed to access …", "", null]]`, `["'nofield'", ""]`.
pub(super) fn application_error(error: &Value, about: About<'_>) -> Fault {
    let class = error.get(0).and_then(Value::as_str).unwrap_or_default();
    let said = error.get(1);
    let message = said
        .and_then(|v| v.get(0).and_then(Value::as_str).or_else(|| v.as_str()))
        .unwrap_or_default();
    let text = excerpt(format!("{class}: {message}").trim_end_matches([':', ' ']));
    let object = about.object.map(str::to_owned);
    match class {
        "UserError" | "AccessError" if message.contains("not allowed") => {
            Fault::Denied { object, field: None, permission: text }
        }
        "NotLogged" => Fault::passing(text),
        "UserError" | "ValidationError" | "UserWarning" => Fault::RecordRefused { why: text },
        "ConcurrencyException" => Fault::Conflict { record: text },
        _ => {
            // A Python KeyError, which names the missing key in quotes.
            let missing = class.strip_prefix('\'').and_then(|c| c.strip_suffix('\''));
            let field = missing.filter(|name| about.fields.iter().any(|f| f == name));
            match (object, field) {
                (Some(object), Some(field)) => {
                    Fault::SchemaMoved { object, field: Some(field.to_owned()) }
                }
                _ => Fault::passing(format!("the server answered with an error: {text}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use reqwest::header::HeaderMap;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            headers: HeaderMap::new(),
            body: body.as_bytes().to_vec(),
            host: "erp.example".into(),
        }
    }

    #[test]
    fn the_body_decides_what_a_200_means() {
        let fields = ["name".to_owned(), "nofield".to_owned()];
        let about = About { object: Some("party.party"), fields: &fields };
        let ask = |body: &str| result(answer(200, body), about);
        assert_eq!(ask(r#"{"id":1,"result":[1,2]}"#).unwrap(), "[1,2]");
        assert_eq!(ask(r#"{"id":1,"result":null}"#).unwrap(), "null");
        let denied = ask(
            r#"{"id":1,"error":["UserError",["You are not allowed to access \"Party\".","",null]]}"#,
        );
        assert!(
            matches!(denied, Err(Failure::Fault(Fault::Denied { object: Some(o), .. })) if o == "party.party")
        );
        let gone = ask(r#"{"id":1,"error":["'nofield'",""]}"#);
        assert_eq!(
            gone.unwrap_err(),
            Fault::SchemaMoved { object: "party.party".into(), field: Some("nofield".into()) }
                .into()
        );
        let loading = ask(r#"{"id":1,"error":["'res.user'",""]}"#);
        assert!(matches!(loading, Err(Failure::Fault(Fault::Passing { .. }))));
        assert!(matches!(ask("<html>"), Err(Failure::Fault(Fault::Passing { .. }))));
        assert!(matches!(ask("nonsense"), Err(Failure::Fault(Fault::Contract { .. }))));
    }

    #[test]
    fn statuses() {
        let of = |status| refusal(&answer(status, ""));
        assert!(matches!(of(401), Failure::SessionDead(_)));
        assert!(matches!(of(429), Failure::Fault(Fault::Passing { retry_after: Some(_), .. })));
        assert!(matches!(of(404), Failure::Fault(Fault::Misconfigured { .. })));
        assert!(matches!(of(503), Failure::Fault(Fault::Passing { .. })));
        assert!(matches!(of(400), Failure::Fault(Fault::Contract { .. })));
    }

    proptest! {
        #[test]
        fn no_answer_panics(status in 100u16..600, body in "[\\x20-\\x7e]{0,200}") {
            let _ = result(answer(status, &body), About::default());
        }
    }
}

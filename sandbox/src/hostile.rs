//! Whatever is sent, the sandbox answers: no panic, a status that is one, and JSON where it says so.

use std::sync::{Arc, LazyLock};

use axum::http::{HeaderMap, HeaderValue};
use clap::Parser;
use proptest::prelude::*;

use crate::request::Request;
use crate::rest::{self, Caller};
use crate::sandbox::Sandbox;
use crate::{ctl, oauth, serve};

#[derive(Parser)]
struct Only {
    #[command(flatten)]
    options: serve::Options,
}

fn sandbox() -> Arc<Sandbox> {
    let options = ["x", "--records", "Account=30", "--records", "Contact=10"];
    serve::build(&Only::parse_from(options).options, "http://127.0.0.1:1").unwrap()
}

static SHARED: LazyLock<Arc<Sandbox>> = LazyLock::new(sandbox);

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::sample::select(vec![
            "services",
            "data",
            "oauth2",
            "v64.0",
            "v31.0",
            "v.0",
            "sobjects",
            "Account",
            "Contact",
            "User",
            "describe",
            "updated",
            "deleted",
            "query",
            "queryAll",
            "limits",
            "recordCount",
            "composite",
            "batch",
            "Email",
            "Id",
            "001Dn0000000001IAA",
            "003000000000000",
            "authorize",
            "token",
            "revoke",
            "introspect",
            "userinfo",
            "id",
            "01g-0",
            "jobs",
            "results",
            "resultPages",
            "750Dn0000000001AAA",
            "01gaaaaaaaaaaaaaaa-99",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
        ".{0,6}",
    ]
}

fn pair() -> impl Strategy<Value = String> {
    let name = proptest::sample::select(vec![
        "q",
        "locator",
        "queryLocator",
        "maxRecords",
        "fields",
        "ids",
        "start",
        "end",
        "sObjects",
        "_HttpMethod",
        "grant_type",
        "code",
        "refresh_token",
        "client_id",
        "client_secret",
        "redirect_uri",
        "response_type",
        "token",
        "code_challenge",
        "code_challenge_method",
        "username",
        "password",
        "approve",
        "arg",
        "used",
        "max",
        "times",
        "per_second",
        "seconds",
        "status",
        "path",
        "user",
    ]);
    let value = prop_oneof![
        Just("SELECT+Id+FROM+Account+WHERE+Name+LIKE+'%25'".to_owned()),
        Just("3MVG9sandboxClient".to_owned()),
        Just("http://localhost:17817/oauth/cb/salesforce".to_owned()),
        Just("refresh_token".to_owned()),
        Just("2026-01-01T00:00:00Z".to_owned()),
        Just(u64::MAX.to_string()),
        "-?[0-9]{1,20}",
        ".{0,20}",
    ];
    (name, value).prop_map(|(name, value)| format!("{name}={value}"))
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?[0-9]{1,25}(\\.[0-9]{1,5})?(e[0-9]{1,3})?",
        proptest::sample::select(vec![
            "\"Account\"",
            "\"GET\"",
            "\"/services/data/v64.0/sobjects\"",
            "\"@{a.id}\"",
            "\"\\u0000\""
        ])
        .prop_map(str::to_owned),
        "[ -~]{0,10}",
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let name = proptest::sample::select(vec![
            "compositeRequest",
            "batchRequests",
            "records",
            "attributes",
            "type",
            "method",
            "url",
            "referenceId",
            "body",
            "Name",
            "Id",
            "LastName",
            "richInput",
            "operation",
            "query",
            "ids",
            "fields",
        ]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| format!("[{}]", list.join(","))),
            prop::collection::vec((name, inner), 0..5).prop_map(|pairs| {
                let pairs: Vec<String> =
                    pairs.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
                format!("{{{}}}", pairs.join(","))
            }),
        ]
    })
}

fn request() -> impl Strategy<Value = Request> {
    (
        proptest::sample::select(vec!["GET", "POST", "PATCH", "DELETE", "HEAD", "PUT"]),
        prop::bool::ANY,
        prop::collection::vec(word(), 0..5),
        prop::collection::vec(pair(), 0..5),
        prop_oneof![
            json_text(),
            prop::collection::vec(pair(), 0..6).prop_map(|p| p.join("&")),
            ".{0,40}"
        ],
    )
        .prop_map(|(method, data, words, pairs, body)| {
            let start = if data { "/services/data/v64.0/" } else { "/" };
            let target = format!("{start}{}?{}", words.join("/"), pairs.join("&"));
            let mut headers = HeaderMap::new();
            headers.insert("if-modified-since", HeaderValue::from_static("Sat, 99 Foo 2000"));
            headers.insert("authorization", HeaderValue::from_static("Basic Ojo6"));
            Request::new(method, &target, headers, body.into_bytes())
        })
}

fn caller(sandbox: &Sandbox) -> Caller {
    let world = sandbox.world();
    Caller::new(&world, world.users.get("bob").unwrap())
}

fn sound(reply: &crate::reply::Reply) -> Result<(), TestCaseError> {
    prop_assert!((200..600).contains(&reply.status), "{}", reply.status);
    if reply.content_type.starts_with("application/json") && !reply.body.is_empty() {
        let parsed = serde_json::from_slice::<serde_json::Value>(&reply.body);
        prop_assert!(parsed.is_ok(), "{}", String::from_utf8_lossy(&reply.body));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn every_request_gets_a_sound_answer(request in request()) {
        let _ = rest::kind(&request);
        let _ = rest::cost(&request);
        sound(&rest::answer(&SHARED, &caller(&SHARED), &request))?;
        if let Some(reply) = oauth::answer(&SHARED, &request) {
            sound(&reply)?;
        }
    }
}

const VERBS: &[&str] = &[
    "revoke",
    "deactivate",
    "activate",
    "freeze",
    "password",
    "profile",
    "permission",
    "hide-object",
    "hide-field",
    "hide-records",
    "block-app",
    "run-as",
    "org-id",
    "refresh-policy",
    "token-life",
    "expire-tokens",
    "quota",
    "others-spend",
    "token-error",
    "fail",
    "act-then",
    "cut",
    "slow",
    "page-size",
    "clock",
    "bulk-latency",
    "bulk-stuck",
    "bulk-fail",
    "bulk-fail-over",
    "bulk-refuse",
    "bulk-corrupt",
    "bulk-page-rows",
    "bulk-quota",
    "bulk-expire",
    "bulk-clear",
    "throttle",
    "stall",
    "dribble",
    "composite-deleted",
    "field",
    "touch",
    "create",
    "late-commit",
    "delete",
    "undelete",
    "merge",
    "purge",
    "empty-bin",
    "trim-delete-log",
    "calls",
    "state",
    "counters",
];

fn argument() -> impl Strategy<Value = (String, String)> {
    let value = prop_oneof![
        proptest::sample::select(vec![
            "ada",
            "bob",
            "on",
            "off",
            "Account",
            "Contact",
            "ApiEnabled",
            "drop",
            "hold",
            "add",
            "remove",
            "retype",
            "Name",
            "X__c",
            "string",
            "1",
            "0",
            "2",
            "idle",
            "none",
            "18446744073709551615",
            "9223372036854775807",
            "-9223372036854775808",
            "00DXX0000000777",
        ])
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    let name = prop_oneof![
        4 => Just("arg"),
        1 => proptest::sample::select(vec!["used", "max", "times", "per_second", "seconds", "ms", "ids", "before", "winner", "losers"]),
    ];
    (name.prop_map(str::to_owned), value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_history_of_verbs_leaves_a_working_sandbox(
        verbs in prop::collection::vec(
            (proptest::sample::select(VERBS), prop::collection::vec(argument(), 0..4)), 1..25)
    ) {
        let sandbox = sandbox();
        for (verb, args) in verbs {
            let _ = ctl::run_pairs(&sandbox, verb, args);
            let now = sandbox.now();
            sandbox.world().meter.usage(now);
        }
        let target = "/services/data/v64.0/query?q=SELECT+Id+FROM+Account";
        let request = Request::new("GET", target, HeaderMap::new(), Vec::new());
        sound(&rest::answer(&sandbox, &caller(&sandbox), &request))?;
    }
}

//! Secrets stay where they belong: after the whole story at the loudest log level no secret that
//! went over a wire is found in logs, database files, process list, mails, answers of the socket
//! or outputs of the client; in clear, in base64, percent or hex.

use crate::support::daemon::{Daemon, notify, salesforce};
use crate::support::front::{Exchange, Front};
use crate::support::loud;
use crate::support::postfix::{self, Postfix};
use crate::support::sandbox::Sandbox;
use crate::support::tryton::{self, Tryton, USER};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

/// Secrets by what they are.
type Canaries = BTreeMap<String, BTreeSet<String>>;

/// 24 characters that nobody else writes.
fn canary() -> String {
    let mut bytes = [0u8; 18];
    getrandom::fill(&mut bytes).expect("random bytes");
    URL_SAFE_NO_PAD.encode(bytes)
}

fn note(found: &mut Canaries, what: &str, value: &str) {
    // shorter ones are no secrets, and would be found by chance
    if value.len() >= 12 {
        found.entry(what.to_owned()).or_default().insert(value.to_owned());
    }
}

/// Every secret of an exchange: of forms, of JSON answers, of the header of the bearer.
fn collect(found: &mut Canaries, seen: &[Exchange]) {
    for Exchange { request, answer } in seen {
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or((request, ""));
        let first = head.split_whitespace().nth(1).unwrap_or_default();
        let query = first.split_once('?').map_or("", |(_, q)| q);
        for form in [query, body] {
            for (name, value) in url::form_urlencoded::parse(form.as_bytes()) {
                let secret = [
                    "code",
                    "code_verifier",
                    "client_secret",
                    "refresh_token",
                    "token",
                    "password",
                    "state",
                ];
                if secret.contains(&name.as_ref()) {
                    note(found, &name, &value);
                }
            }
        }
        for line in head.lines() {
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("authorization")
            {
                let token = value.split_whitespace().last().unwrap_or_default();
                note(found, "authorization", token);
            }
        }
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        if let Some(json) = document(body) {
            for name in ["access_token", "refresh_token"] {
                note(found, name, json.get(name).and_then(Value::as_str).unwrap_or_default());
            }
        }
        let location = head.lines().find_map(|l| l.strip_prefix("location: ")).unwrap_or_default();
        let query = location.split_once('?').map_or("", |(_, q)| q);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if name == "code" || name == "state" {
                note(found, &name, &value);
            }
        }
    }
}

/// All ways in which a secret may stand somewhere.
fn forms(secret: &str) -> BTreeSet<String> {
    let bytes = secret.as_bytes();
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let percent = |all: bool, upper: bool| -> String {
        let plain = |b: u8| !all && (b.is_ascii_alphanumeric() || b"-_.~".contains(&b));
        let each = bytes.iter().map(|b| match (plain(*b), upper) {
            (true, _) => char::from(*b).to_string(),
            (false, true) => format!("%{b:02X}"),
            (false, false) => format!("%{b:02x}"),
        });
        each.collect()
    };
    let json = serde_json::to_string(secret).expect("a string");
    let mut all: BTreeSet<String> = [
        secret.to_owned(),
        json.trim_matches('"').to_owned(),
        hex.to_uppercase(),
        hex,
        percent(false, true),
        percent(false, false),
        percent(true, true),
        percent(true, false),
    ]
    .into();
    for before in 0..3usize {
        // What does not depend on the neighbours, at each alignment.
        let mut padded = vec![0u8; before];
        padded.extend_from_slice(bytes);
        let from = (before * 8).div_ceil(6);
        let to = padded.len() * 8 / 6;
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            all.insert(engine.encode(&padded)[from..to].to_owned());
        }
    }
    all
}

/// A place and what stands there.
type Place = (String, String);

fn files(dir: &Path, places: &mut Vec<Place>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, places);
        } else if let Ok(bytes) = std::fs::read(&path) {
            places.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
}

fn leaks(canaries: &Canaries, places: &[Place]) -> Vec<String> {
    let mut found = Vec::new();
    for (what, secrets) in canaries {
        for form in secrets.iter().flat_map(|s| forms(s)) {
            for (place, text) in places {
                if let Some(at) = text.find(&form) {
                    let start = text[..at].char_indices().rev().nth(120).map_or(0, |(i, _)| i);
                    found.push(format!("{what} ({form}) in {place}: …{}", &text[start..at]));
                }
            }
        }
    }
    found
}

/// What every local user can see of the process, and what its environment holds.
fn process(daemon: &mut Daemon, places: &mut Vec<Place>) {
    let pid = daemon.proc().pid();
    for name in ["cmdline", "environ", "comm"] {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        places.push((format!("/proc/{name}"), String::from_utf8_lossy(&bytes).into_owned()));
    }
}

/// Outputs of the client and answers of the socket.
fn outputs(daemon: &Daemon, places: &mut Vec<Place>) {
    for words in [
        "status",
        "status --all",
        "status sf",
        "connections",
        "log sf",
        "notices",
        "audit",
        "quota",
        "quota sf",
        "config show",
        "config show --origin",
        "check",
        "key status",
        "mail log",
        "test sf",
        "fields sf",
        "sync sf",
        "reload",
    ] {
        for json in [true, false] {
            let mut args: Vec<&str> = words.split(' ').collect();
            if json {
                args.push("--json");
            }
            let config = daemon.path("etc").display().to_string();
            if words == "check" || words.starts_with("config") {
                args.extend(["--config", &config]);
            }
            let said = daemon.cli(&args);
            places.push((format!("crmsync {args:?}"), said.out + &said.err));
        }
    }
    for path in [
        "status",
        "notices",
        "mails",
        "audit",
        "quota",
        "config",
        "key",
        "connections/sf",
        "connections/sf/runs",
    ] {
        let said = daemon.api("GET", &format!("/v1/{path}"), None);
        places.push((format!("GET /v1/{path}"), said.text));
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let secret = "Ab!c/d+eF=gh1234567890xyz";
    for (at, around) in ["", "x", "xy", "xyz"].iter().enumerate() {
        let text = format!("{around}{secret}{around}");
        let mut hidden =
            vec![text.clone(), STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)];
        hidden.push(text.bytes().map(|b| format!("{b:02X}")).collect());
        hidden.push(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
        for place in hidden {
            let found = leaks(
                &[("x".to_owned(), [secret.to_owned()].into())].into(),
                &[("p".to_owned(), place.clone())],
            );
            assert!(!found.is_empty(), "{at}: {place}");
        }
    }
}

#[test]
fn no_secret_is_found_anywhere() {
    let mut known = Canaries::new();
    let client_secret = canary();
    note(&mut known, "client secret", &client_secret);
    let front = Front::start();
    let sandbox = Sandbox::start(&[
        "--rotate",
        "--public-url",
        &front.url(),
        "--client-secret",
        &client_secret,
        "--records",
        "Account=150",
        "--records",
        "Contact=20",
    ]);
    front.aim(sandbox.port());
    let (mail, tryton) = servers();
    let mut daemon = Daemon::prepare("", &[("CRMSYNC_LOG", "trace")]);
    let kept = daemon.path("smtp.password");
    std::fs::write(&kept, postfix::PASSWORD).expect("keeping the mail password");
    let mut config = match &mail {
        Some(server) => {
            note(&mut known, "mail password", postfix::PASSWORD);
            let plain = notify(server.submission).replace("\"127.0.0.1\"", "\"localhost\"");
            let login = format!(
                "tls = \"starttls\"
username = \"{}\"
password = {{ file = \"{}\" }}
ca_file = \"{}\"",
                postfix::LOGIN,
                kept.display(),
                server.certs.ca.display()
            );
            plain.replace("tls = \"none\"", &login)
        }
        None => notify(1),
    };
    config += &salesforce("sf", &sandbox, "every 1h").replace(&sandbox.http, &front.url());
    config += "[connections.sf.objects]\nAccount = \"all\"\nContact = \"all\"\n";
    let erp = Front::start();
    let password = canary();
    if let Some(server) = &tryton {
        erp.aim(server.port());
        server.create_parties(12);
        server.set_password(USER.0, &password);
        note(&mut known, "password", &password);
        config += &format!(
            "[connections.erp]\nprovider = \"tryton\"\nurl = \"{}\"\ndatabase = \"{}\"\nusername = \"{}\"\nschedule = \"every 1h\"\n[connections.erp.objects]\n\"party.party\" = \"all\"\n",
            erp.url(),
            tryton::DB,
            USER.0
        );
    }
    daemon.write_config("crmsync.toml", &config);
    daemon.start_again();
    let mut places = Vec::new();

    // The story: authorized, loaded, renewed, refused, authorized again, a wrong secret.
    let said = daemon.cli_with(&["secret", "set", "sf", "client_secret"], client_secret.as_bytes());
    places.push(("crmsync secret set".to_owned(), said.out + &said.err));
    daemon.authorize_as("sf", &sandbox.user, &sandbox.password, false).ok();
    daemon.wait_reason("sf", "Active", "idle");
    if tryton.is_some() {
        let said = daemon.log_in("erp", &password);
        assert!(said.status < 300, "{}", said.text);
        daemon.wait_reason("erp", "Active", "idle");
        let wrong = canary();
        note(&mut known, "wrong password", &wrong);
        places.push(("a wrong password".to_owned(), daemon.log_in("erp", &wrong).text));
        daemon.api("POST", "/v1/connections/erp/test", Some(&serde_json::json!({})));
    }
    for _ in 0..2 {
        sandbox.ctl(&["expire-tokens"]);
        sandbox.ctl(&["touch", "Account", "5"]);
        daemon.sync("sf");
    }
    process(&mut daemon, &mut places);
    // A provider that says in its error what it was sent.
    let refresh = front.seen().iter().rev().find_map(|e| refresh_token(&e.answer));
    let echo = format!("bad token {} for {client_secret}", refresh.unwrap_or_default());
    sandbox.ctl(&["token-error", "invalid_request", &echo, "times=1"]);
    sandbox.ctl(&["expire-tokens"]);
    daemon.sync("sf");
    outputs(&daemon, &mut places);
    daemon.sync("sf");
    let bearer = front.seen().iter().rev().find_map(|e| bearer(&e.request));
    let echo = format!("message=no {}", bearer.unwrap_or_default());
    sandbox.ctl(&["fail", "status=400", "code=ODD", &echo, "path=/services/data/"]);
    daemon.sync("sf");
    outputs(&daemon, &mut places);
    daemon.sync("sf");
    sandbox.ctl(&["revoke"]);
    daemon.sync("sf");
    daemon.wait_status("sf", "the grant is dead", |s| s["needs_authorization"] == true);
    if let Some(server) = &mail {
        server.wait_mails("ada@example.test", 1, Duration::from_secs(90));
    }
    let wrong = canary();
    note(&mut known, "wrong client secret", &wrong);
    daemon.set_secret("sf", "client_secret", &wrong);
    let refused = daemon.authorize_as("sf", &sandbox.user, &sandbox.password, false);
    places.push(("a wrong client secret".to_owned(), refused.text));
    daemon.set_secret("sf", "client_secret", &client_secret);
    daemon.authorize_as("sf", &sandbox.user, &sandbox.password, false).ok();
    daemon.wait_reason("sf", "Active", "idle");
    outputs(&daemon, &mut places);

    collect(&mut known, &front.seen());
    for kind in ["access_token", "refresh_token", "code", "code_verifier", "state", "authorization"]
    {
        assert!(known.contains_key(kind), "the front saw no {kind}: {:?}", known.keys());
    }
    if let Some(server) = &mail {
        places.extend(server.mails().iter().map(|m| {
            (
                "a mail".to_owned(),
                format!("{:?}{}{}", m.headers, m.body, String::from_utf8_lossy(&m.raw)),
            )
        }));
    }
    // As they lie while it runs, logs of write-ahead included, and after a crash without a core.
    files(&daemon.path("state"), &mut places);
    daemon.proc().signal(rustix::process::Signal::ABORT);
    let ended = daemon.proc().wait_exit(Duration::from_secs(20));
    assert!(!ended.core_dumped(), "{ended}");
    for folder in ["state", "replica", "etc", "run", "log-1"] {
        files(&daemon.path(folder), &mut places);
    }
    let size: usize = places.iter().map(|(_, text)| text.len()).sum();
    let log = places.iter().find(|(p, _)| p.ends_with("crmsyncd.err")).map_or("", |(_, t)| t);
    assert!(log.contains("TRACE") || log.contains("DEBUG"), "the log is not loud");
    let found = leaks(&known, &places);
    let many: usize = known.values().map(BTreeSet::len).sum();
    loud(&format!(
        "{many} secrets of {} kinds sought in {} places, {size} bytes",
        known.len(),
        places.len()
    ));
    assert!(found.is_empty(), "{} leaks:\n{}", found.len(), found.join("\n"));
}

fn bearer(request: &str) -> Option<String> {
    let line = request.lines().find(|l| l.to_ascii_lowercase().starts_with("authorization: "))?;
    line.split_whitespace().last().map(str::to_owned)
}

/// The JSON of a body, chunked or not.
fn document(body: &str) -> Option<Value> {
    let (start, end) = (body.find('{')?, body.rfind('}')?);
    serde_json::from_str(body.get(start..=end)?).ok()
}

fn refresh_token(answer: &str) -> Option<String> {
    let (_, body) = answer.split_once("\r\n\r\n")?;
    document(body)?["refresh_token"].as_str().map(str::to_owned)
}

/// Real ones where they are installed.
fn servers() -> (Option<Postfix>, Option<Tryton>) {
    let mail = (!postfix::missing("the mail password as a canary")).then(Postfix::start);
    let tryton = (!tryton::missing("Tryton's password as a canary")).then(Tryton::start);
    (mail, tryton)
}

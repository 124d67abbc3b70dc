//! Broken configurations and what the admin reads about them, kept as golden files.

use crate::support::{SF, World, run, sources};
use crmsync_core::config::{Source, check};
use std::collections::BTreeMap;

/// The report of files and variables that must not pass.
fn report(files: &[(&str, &str)], vars: &[(&str, &str)]) -> String {
    match run(files, vars, &World::default()) {
        Ok(_) => panic!("passed"),
        Err(report) => {
            assert!(report.has_errors());
            report.render(false)
        }
    }
}

fn one(text: &str) -> String {
    report(&[("crmsync.toml", text)], &[])
}

/// `SF` with a line put into its first table.
fn with(line: &str) -> String {
    SF.replace("admins = ", &format!("{line}\nadmins = "))
}

#[test]
fn unknown_keys() {
    let text = with("shedule = \"every 5m\"\nlogin-url = \"https://x.example\"\ncolour = \"red\"");
    let text = format!("{text}\n[deamon]\nworkers = 2\n[notify]\nsmtp_host = \"x\"\nworkers = 3\n");
    insta::assert_snapshot!(one(&text));
}

#[test]
fn wrong_types() {
    let text = with(
        "enabled = \"true\"\nschedule = 15\nsweep = 7\nalarm_after = \"3\"\nerase_after = 2026-01-01",
    );
    let text = text.replace("admins = [\"ada@example.org\"]", "admins = \"ada@example.org\"");
    let text = format!(
        "{text}Contact = [\"Name\"]\nLead = true\n[daemon]\nworkers = 2.5\n[retention]\nruns = \"forever\"\naudit = \"1h\"\n[network]\nno_proxy = [1]\n"
    );
    insta::assert_snapshot!(one(&text));
}

#[test]
fn wrong_words() {
    let text = with("auth = \"oauth\"\ndeletes = \"marks\"");
    insta::assert_snapshot!(one(&format!(
        "[notify.smtp]\nhost = \"mail.example.org\"\nfrom = \"crmsync\"\ntls = \"ssl\"\n{text}"
    )));
}

#[test]
fn missing_keys() {
    let text = "[notify.smtp]\nusername = \"x\"\n\n[connections.a]\n\n[connections.b]\nprovider = \"salesforce\"\nadmins = []\n\n[connections.erp]\nprovider = \"tryton\"\n[connections.erp.objects]\n";
    insta::assert_snapshot!(one(text));
}

#[test]
fn syntax_errors() {
    let text = "[connections.sf-prod]\nprovider = salesforce\nclient_id = \"3MVG9\nschedule \"every 5m\"\n[connections.sf-prod.objects\nAccount = \"all\"\n";
    insta::assert_snapshot!(one(text));
}

#[test]
fn duplicate_keys() {
    let text = with("client_id = \"again\"");
    insta::assert_snapshot!(one(&format!("{text}\n[connections.sf-prod]\nenabled = false\n")));
}

#[test]
fn secrets_in_the_text() {
    let text = with("client_secret = \"s3cr3t-canary\"");
    let smtp = "[notify.smtp]\nhost = \"mail.example.org\"\nfrom = \"a@example.org\"\nusername = \"a\"\npassword = \"s3cr3t-canary\"\n[network]\nproxy = \"http://joe:s3cr3t-canary@proxy.example.org:3128\"\n";
    let erp = "[connections.erp]\nprovider = \"tryton\"\nurl = \"https://joe:s3cr3t-canary@erp.example.org\"\ndatabase = \"x\"\nusername = \"y\"\nadmins = [\"a@example.org\"]\nobjects = { \"party.party\" = \"all\" }\npassword = { value = \"s3cr3t-canary\" }\n";
    let vars = [("CRMSYNC_CONNECTIONS__SF_PROD__CLIENT_SECRET", "s3cr3t-canary")];
    let report = report(&[("crmsync.toml", &format!("{smtp}{erp}{text}"))], &vars);
    assert!(!report.contains("canary"), "{report}");
    insta::assert_snapshot!(report);
}

#[test]
fn secrets_beside_a_syntax_error() {
    let report =
        one("[connections.a]\nclient_secret = \"s3cr3t-canary\npassword = s3cr3t-canary\n");
    assert!(!report.contains("canary"), "{report}");
    insta::assert_snapshot!(report);
}

#[test]
fn secrets_kept_elsewhere() {
    let text = with("client_secret = { file = \"/etc/crmsync/none.secret\" }");
    let smtp = "[notify.smtp]\nhost = \"h\"\nfrom = \"a@example.org\"\nusername = \"a\"\npassword = { credential = \"smtp\" }\n[network]\nca_file = \"ca.pem\"\n";
    let world = World::with(&[], &[]);
    let report = run(&[("crmsync.toml", &format!("{smtp}{text}"))], &[], &world).unwrap_err();
    insta::assert_snapshot!(report.render(false));
}

#[test]
fn schedules_and_zones() {
    let text = with("schedule = \"hourly\"\ntime_zone = \"Europe/Belrin\"");
    let cron = SF.replace("sf-prod", "b").replace("admins", "schedule = \"61 2 * * *\"\nadmins");
    let long = SF
        .replace("sf-prod", "c")
        .replace("admins", "schedule = \"every 90d\"\ntime_zone = \"Mars\"\nadmins");
    let quiet = "[notify]\nquiet_hours = \"22-6\"\n";
    insta::assert_snapshot!(one(&format!("{quiet}{text}{cron}{long}")));
}

#[test]
fn percents() {
    let text = format!(
        "{SF}[connections.sf-prod.quota]\npause_at = \"70%\"\nown_share = 50\n{}[connections.b.quota]\npause_at = \"101%\"\nresume_below = \"half\"\nlimit = 0\n",
        SF.replace("sf-prod", "b")
    );
    insta::assert_snapshot!(one(&text));
}

#[test]
fn connection_names() {
    let text = SF.replace("sf-prod", "SF_Prod")
        + &SF.replace("sf-prod", "-")
        + &SF.replace("sf-prod", "\"sf prod\"");
    insta::assert_snapshot!(one(&text));
}

#[test]
fn providers() {
    let text = SF.replace("\"salesforce\"", "\"sales-force\"");
    let other = SF.replace("sf-prod", "b").replace("\"salesforce\"", "\"sap\"");
    let crossed = with("database = \"x\"").replace("sf-prod", "c");
    insta::assert_snapshot!(one(&format!("{text}{other}{crossed}")));
}

#[test]
fn urls() {
    let text =
        with("login_url = \"http://login.salesforce.com\"\ncallback_url = \"localhost:17817/cb\"");
    let erp = "[connections.erp]\nprovider = \"tryton\"\nurl = \"erp.example.org\"\ndatabase = \"x\"\nusername = \"y\"\nadmins = [\"a@example.org\"]\nobjects = { \"party.party\" = \"all\" }\ncallback_url = \"https://here.example.org/cb\"\n[network]\nproxy = \"socks5://proxy.example.org\"\n";
    insta::assert_snapshot!(one(&format!("{text}{erp}")));
}

#[test]
fn mail_addresses() {
    let text =
        SF.replace("\"ada@example.org\"", "\"ada\", \"bob@example.org, eve@example.org\", \"\"");
    insta::assert_snapshot!(one(&format!(
        "[notify.smtp]\nhost = \"mail.example.org\"\ntls = \"none\"\nfrom = \"crmsync <nobody>\"\n{text}"
    )));
}

#[test]
fn objects() {
    let text = format!(
        "{SF}account = \"all\"\nContact = {{ fields = [\"Name\", \"name\"] }}\nLead = {{ fields = [] }}\nCase = {{ feilds = [\"X\"] }}\nTask = {{ fields = [\"A\"], except = [\"B\"] }}\nEvent = \"some\"\nUser = {{}}\n"
    );
    insta::assert_snapshot!(one(&text));
}

#[test]
fn several_files_several_mistakes() {
    let main = "[notify]\nadmins = [\"ada@example.org\"]\ngather = 2\n";
    let first = SF.replace("schedule", "x").replace("\"3MVG9\"", "3");
    let second = "[connections.erp]\nprovider = \"tryton\"\nurl = \"https://erp.example.org\"\npassword = \"s3cr3t\"\n";
    let third = "[connections.sf-prod]\nschedule = \"every\"\n[connections.sf-prod.objects]\nACCOUNT = \"all\"\n";
    let files = [
        ("crmsync.toml", main),
        ("conf.d/10-sf.toml", first.as_str()),
        ("conf.d/20-erp.toml", second),
        ("conf.d/30-more.toml", third),
        ("conf.d/40-broken.toml", "[daemon\n"),
    ];
    insta::assert_snapshot!(report(&files, &[]));
}

#[test]
fn environment() {
    let vars = [
        ("CRMSYNC_CONNECTIONS__SF_PRD__SCHEDULE", "every 5m"),
        ("CRMSYNC_CONNECTIONS__SF_PROD__SHEDULE", "every 5m"),
        ("CRMSYNC_CONNECTIONS__SF_PROD__SCHEDULE", "evry 5m"),
        ("CRMSYNC_CONNECTIONS__SF_PROD__OBJECTS__ACCOUNT__FIELD", "Name"),
        ("CRMSYNC_CONNECTIONS__SF_PROD__QUOTA", "80%"),
        ("CRMSYNC_DAEMON__WORKERS", "many"),
        ("CRMSYNC_DAEMON_WORKERS", "4"),
        ("CRMSYNC_NOTIFY__ADMINS", "ada@example.org, bob"),
        ("crmsync_daemon__workers", "3"),
        ("CRMSYNC_LOG", "debug"),
    ];
    insta::assert_snapshot!(report(&[("crmsync.toml", SF)], &vars));
}

#[test]
fn files_that_are_no_text_or_too_large() {
    let mut bytes = SF.as_bytes().to_vec();
    bytes.splice(30..30, [0xe9]);
    let mut all = vec![Source::from_bytes("/etc/crmsync/latin1.toml", bytes)];
    all.extend(sources(&[("large.toml", &"# padding\n".repeat(110_000))]));
    let report =
        check(&all, &BTreeMap::new(), crate::support::SPECS, &World::default()).unwrap_err();
    insta::assert_snapshot!(report.render(false));
    insta::assert_json_snapshot!("as_json", report.to_json());
}

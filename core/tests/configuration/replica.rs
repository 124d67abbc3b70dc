//! `[replica]`: addresses of databases.

use crate::support::{SF, World, good, run};
use crmsync_core::config::diff;
use crmsync_core::config::settings::SecretRef;

fn url(url: &str) -> Result<(String, u16, String, Option<String>), String> {
    let text = format!("{SF}[replica]\nurl = \"{url}\"\n");
    run(&[("x", &text)], &[], &World::default())
        .map(|c| c.settings.replica.map(|d| (d.host, d.port, d.database, d.user)).unwrap())
        .map_err(|report| report.render(false))
}

#[test]
fn addresses_of_hosts_and_sockets() {
    let at = |host: &str, port, user: Option<&str>| {
        Ok((host.to_owned(), port, "crm".to_owned(), user.map(str::to_owned)))
    };
    assert_eq!(url("postgres://me@db.example.org/crm"), at("db.example.org", 5432, Some("me")));
    assert_eq!(url("postgresql://10.0.0.1:6000/crm"), at("10.0.0.1", 6000, None));
    assert_eq!(url("postgresql://[::1]/crm"), at("[::1]", 5432, None));
    assert_eq!(url("postgresql:///crm?host=/run/postgresql"), at("/run/postgresql", 5432, None));
    assert_eq!(
        url("postgresql:///crm?host=/run/postgresql&port=6000&user=a%20b"),
        at("/run/postgresql", 6000, Some("a b"))
    );
}

#[test]
fn tls_to_this_machine_is_asked_for_in_the_url() {
    let tls = |url: &str| {
        let text = format!("{SF}[replica]\nurl = \"{url}\"\n");
        good(&text).settings.replica.unwrap().tls
    };
    assert!(tls("postgresql://localhost/crm?sslmode=verify-full"));
    assert!(tls("postgresql://localhost/crm?sslmode=require"));
    assert!(!tls("postgresql://localhost/crm"));
    let with = |url: &str| good(&format!("{SF}[replica]\nurl = \"{url}\"\n"));
    let (plain, more) =
        ("postgresql://localhost/crm", "postgresql://localhost/crm?sslmode=require");
    assert_eq!(diff(&with(plain), &with(more)).needs_restart, ["replica.url"]);
}

#[test]
fn what_is_no_address_is_refused_and_a_password_never_shown() {
    for (bad, words) in [
        ("postgresql://me:s3cr3t@db/crm", "may not carry a password"),
        ("postgresql://db/crm?password=s3cr3t", "may not carry a password"),
        ("postgresql://db/crm?sslmode=disable", "`sslmode=disable` cannot stand in it"),
        ("postgresql://db/crm?sslmode=prefer", "`sslmode=prefer` cannot stand in it"),
        ("postgresql://db/crm?sslrootcert=/ca", "`ca_file` names further authorities"),
        ("postgresql:///crm?host=/run&sslmode=require", "no TLS is spoken over a Unix socket"),
        ("postgresql://db", "names no database"),
        ("postgresql:///crm", "names no host"),
        ("postgresql://db/crm?host=/run", "cannot stand in it"),
        ("mysql://me:s3cr3t@db/crm", "`mysql` is not an address"),
        ("db.example.org", "not an address"),
    ] {
        let said = url(bad).unwrap_err();
        assert!(said.contains(words), "{said}");
        assert!(!said.contains("s3cr3t"), "{said}");
    }
    let report =
        run(&[("x", &format!("{SF}[replica]\nreaders = \"r\"\n"))], &[], &World::default());
    assert!(report.unwrap_err().render(false).contains("`[replica]` lacks `url`"));
}

#[test]
fn a_change_needs_a_restart_and_is_named() {
    let with = |lines: &str| {
        let text = format!("{SF}[replica]\nurl = \"postgresql://db/crm\"\n{lines}");
        run(&[("x", &text)], &[], &World::with(&[("/p", "1"), ("/ca", "1")], &[])).unwrap()
    };
    let more = with("readers = \"r\"\npassword = { file = \"/p\" }\nca_file = \"/ca\"\n");
    let replica = more.settings.replica.clone().unwrap();
    assert_eq!(replica.password, Some(SecretRef::File("/p".into())));
    let plan = diff(&with(""), &more);
    assert_eq!(plan.needs_restart, ["replica.password", "replica.readers", "replica.ca_file"]);
    assert_eq!(diff(&good(SF), &with("")).needs_restart, ["replica.url"]);
    assert!(diff(&more, &more).is_empty());
}

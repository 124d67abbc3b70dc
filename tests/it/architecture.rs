//! Who may import whom, and what may stand where: the plan of ARCHITECTURE.md, kept by a test.
//!
//! Reads the source of `src/` and `core/src/`; every `use` line and every path in it is resolved
//! and compared with the tables below. Tests (`#[cfg(test)]`, `tests/`, `*_tests.rs`) may look
//! wherever they need to. An exception is named here, with its reason. A long file or a vendor's
//! name that is no longer there fails as well, so that those lists only shrink.

mod source;

use crate::support::workspace;
use source::{Source, Token, read_all};
use std::fmt::Write as _;
use std::sync::LazyLock;

/// A part of the shell, the more special first, and what it may import beside itself.
const SHELL: &[(&str, &[&str])] = &[
    ("bin", &["crmsync::daemon", "crmsync::cli"]),
    (
        "cli",
        &[
            "crate::control::client",
            "crate::control::envelope",
            "crate::control::protocol",
            // Work without a daemon: `check` and `key init`.
            "crate::daemon::configuration",
            "crate::daemon::env",
            "crate::provider", // the specs; its folders are forbidden below
            "crate::store::vault",
            "crmsync_core",
        ],
    ),
    // `envelope` is the outer shape of what `protocol` declares.
    ("control::protocol", &["crate::control::envelope", "crmsync_core::domain"]),
    ("control::envelope", &["crate::control::protocol", "crmsync_core::domain"]),
    ("control::client", &["crate::control::envelope", "crate::control::protocol"]),
    // The document is made from the handlers' own attributes, and served by one of them.
    ("control::openapi", &["crate::control"]),
    (
        "control::server",
        &[
            "crate::control::envelope",
            "crate::control::openapi",
            "crate::control::protocol",
            "crate::store",
            "crmsync_core::domain",
        ],
    ),
    ("control", &[]),
    ("web", &["crate::control::protocol", "crate::store"]),
    ("mail", &["crate::store", "crmsync_core::domain", "crmsync_core::config::settings"]),
    // The seam, not the folders behind it.
    (
        "auth",
        &[
            "crate::store",
            "crate::provider::Provider",
            "crate::provider::Session",
            "crate::provider::OAuthEndpoints",
            "crate::provider::http",
            "crmsync_core::domain",
        ],
    ),
    ("provider", &["crmsync_core::domain"]),
    ("replica", &["crmsync_core"]),
    ("store", &["crmsync_core"]),
    ("daemon", &["crate", "crmsync_core"]),
];

/// What the daemon alone may not import: its own clients.
const NOT_FOR_THE_DAEMON: &[&str] = &["crate::cli", "crate::control::client"];

/// A foreign crate and where it may be mentioned.
const FOREIGN: &[(&str, &[&str])] = &[
    ("rusqlite", &["replica::sqlite", "store"]),
    // The tests' own client; the module has the same name.
    ("postgres", &["replica"]),
    ("tokio_postgres", &["replica::postgres"]),
    ("tokio_postgres_rustls", &["replica::postgres"]),
    ("rustls_platform_verifier", &["replica::postgres"]),
    ("lettre", &["mail"]),
    ("minijinja", &["mail"]),
    // The listener takes the browser's redirect of an authorization.
    ("axum", &["control", "cli::listener"]),
    ("utoipa", &["control"]),
    // The client names methods in its words.
    ("reqwest", &["provider", "auth", "control::client", "cli"]),
    ("oauth2", &["auth"]),
    ("tokio_cron_scheduler", &["daemon::bell"]),
    ("sd_notify", &["daemon::systemd"]),
    ("chacha20poly1305", &["store::vault"]),
    ("hkdf", &["store::vault"]),
    // Ids, keys and nonces of the store come from the kernel only, on purpose not injected.
    ("getrandom", &["daemon::env", "store"]),
    ("clap", &["cli", "bin"]),
    ("comfy_table", &["cli"]),
    ("indicatif", &["cli"]),
];

/// Where a sealed or typed secret may be opened, beside tests.
const EXPOSES: &[&str] = &[
    "store::vault", // seals and opens
    "provider",     // puts it on the wire
    "auth",
    "mail::send",
    "replica::postgres::server", // hands the password to the database's client
    "control::client",           // carries what was typed to the daemon
    "daemon::grant",             // compares two sessions
    "daemon::actor::grants",     // hands a pasted address and a password on
];

/// Words of vendors, and the parts that may say them.
const VENDORS: &[&str] = &[
    "salesforce",
    "tryton",
    "soql",
    "sforce",
    "force.com",
    "hubspot",
    "dynamics",
    "microsoft",
    "google",
    "graph.",
];
const MAY_NAME_VENDORS: &[(&str, &str)] = &[
    ("provider", "everything that knows a foreign system"),
    ("mail::vendor", "what an admin of that system can click, kept in one file beside the texts"),
];

/// Files over the limit, each with the reason why it is still whole.
const LIMIT: usize = 500;
const LONG: &[(&str, &str)] = &[
    ("src/daemon/actor/mod.rs", "one mailbox; to be cut at what comes into it"),
    (
        "src/daemon/grant.rs",
        "one holder of one credential; to be cut at the daily look at who answers",
    ),
    ("src/control/protocol.rs", "one flat list of shapes, read from top to bottom"),
];

/// Clocks, chance and the environment outside `daemon::env`. `tokio::time::Instant` in the control
/// server measures patience with slow callers; a test may pause it.
const CLOCKS: &[(&str, &str)] = &[
    ("Instant", "now"),
    ("SystemTime", "now"),
    ("Timestamp", "now"),
    ("Zoned", "now"),
    ("env", "var"),
    ("env", "var_os"),
    ("env", "vars"),
    ("env", "vars_os"),
];
const MAY_READ_CLOCKS: &[&str] = &["daemon::env", "control::server"];

struct Broken(String);

impl Broken {
    fn new() -> Self {
        Self(String::new())
    }

    fn at(&mut self, source: &Source, line: usize, rule: &str) {
        let _ = writeln!(self.0, "{}:{line}: {rule}", source.file.display());
    }

    fn done(self) {
        assert!(self.0.is_empty(), "the plan is broken:\n{}", self.0);
    }
}

static SHELL_SOURCE: LazyLock<Vec<Source>> = LazyLock::new(|| read_all(workspace(), "src"));
static CORE_SOURCE: LazyLock<Vec<Source>> = LazyLock::new(|| read_all(workspace(), "core/src"));

fn shell() -> &'static [Source] {
    &SHELL_SOURCE
}

fn core() -> &'static [Source] {
    &CORE_SOURCE
}

/// Whether a path is this module or below it; both written with `::`.
fn within(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[test]
fn each_part_of_the_shell_imports_only_what_it_may() {
    let mut broken = Broken::new();
    for source in shell().iter().filter(|s| !s.module.is_empty()) {
        let here = source.module.join("::");
        let Some((part, allowed)) = SHELL.iter().find(|(part, _)| within(&here, part)) else {
            broken.at(source, 1, "this module is not in the table of tests/it/architecture.rs");
            continue;
        };
        let own = format!("crate::{part}");
        for mention in source.mentions.iter().filter(|m| !m.test) {
            let path = mention.path.join("::");
            let ours = ["crate", "crmsync", "crmsync_core"].contains(&mention.path[0].as_str());
            let may = within(&path, &own) || allowed.iter().any(|a| within(&path, a));
            if ours && !may {
                let rule =
                    format!("`{part}` may not import {path}; it may: {}", allowed.join(", "));
                broken.at(source, mention.line, &rule);
            }
            if *part == "daemon" && NOT_FOR_THE_DAEMON.iter().any(|n| within(&path, n)) {
                broken.at(source, mention.line, &format!("the daemon may not import {path}"));
            }
        }
    }
    broken.done();
}

#[test]
fn no_provider_knows_another() {
    let shell = shell();
    let folders: Vec<&str> = shell
        .iter()
        .filter(|s| s.module.len() == 2 && s.module[0] == "provider" && s.file.ends_with("mod.rs"))
        .map(|s| s.module[1].as_str())
        .collect();
    assert!(folders.contains(&"salesforce") && folders.contains(&"tryton"), "{folders:?}");
    let mut broken = Broken::new();
    // The seam itself (provider/mod.rs) lists them; nobody else does.
    let behind =
        |s: &&Source| s.module.first().is_some_and(|m| m != "provider") || s.module.len() > 1;
    for source in shell.iter().filter(behind) {
        for mention in source.mentions.iter().filter(|m| !m.test) {
            let [first, second, third, ..] = mention.path.as_slice() else { continue };
            let foreign = first == "crate"
                && second == "provider"
                && folders.contains(&third.as_str())
                && source.module.get(1) != Some(third);
            if foreign {
                let rule = format!("only provider/mod.rs and {third} itself may name {third}");
                broken.at(source, mention.line, &rule);
            }
        }
    }
    broken.done();
}

#[test]
fn core_modules_import_only_the_domain() {
    let mut broken = Broken::new();
    for source in core().iter().filter(|s| !s.module.is_empty()) {
        for mention in source.mentions.iter().filter(|m| !m.test && m.path[0] == "crate") {
            let target = mention.path.get(1);
            if target != source.module.first() && target.is_none_or(|t| t != "domain") {
                let rule =
                    format!("core modules import crate::domain only, not {:?}", mention.path);
                broken.at(source, mention.line, &rule);
            }
        }
    }
    broken.done();
}

#[test]
fn core_is_kept_pure_and_the_sandbox_strange() {
    for (file, banned) in [
        (
            "core/Cargo.toml",
            &[
                "tokio", "reqwest", "rusqlite", "axum", "hyper", "futures", "lettre", "rand",
                "crmsync",
            ][..],
        ),
        ("sandbox/Cargo.toml", &["crmsync", "crmsync-core"][..]),
    ] {
        let text = std::fs::read_to_string(workspace().join(file)).expect("a manifest");
        let toml: toml::Table = text.parse().expect("TOML");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(names) = toml.get(section).and_then(toml::Value::as_table) else { continue };
            for name in names.keys() {
                assert!(
                    !banned.iter().any(|b| name == b || name.starts_with(&format!("{b}-"))),
                    "{file}: [{section}] has {name}"
                );
            }
        }
    }
}

#[test]
fn foreign_crates_stay_behind_their_doors() {
    let mut broken = Broken::new();
    for source in shell() {
        let here = source.module.join("::");
        for mention in source.mentions.iter().filter(|m| !m.test) {
            let Some((name, doors)) = FOREIGN.iter().find(|(n, _)| *n == mention.path[0]) else {
                continue;
            };
            if !doors.iter().any(|door| within(&here, door)) {
                let rule = format!("{name} may be mentioned only in {}", doors.join(", "));
                broken.at(source, mention.line, &rule);
            }
        }
    }
    broken.done();
}

#[test]
fn clocks_chance_and_environment_are_read_in_one_place() {
    let mut broken = Broken::new();
    for source in shell().iter().chain(core()) {
        let here = source.module.join("::");
        if MAY_READ_CLOCKS.iter().any(|m| within(&here, m)) {
            continue;
        }
        for mention in source.mentions.iter().filter(|m| !m.test) {
            let [.., kind, what] = mention.path.as_slice() else { continue };
            if CLOCKS.iter().any(|(k, w)| k == kind && w == what) {
                broken.at(source, mention.line, &format!("{kind}::{what}: ask daemon::env"));
            }
        }
    }
    broken.done();
}

#[test]
fn secrets_are_opened_where_they_are_used() {
    let mut broken = Broken::new();
    for source in shell() {
        let here = source.module.join("::");
        let word = Token::Word("expose_secret".to_owned());
        for (line, ..) in source.tokens.iter().filter(|t| t.1 == word && !t.2) {
            if !EXPOSES.iter().any(|m| within(&here, m)) {
                broken.at(source, *line, "a secret is opened here; see the list in the test");
            }
        }
    }
    broken.done();
}

#[test]
fn only_providers_know_vendors() {
    let mut broken = Broken::new();
    let mut needed: Vec<&str> = Vec::new();
    for source in shell().iter().chain(core()) {
        let here = source.module.join("::");
        let may = MAY_NAME_VENDORS.iter().find(|(m, _)| within(&here, m));
        for (line, token, _) in source.tokens.iter().filter(|t| !t.2) {
            let (Token::Word(text) | Token::Text(text)) = token else { continue };
            let text = text.to_lowercase();
            let vendor = VENDORS.iter().find(|v| text.contains(**v));
            let org = text.contains("00d") && text.contains("00d0");
            match (vendor, may) {
                (Some(_), Some((module, _))) => needed.push(*module),
                (Some(word), None) => {
                    broken.at(source, *line, &format!("`{word}` outside provider/"));
                }
                (None, None) if org => broken.at(source, *line, "an org's id outside provider/"),
                (None, _) => {}
            }
        }
    }
    for (module, reason) in MAY_NAME_VENDORS {
        assert!(needed.contains(module), "{module} names no vendor any more: {reason}");
    }
    broken.done();
}

#[test]
fn files_fit_a_reader() {
    let mut broken = Broken::new();
    let parts = ["src", "core/src", "core/tests", "sandbox/src", "sandbox/tests", "tests/it"];
    let all: Vec<Source> = parts.iter().flat_map(|p| read_all(workspace(), p)).collect();
    for source in &all {
        let listed = LONG.iter().any(|(file, _)| source.file.ends_with(file));
        if source.lines > LIMIT && !listed {
            broken.at(source, source.lines, "over 500 lines: split at the second reason to change");
        } else if source.lines <= LIMIT && listed {
            broken.at(source, source.lines, "fits now: take it off the list in the test");
        }
    }
    for (file, reason) in LONG {
        assert!(all.iter().any(|s| s.file.ends_with(file)), "{file} is gone: {reason}");
    }
    broken.done();
}

#[test]
fn every_part_says_what_it_is_for() {
    let mut broken = Broken::new();
    for source in shell().iter().chain(core()) {
        let top = source.module.len() <= 1 || source.file.ends_with("mod.rs");
        if top && !source.introduced {
            broken.at(source, 1, "begin with //!: what it is for, what it hides, its invariants");
        }
    }
    broken.done();
}

#[test]
fn the_tests_of_the_programs_use_no_code_of_theirs() {
    let mut broken = Broken::new();
    for source in &read_all(workspace(), "tests/it") {
        for mention in &source.mentions {
            if ["crmsync", "crmsync_core", "crmsync_sandbox"].contains(&mention.path[0].as_str()) {
                broken.at(source, mention.line, "asserted is what a user of the programs can see");
            }
        }
    }
    broken.done();
}

#![allow(clippy::disallowed_methods)] // the test measures real time
//! No text whatever makes the check panic, hang, or repeat a secret.

use crate::support::{SF, SPECS, World, env};
use crmsync_core::config::{Source, check, show};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const CANARY: &str = "c4n4ry";

fn whole() -> String {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/crmsync.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let strip =
        |l: &str| l.strip_prefix('#').filter(|r| !r.starts_with(' ')).unwrap_or(l).to_owned();
    text.lines().map(strip).collect::<Vec<_>>().join("\n")
}

fn survive(texts: &[&str], vars: &BTreeMap<String, String>) -> String {
    let sources: Vec<Source> =
        texts.iter().enumerate().map(|(i, t)| Source::new(format!("{i}.toml"), *t)).collect();
    match check(&sources, vars, SPECS, &World::default()) {
        Ok(checked) => show(&checked, true),
        Err(report) => {
            assert!(report.has_errors());
            let _ = report.render(true);
            report.render(false) + &report.to_json().to_string()
        }
    }
}

#[test]
fn truncations_of_valid_files_are_answered() {
    let none = BTreeMap::new();
    let (whole, tail) = (whole(), SF.len());
    for (at, _) in SF.char_indices().chain([(tail, ' ')]) {
        survive(&[&SF[..at]], &none);
    }
    // Every place of a long file takes half a minute; a step that fits no pattern finds as much.
    for (at, _) in whole.char_indices().step_by(13) {
        survive(&[&whole[..at]], &none);
    }
}

/// More by the usual variable.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(600)
}

/// Pieces that parsers stumble over, beside those of real files.
fn piece() -> impl Strategy<Value = String> {
    let words = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        " = ",
        ".",
        ",",
        "\"",
        "'",
        "\"\"\"",
        "'''",
        "\n",
        "\r\n",
        "#",
        "\\",
        "\\u0000",
        "connections",
        "[connections.a]\n",
        "[connections.a.objects]\n",
        "[connections.a.quota]\n",
        "provider = \"salesforce\"\n",
        "provider = \"tryton\"\n",
        "schedule",
        "\"every 5m\"",
        "\"* * * * *\"",
        "time_zone = \"Europe/Berlin\"\n",
        "objects",
        "\"all\"",
        "{ fields = [\"A\"] }",
        "pause_at = \"80%\"\n",
        "resume_below = \"99%\"\n",
        "client_secret",
        "password",
        "{ file = \"/x\" }",
        "{ credential = \"x\" }",
        "1",
        "-1",
        "1e400",
        "0x",
        "99999999999999999999",
        "true",
        "1979-05-27",
        "\u{feff}",
        "é",
        "\u{202e}",
        "\0",
        "notify",
        "smtp",
        "[notify.smtp]\n",
        "admins = [\"a@example.org\"]\n",
        "daemon",
        "workers",
    ];
    prop_oneof![
        8 => prop::sample::select(words.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z_]{1,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_global_rejects: u32::MAX, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn toml_like_texts_are_answered(
        a in prop::collection::vec(piece(), 0..40),
        b in prop::collection::vec(piece(), 0..10),
        var in "(CRMSYNC_)?(CONNECTIONS|NOTIFY|DAEMON)?(__A)?(__[A-Z_]{0,8}){0,3}",
        value in any::<String>(),
    ) {
        survive(&[&a.concat(), SF, &b.concat()], &env(&[(&var, &value)]));
    }

    #[test]
    fn a_damaged_file_never_shows_a_secret(at in 0usize..400, cut in 0usize..12, junk in piece()) {
        let text = format!(
            "[connections.erp]\nprovider = \"tryton\"\npassword = \"{CANARY}\"\nurl = \"https://erp.example.org\"\n\n[connections.sf]\nprovider = \"salesforce\"\nclient_secret = \"{CANARY}\"\n[notify.smtp]\nhost = \"x\"\npassword = \"{CANARY}\"\n"
        );
        // Damage anywhere but within the names of the secrets and the secrets themselves: a line
        // whose name is gone cannot be known.
        let safe = |i: usize| [CANARY, "client_secret", "password"].iter().all(|word| {
            text.match_indices(word).all(|(from, _)| !(from..from + word.len()).contains(&i))
        });
        let at = at.min(text.len());
        let end = (at + cut).min(text.len());
        // A line break within the value's own line parts it from its name for good.
        prop_assume!((at..=end).all(safe) && !junk.contains('\n'));
        let damaged = format!("{}{junk}{}", &text[..at], &text[end..]);
        let said = survive(&[&damaged], &BTreeMap::new());
        prop_assert!(!said.contains(CANARY), "{}", said);
    }
}

#[test]
fn hostile_sizes_cost_little() {
    // A quarter of what is allowed: anything that costs the square is seen at this size too.
    let size = 256 * 1024;
    let texts = [
        "a.".repeat(size / 2 - 4) + "a = 1",
        "[".repeat(size),
        "x = ".to_owned() + &"[".repeat(size - 8),
        "x = ".to_owned() + &"{a=".repeat(size / 3 - 8),
        "=".repeat(size),
        "password=".repeat(size / 9),
        "password=\"".repeat(size / 10),
        "://@".repeat(size / 4),
        "a = 1\n".repeat(size / 6),
        "[connections.a]\n".repeat(size / 16),
        (0..size / 12).fold(String::new(), |all, i| all + &format!("k{i} = 1\n")),
        "\"connections[99999999999]\" = 1\n\"a[-5]\" = 2\n".to_owned(),
        format!("[connections.a]\nschedule = \"{}\"", "x".repeat(size - 64)),
        format!("[connections.{}]\n", "x".repeat(size - 64)),
        (0..2000).fold(String::new(), |all, i| {
            all + &format!("[connections.a.{}]\n", "b.".repeat(i % 70) + "c")
        }),
    ];
    for text in texts {
        let begin = Instant::now();
        let said = survive(&[&text[..text.len().min(size)]], &BTreeMap::new());
        let took = begin.elapsed();
        let start: String = text.chars().take(20).collect();
        assert!(took < Duration::from_secs(10), "{start}: {took:?}");
        assert!(said.len() < 1024 * 1024, "{start}: {} bytes", said.len());
        eprintln!("{start:?}: {took:?}, {} bytes", said.len());
    }
}

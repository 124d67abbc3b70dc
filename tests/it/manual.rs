//! The manual tells the truth: its keys, commands, statuses and tables are those of the programs.

use crate::support::workspace;
use std::collections::BTreeSet;
use std::process::Command;

fn text(name: &str) -> String {
    let path = workspace().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A section of the manual, from its heading to the next one of the same depth or less.
fn section(manual: &str, heading: &str) -> String {
    let depth = heading.chars().take_while(|c| *c == '#').count();
    let mut lines = manual.lines().skip_while(|line| !line.starts_with(heading));
    let first = lines.next().unwrap_or_else(|| panic!("the manual has no `{heading}`"));
    let ends = |line: &&str| {
        let hashes = line.chars().take_while(|c| *c == '#').count();
        hashes > 0 && hashes <= depth && line.chars().nth(hashes) == Some(' ')
    };
    let rest: Vec<&str> = lines.take_while(|line| !ends(line)).collect();
    format!("{first}\n{}", rest.join("\n"))
}

/// `#key = value   # comment` lines of the reference, by section.
fn reference() -> Vec<(String, String, String, String)> {
    let mut section = String::new();
    let mut keys = Vec::new();
    for line in text("config/crmsync.toml").lines() {
        let Some(line) = line.strip_prefix('#').filter(|l| !l.starts_with(' ')) else { continue };
        if let Some(name) = line.strip_prefix('[') {
            name.split(']').next().unwrap_or_default().clone_into(&mut section);
        } else if let Some((key, rest)) = line.split_once(" = ") {
            let (value, comment) = rest.split_once("  #").unwrap_or((rest, ""));
            let parts = (key, value.trim(), comment.trim());
            keys.push((section.clone(), parts.0.into(), parts.1.into(), parts.2.into()));
        }
    }
    keys
}

#[test]
fn every_key_stands_in_the_manual_with_its_default() {
    let manual = text("docs/manual.md");
    let mut seen = 0;
    for (table, key, value, comment) in reference() {
        if table.ends_with(".objects") || (table.ends_with("erp") && key == "provider") {
            continue;
        }
        let heading = match table.as_str() {
            "connections.erp" => "### [connections.NAME] for Tryton".to_owned(),
            other => format!("### [{}]", other.replace("sf-prod", "NAME")),
        };
        let part = section(
            &manual,
            &format!("{heading}{}", if heading.contains("for") { "" } else { ":" }),
        );
        let row = part
            .lines()
            .find(|line| line.starts_with(&format!("| `{key}` |")))
            .unwrap_or_else(|| panic!("the manual's `{heading}` has no row for `{key}`"));
        let no_default =
            ["no default", "required", "default", "better", "or here", "with username"]
                .iter()
                .any(|word| comment.contains(word));
        if !no_default {
            assert!(row.contains(&format!("| `{value}` |")), "{key}: {value} is not in {row}");
        }
        seen += 1;
    }
    assert!(seen > 40, "{seen}");
    // And the other way round.
    let known: BTreeSet<String> = reference().into_iter().map(|k| k.1).collect();
    for line in section(&manual, "## Configuration").lines().filter(|l| l.starts_with("| `")) {
        let key = line.split('`').nth(1).expect("a key");
        assert!(known.contains(key), "the manual's key `{key}` does not exist");
    }
}

#[test]
fn every_command_stands_in_the_manual() {
    let help = Command::new(env!("CARGO_BIN_EXE_crmsync")).arg("--help").output().expect("help");
    let help = String::from_utf8(help.stdout).expect("text");
    let manual = text("docs/manual.md");
    let listed = section(&manual, "## Commands");
    let readme = text("README.md");
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|l| !l.starts_with("Commands:"))
        .skip(1)
        .take_while(|l| !l.is_empty())
        .filter(|l| l.starts_with("  ") && !l.starts_with("   "))
        .filter_map(|l| l.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 20, "{help}");
    for name in &commands {
        let said =
            |text: &str| text.contains(&format!("`{name}")) || text.contains(&format!(", `{name}"));
        assert!(said(&listed), "the manual has no `{name}`");
        assert!(said(&readme), "the README has no `{name}`");
    }
    for line in listed.lines().filter(|l| l.starts_with("| `")) {
        let name = line.split(['`', ' ']).nth(2).expect("a command");
        assert!(commands.contains(&name), "the manual's `{name}` does not exist: {line}");
    }
}

#[test]
fn every_reason_stands_in_the_manual() {
    let manual = section(&text("docs/manual.md"), "## Status");
    let mut seen = 0;
    // What `Display` of reasons and problems writes, and what the status table says itself.
    for line in text("core/src/domain/fault.rs").lines() {
        let told = line.trim().starts_with("Self::") && line.contains("=> f.write_str(\"");
        let Some(words) = line.split('"').nth(1).filter(|_| told) else { continue };
        assert!(manual.contains(&format!("`{words}`")), "the manual has no `{words}`");
        seen += 1;
    }
    for words in ["idle", "syncing", "loading", "catching up", "retrying", "paused", "quota"] {
        assert!(manual.contains(&format!("`{words}`")), "the manual has no `{words}`");
    }
    assert!(seen >= 16, "{seen}");
}

#[test]
fn every_table_of_the_replica_stands_in_the_manual() {
    let manual = section(&text("docs/manual.md"), "## Reading the replica");
    let mut row = String::new();
    let mut columns = 0;
    for line in text("src/replica/sqlite/schema.rs").lines() {
        let Some(name) = line.split('"').nth(1) else { continue };
        if line.starts_with("CREATE TABLE") {
            let found = manual.lines().find(|l| l.starts_with(&format!("| `{name}` |")));
            row = found.unwrap_or_else(|| panic!("the manual has no {name}")).to_owned();
        } else if line.starts_with("  \"") && !row.is_empty() {
            assert!(row.contains(&format!("`{name}`")), "the manual's row has no {name}: {row}");
            columns += 1;
        }
    }
    assert!(columns > 20, "{columns}");
    for own in ["_synced_at", "_deleted_at", "_hidden_at", "_crmsync_seq"] {
        assert!(manual.contains(&format!("| `{own}` |")), "the manual has no {own}");
    }
}

#[test]
fn links_lead_somewhere() {
    for name in ["README.md", "ARCHITECTURE.md", "docs/manual.md"] {
        let page = text(name);
        let folder = workspace().join(name);
        let folder = folder.parent().expect("a folder");
        for part in page.split("](").skip(1) {
            let target = part.split(')').next().expect("its end");
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { workspace().join(name) } else { folder.join(file) };
            assert!(path.exists(), "{name}: {target} leads nowhere");
            if !anchor.is_empty() {
                let there = std::fs::read_to_string(&path).expect("a page");
                let found = there.lines().filter(|l| l.starts_with('#')).any(|l| slug(l) == anchor);
                assert!(found, "{name}: {target} has no such heading");
            }
        }
    }
}

/// A heading's anchor, as the usual renderers make it.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

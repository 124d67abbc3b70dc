//! Making foreign text harmless, and lines of readable length.

use crmsync_core::domain::Time;

/// Below what makes the mail library leave 7bit.
const WIDTH: usize = 72;
const PARAGRAPH: usize = 2000;
const QUOTE_CHARS: usize = 300;
const QUOTE_LINES: usize = 8;

/// One line of at most `max` characters: controls, line and paragraph separators, bidi and
/// zero-width characters become blanks; runs of blanks become one.
pub(super) fn clean(text: &str, max: usize) -> String {
    let spaced: String = text.chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
    cut(&spaced.split_whitespace().collect::<Vec<_>>().join(" "), max)
}

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(max.saturating_sub(3)).collect();
    out.push_str("...");
    out
}

/// Foreign text, line by line behind `  | `, 300 characters in all.
pub(super) fn quoted(text: &str) -> Vec<String> {
    // Only as much is looked at as could be shown: the text may be of any size.
    let head: String = text.chars().take(QUOTE_CHARS * 4).collect();
    let mut left = QUOTE_CHARS;
    let mut out = Vec::new();
    for line in head.lines().map(|l| clean(l, QUOTE_CHARS)).filter(|l| !l.is_empty()) {
        if left < 4 || out.len() >= QUOTE_LINES {
            break;
        }
        let line = cut(&line, left);
        left = left.saturating_sub(line.chars().count());
        out.extend(fold(&line, WIDTH - 4).into_iter().map(|l| format!("  | {l}")));
    }
    out
}

/// Folds a paragraph at blanks; a longer word stays whole. Cleans it, whatever it is made of.
pub(super) fn wrap(text: &str) -> String {
    fold(&clean(text, PARAGRAPH), WIDTH).join("\n")
}

/// A numbered step with a hanging indent. What stands in backticks is a command: it gets a line
/// of its own, unfolded, so that it can be copied.
pub(super) fn step(number: usize, text: &str) -> String {
    let mark = format!("  {number}. ");
    let indent = " ".repeat(mark.len());
    let mut lines = Vec::new();
    for (i, part) in clean(text, PARAGRAPH).split('`').enumerate() {
        match part.trim() {
            "" => {}
            command if i % 2 == 1 => lines.push(format!("  {command}")),
            words => lines.extend(fold(words, WIDTH - mark.len())),
        }
    }
    mark + &lines.join(&format!("\n{indent}"))
}

/// Folded to hang behind a label that stands before it.
pub(super) fn hang(label: &str, text: &str) -> String {
    fold(text, WIDTH - label.len()).join(&format!("\n{}", " ".repeat(label.len())))
}

fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        let used = lines.last().map_or(0, |l| l.chars().count());
        if used > 0 && used + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `2026-11-21 10:31 UTC`.
pub(super) fn moment(at: Time) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// How long it has been: `3 days`, `5 hours`, `12 minutes`.
pub(super) fn lasting(from: Time, to: Time) -> String {
    let minutes = to.duration_since(from).as_secs().max(0) / 60;
    match minutes {
        0..=1 => "a minute".to_owned(),
        2..120 => format!("{minutes} minutes"),
        120..2880 => format!("{} hours", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    }
}

/// `1204` as `1,204`.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// The first ten names, and how many more.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| clean(n, 80)).collect();
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", shown.join(", ")),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_leave_its_line() {
        assert_eq!(clean("a\r\nBcc: b\u{2028}c\u{202e}d\0e", 99), "a Bcc: b c d e");
        assert_eq!(clean(&"x".repeat(50), 10), "xxxxxxx...");
        let lines = quoted(&format!("one\r\n\r\ntwo\rthree {}", "word ".repeat(2000)));
        assert!(lines.iter().all(|l| l.starts_with("  | ") && l.chars().count() <= WIDTH));
        assert_eq!(
            lines[..2],
            ["  | one", "  | two three word word word word word word word word word word word"]
        );
        assert!(lines.iter().map(|l| l.len() - 4).sum::<usize>() <= QUOTE_CHARS);
    }

    #[test]
    fn numbers_and_spans_read_well() {
        assert_eq!(
            (grouped(7), grouped(1204), grouped(1_000_000)),
            ("7".into(), "1,204".into(), "1,000,000".into())
        );
        let t = Time::UNIX_EPOCH;
        let after = |s| lasting(t, t + jiff::SignedDuration::from_secs(s));
        assert_eq!(
            [after(-5), after(600), after(7200), after(300_000)],
            ["a minute", "10 minutes", "2 hours", "3 days"]
        );
    }
}

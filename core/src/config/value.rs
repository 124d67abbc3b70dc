//! One value: whether it is what its key takes.
//!
//! Hides the small grammars (percents, mail addresses, quiet hours, URLs). Used twice: on each
//! layer to find mistakes where they stand, and on the merged tree to read the values, which are
//! then known to be right.

use super::keys::Kind;
use super::raw::{Node, Value};
use super::report::Problem;
use crate::domain::{Schedule, ScheduleError, format_duration, parse_duration};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use std::net::IpAddr;
use url::{Host, Url};

/// Longest text of a value.
const MAX_TEXT: usize = 4096;

/// Checks a value against its kind. `key` is the key's own name, for the message. What needs the
/// provider (`Provider`, `Auth`) or the section (`Secret`) is checked by the caller.
pub(super) fn check(kind: Kind, key: &str, node: &Node) -> Vec<Problem> {
    let one = |bad: Result<(), Problem>| bad.err().into_iter().collect();
    match kind {
        Kind::Flag => one(flag(key, node)),
        Kind::Number(least, most) => one(number(key, node, least, most)),
        Kind::Durations(least, most) => {
            list(key, node, &|item| duration(key, item, least, most).map(drop))
        }
        Kind::Mails => list(key, node, &|item| mail(key, item)),
        Kind::Texts => list(key, node, &|item| text(key, item).map(drop)),
        Kind::Duration(least, most) => one(duration(key, node, least, most).map(drop)),
        Kind::Percent => one(percent(key, node).map(drop)),
        Kind::Text | Kind::Provider | Kind::Auth | Kind::Secret => one(text(key, node).map(drop)),
        Kind::Sender => one(sender(key, node)),
        Kind::Url => one(url(key, node).map(drop)),
        Kind::Proxy => one(proxy(key, node)),
        Kind::Path | Kind::File => one(path(key, node)),
        Kind::OneOf(words) => one(one_of(key, node, words)),
        Kind::Database => one(super::database::address(key, node).map(drop)),
        Kind::Schedule => one(schedule(key, node)),
        Kind::Zone => one(zone(key, node)),
        Kind::QuietHours => one(quiet_hours(key, node).map(drop)),
    }
}

/// A user's text in a message: short, and only its first line. A quote that was never closed
/// swallows the lines below, and one of them may hold a secret.
pub(super) fn clip(text: &str) -> String {
    let shown = |c: &char| !c.is_control();
    let mut out: String = text.chars().take(60).take_while(shown).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

fn wrong(key: &str, node: &Node, wanted: &str) -> Problem {
    Problem::value(&node.place, format!("`{key}` takes {wanted}, not {}", node.value.kind()))
}

pub(super) fn text<'a>(key: &str, node: &'a Node) -> Result<&'a str, Problem> {
    let Value::Text(text) = &node.value else {
        let bare = matches!(node.value, Value::Number(_) | Value::Flag(_) | Value::Decimal);
        let problem = wrong(key, node, "a text");
        return Err(if bare { problem.hint("put it between double quotes") } else { problem });
    };
    if text.trim().is_empty() {
        return Err(Problem::value(&node.place, format!("`{key}` is empty"))
            .hint("give it a value, or remove the line"));
    }
    if text.len() > MAX_TEXT || text.chars().any(char::is_control) {
        return Err(Problem::value(&node.place, format!("`{key}` is no plain line of text"))
            .allowed(format!("at most {MAX_TEXT} bytes, no line breaks or control characters")));
    }
    Ok(text)
}

fn flag(key: &str, node: &Node) -> Result<(), Problem> {
    match &node.value {
        Value::Flag(_) => Ok(()),
        Value::Text(t) if t == "true" || t == "false" => {
            Err(wrong(key, node, "true or false").hint(format!("without quotes: {key} = {t}")))
        }
        Value::Text(_)
        | Value::Number(_)
        | Value::Decimal
        | Value::Date
        | Value::List(_)
        | Value::Table(_) => Err(wrong(key, node, "true or false").allowed("true, false")),
    }
}

fn number(key: &str, node: &Node, least: i64, most: i64) -> Result<(), Problem> {
    let allowed = if most == i64::MAX {
        format!("a whole number, {least} or more")
    } else {
        format!("a whole number from {least} to {most}")
    };
    match &node.value {
        Value::Number(Some(n)) if (least..=most).contains(n) => Ok(()),
        Value::Number(n) => {
            let shown = n.map_or_else(|| "the number".to_owned(), |n| format!("`{n}`"));
            Err(Problem::value(&node.place, format!("`{key}`: {shown} is out of range"))
                .allowed(allowed))
        }
        Value::Text(t) if t.parse::<i64>().is_ok() => Err(wrong(key, node, "a whole number")
            .allowed(allowed)
            .hint(format!("without quotes: {key} = {t}"))),
        Value::Text(_)
        | Value::Flag(_)
        | Value::Decimal
        | Value::Date
        | Value::List(_)
        | Value::Table(_) => Err(wrong(key, node, "a whole number").allowed(allowed)),
    }
}

fn list(key: &str, node: &Node, item: &dyn Fn(&Node) -> Result<(), Problem>) -> Vec<Problem> {
    let Value::List(items) = &node.value else {
        let mut problem = wrong(key, node, "a list");
        if let Value::Text(text) = &node.value {
            problem = problem.hint(format!("between brackets: {key} = [\"{}\"]", clip(text)));
        }
        return vec![problem];
    };
    if items.is_empty() {
        return vec![
            Problem::value(&node.place, format!("`{key}` is an empty list"))
                .hint("name at least one, or remove the line to get the default"),
        ];
    }
    items.iter().filter_map(|node| item(node).err()).collect()
}

pub(super) fn duration(
    key: &str,
    node: &Node,
    least: i64,
    most: i64,
) -> Result<SignedDuration, Problem> {
    let (low, high) = (SignedDuration::from_secs(least), SignedDuration::from_secs(most));
    let allowed = format!(
        "a duration such as \"90s\", \"15m\", \"2h\", \"30d\", from {} to {}",
        format_duration(low),
        format_duration(high)
    );
    let hint = match &node.value {
        Value::Number(Some(n)) => Some(format!("with a unit, between quotes: {key} = \"{n}m\"")),
        Value::Text(_)
        | Value::Number(None)
        | Value::Flag(_)
        | Value::Decimal
        | Value::Date
        | Value::List(_)
        | Value::Table(_) => None,
    };
    let text = text(key, node).map_err(|p| {
        let p = p.allowed(allowed.clone());
        if let Some(hint) = hint { p.hint(hint) } else { p }
    })?;
    let bad = |what| {
        Problem::value(&node.place, format!("`{key}`: `{}` {what}", clip(text)))
            .allowed(allowed.clone())
    };
    let found = parse_duration(text).map_err(|_| bad("is not a duration"))?;
    if found < low || found > high {
        return Err(bad("is out of range"));
    }
    Ok(found)
}

pub(super) fn percent(key: &str, node: &Node) -> Result<u8, Problem> {
    let allowed = "a percentage between quotes, from \"1%\" to \"100%\"";
    if let Value::Number(Some(n)) = &node.value {
        return Err(wrong(key, node, "a percentage")
            .allowed(allowed)
            .hint(format!("with its sign, between quotes: {key} = \"{n}%\"")));
    }
    let text = text(key, node).map_err(|p| p.allowed(allowed))?;
    let digits = text.trim().strip_suffix('%').map(str::trim_end).unwrap_or_default();
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && (1..=100).contains(n)).ok_or_else(|| {
        Problem::value(&node.place, format!("`{key}`: `{}` is not a percentage", clip(text)))
            .allowed(allowed)
    })
}

/// Whether this can be a mail address. Only mail servers know more.
pub(super) fn is_mail(text: &str) -> bool {
    let Some((local, host)) = text.rsplit_once('@') else { return false };
    let local_ok = |c: char| !c.is_whitespace() && !c.is_control() && !"<>(),;:\\\"@[]".contains(c);
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    !local.is_empty()
        && local.len() <= 64
        && text.len() <= 254
        && local.chars().all(local_ok)
        && host.split('.').all(label)
}

fn mail(key: &str, node: &Node) -> Result<(), Problem> {
    let text = text(key, node)?;
    if is_mail(text) {
        return Ok(());
    }
    let problem =
        Problem::value(&node.place, format!("`{key}`: `{}` is not a mail address", clip(text)));
    Err(if text.contains([',', ';']) {
        problem.hint(
            "each address between quotes of its own: [\"ada@example.org\", \"bob@example.org\"]",
        )
    } else {
        problem.hint("name and host, e.g. \"ada@example.org\"")
    })
}

fn sender(key: &str, node: &Node) -> Result<(), Problem> {
    let text = text(key, node)?;
    let inner = text.trim().strip_suffix('>').and_then(|t| t.rsplit_once('<'));
    let address = inner.map_or(text.trim(), |(_, address)| address);
    if is_mail(address) {
        return Ok(());
    }
    Err(Problem::value(&node.place, format!("`{key}`: `{}` is not a sender", clip(text)))
        .hint("e.g. from = \"crmsync <crmsync@example.org>\""))
}

/// Whether a host means this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

pub(super) fn url(key: &str, node: &Node) -> Result<Url, Problem> {
    let text = text(key, node)?;
    let bad = |message: String| Problem::value(&node.place, message);
    let shown = clip(text);
    if !text.contains("://") {
        let scheme = if text.starts_with("localhost") { "http" } else { "https" };
        let problem = bad(format!("`{key}`: `{shown}` is not a URL"));
        return Err(problem.hint(format!("{key} = \"{scheme}://{shown}\"")));
    }
    let url = Url::parse(text).map_err(|e| bad(format!("`{key}`: not a URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad(format!("`{key}`: a URL may not carry a user name or password"))
            .hint("remove what stands between `://` and `@`"));
    }
    let loopback = match url.host() {
        Some(Host::Domain(name)) => is_loopback(name),
        Some(Host::Ipv4(a)) => a.is_loopback(),
        Some(Host::Ipv6(a)) => a.is_loopback(),
        None => return Err(bad(format!("`{key}`: `{shown}` names no host"))),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if loopback => Ok(url),
        "http" => Err(bad(format!("`{key}`: `{shown}` is not encrypted"))
            .allowed("https; http only to localhost")
            .hint(format!("{key} = \"{}\"", shown.replacen("http://", "https://", 1)))),
        other => Err(bad(format!("`{key}`: `{}:` is not supported", clip(other)))
            .allowed("https; http only to localhost")),
    }
}

fn proxy(key: &str, node: &Node) -> Result<(), Problem> {
    let text = text(key, node)?;
    let example = "proxy = \"http://proxy.example.org:3128\"";
    let bad = |why: &str| Problem::value(&node.place, format!("`{key}`: {why}")).hint(example);
    let url = Url::parse(text).map_err(|e| bad(&format!("not a URL: {e}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("a URL may not carry a user name or password").hint(
            "let the proxy admit this host by its address, and remove what stands before `@`",
        ));
    }
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad("only http and https proxies are supported"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad("the URL names no host"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() {
        return Err(bad("a proxy is host and port, without a path"));
    }
    Ok(())
}

fn path(key: &str, node: &Node) -> Result<(), Problem> {
    let text = text(key, node)?;
    if text.starts_with('/') {
        return Ok(());
    }
    Err(Problem::value(&node.place, format!("`{key}`: `{}` is not an absolute path", clip(text)))
        .hint("a path begins with `/`"))
}

fn one_of(key: &str, node: &Node, words: &[&'static str]) -> Result<(), Problem> {
    let allowed = quoted(words);
    let text = text(key, node).map_err(|p| p.allowed(allowed.clone()))?;
    if words.contains(&text) {
        return Ok(());
    }
    Err(word_problem(key, node, text, words))
}

/// `text` is none of the words.
pub(super) fn word_problem(key: &str, node: &Node, text: &str, words: &[&'static str]) -> Problem {
    let problem = Problem::value(&node.place, format!("`{key}` cannot be `{}`", clip(text)))
        .allowed(quoted(words));
    match super::near::nearest(text, words.iter().copied()) {
        Some(word) => problem.hint(format!("did you mean `{word}`?")),
        None => problem,
    }
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|w| format!("\"{w}\"")).collect::<Vec<_>>().join(", ")
}

fn schedule(key: &str, node: &Node) -> Result<(), Problem> {
    let allowed = "\"every 15m\" (s, m, h, d), or five cron fields such as \"30 2 * * 1-5\"";
    let text = text(key, node).map_err(|p| p.allowed(allowed))?;
    let shown = clip(text);
    let bad = |message: String| Err(Problem::value(&node.place, message).allowed(allowed));
    if text.len() > 200 {
        return bad(format!("`{key}`: `{shown}` is too long"));
    }
    match Schedule::parse(text, "UTC") {
        Ok(_) => Ok(()),
        Err(ScheduleError::Form(_)) => bad(format!("`{key}`: `{shown}` is not a schedule")),
        Err(ScheduleError::Range(_)) => bad(format!("`{key}`: `{shown}` is outside 1s to 31d")),
        Err(ScheduleError::Cron { why, .. }) => {
            let why =
                why.trim_start_matches("Component error: ").trim_end_matches('.').to_lowercase();
            bad(format!("`{key}`: `{shown}` is not a cron line: {}", clip(&why)))
        }
        Err(ScheduleError::Zone(zone)) => bad(format!("time zone `{zone}` is not known")),
    }
}

fn zone(key: &str, node: &Node) -> Result<(), Problem> {
    let text = text(key, node)?;
    if TimeZone::get(text).is_ok() {
        return Ok(());
    }
    let problem =
        Problem::value(&node.place, format!("`{key}`: time zone `{}` is not known", clip(text)))
            .allowed("a name of the zone database such as \"Europe/Berlin\", or \"UTC\"");
    let db = jiff::tz::db();
    let names: Vec<String> = db.available().map(|n| n.to_string()).collect();
    Err(match super::near::nearest(text, names.iter().map(String::as_str)) {
        Some(name) => problem.hint(format!("did you mean `{name}`?")),
        None => problem.hint("`timedatectl list-timezones` lists them"),
    })
}

/// Minutes of the day, first quiet and first loud.
pub(super) fn quiet_hours(key: &str, node: &Node) -> Result<(u16, u16), Problem> {
    let allowed = "from and to as hours and minutes: \"22:00-06:00\"";
    let text = text(key, node).map_err(|p| p.allowed(allowed))?;
    let minute = |part: &str| {
        let (h, m) = part.trim().split_once(':')?;
        let two = |t: &str| t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit());
        let (h, m): (u16, u16) =
            (two(h).then(|| h.parse().ok())??, two(m).then(|| m.parse().ok())??);
        (h < 24 && m < 60).then_some(h * 60 + m)
    };
    let pair = text.split_once('-').and_then(|(a, b)| Some((minute(a)?, minute(b)?)));
    pair.filter(|(a, b)| a != b).ok_or_else(|| {
        Problem::value(&node.place, format!("`{key}`: `{}` is not a span of the day", clip(text)))
            .allowed(allowed)
    })
}

//! A browser just good enough for log-in and consent pages: fetches a page, fills its form, posts
//! it, follows redirects with cookies, and stops at the redirect that leaves the site.
//!
//! Knows no page in particular: the password goes into the input of that type, the user's name
//! into the visible text input, hidden inputs travel as they are, and of several buttons the one
//! is pressed whose name or value reads like the wish.

use super::http::Jar;

/// Who walks, and what he does.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// Goes into the text input.
    pub user: &'a str,
    /// Goes into the password input.
    pub password: &'a str,
    /// Presses the button that grants; else the one that declines.
    pub approve: bool,
}

/// Why a walk did not end in a redirect.
#[derive(Debug)]
pub struct Stuck {
    /// The address of the last page.
    pub at: String,
    /// Its status.
    pub status: u16,
    /// Its text.
    pub page: String,
}

/// Walks from an authorize address to the redirect away from its site and returns that address
/// (which is not fetched): `…/cb?code=…&state=…` or `…?error=…`.
pub fn walk(address: &str, who: &Walk<'_>) -> Result<String, Stuck> {
    let site = origin(address);
    let mut jar = Jar::default();
    let mut at = address.to_owned();
    let mut answer = jar.send("GET", &at, None);
    let mut logged_in = 0;
    for _ in 0..20 {
        if let Some(target) = answer.header("location") {
            at = join(&at, target);
            if origin(&at) != site {
                return Ok(at);
            }
            answer = jar.send("GET", &at, None);
            continue;
        }
        let page = answer.text();
        let stuck = |page| Stuck { at: at.clone(), status: answer.status, page };
        let Some(form) = Form::first(&page) else { return Err(stuck(page)) };
        logged_in += usize::from(form.asks_password);
        if logged_in > 1 {
            return Err(stuck(page)); // the log-in page again: wrong password, or deactivated
        }
        let fields = form.fill(who);
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        at = join(&at, &form.action);
        answer = jar.send(&form.method, &at, Some(&fields));
    }
    Err(Stuck { at, status: answer.status, page: answer.text() })
}

struct Form {
    action: String,
    method: String,
    inputs: Vec<Input>,
    asks_password: bool,
}

struct Input {
    kind: String,
    name: String,
    value: String,
}

impl Form {
    fn first(page: &str) -> Option<Self> {
        let start = page.find("<form")?;
        let end = page[start..].find("</form").map_or(page.len(), |end| start + end);
        let form = &page[start..end];
        let head = &form[..form.find('>')?];
        let mut inputs = vec![];
        for tag in ["<input", "<button"] {
            for part in form.split(tag).skip(1) {
                let part = &part[..part.find('>').unwrap_or(part.len())];
                let default = if tag == "<button" { "submit" } else { "text" };
                inputs.push(Input {
                    kind: attribute(part, "type").unwrap_or_else(|| default.to_owned()),
                    name: attribute(part, "name").unwrap_or_default(),
                    value: attribute(part, "value").unwrap_or_default(),
                });
            }
        }
        let asks_password = inputs.iter().any(|i| i.kind == "password");
        Some(Self {
            action: attribute(head, "action").unwrap_or_default(),
            method: attribute(head, "method").unwrap_or_default().to_ascii_uppercase(),
            inputs,
            asks_password,
        })
    }

    fn fill(&self, who: &Walk<'_>) -> Vec<(String, String)> {
        let mut fields = vec![];
        let mut buttons = vec![];
        for input in self.inputs.iter().filter(|i| !i.name.is_empty()) {
            let value = match input.kind.as_str() {
                "password" => who.password.to_owned(),
                "text" | "email" => who.user.to_owned(),
                "submit" => {
                    buttons.push(input);
                    continue;
                }
                _ => input.value.clone(),
            };
            fields.push((input.name.clone(), value));
        }
        let grants = |i: &&Input| {
            let text = format!("{} {}", i.name, i.value).to_ascii_lowercase();
            let no = ["den", "decline", "cancel", "refuse", "no"];
            no.iter().all(|word| {
                !text.split(|c: char| !c.is_alphanumeric()).any(|t| t.starts_with(word))
            }) && !text.ends_with(" 0")
        };
        let pressed = if who.approve {
            buttons.iter().find(|i| grants(i)).or(buttons.first())
        } else {
            buttons.iter().find(|i| !grants(i)).or(buttons.first())
        };
        if let Some(button) = pressed {
            fields.push((button.name.clone(), button.value.clone()));
        }
        fields
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=")).or_else(|| tag.find(&format!("\n{name}=")))?;
    let rest = &tag[start + name.len() + 2..];
    let raw = match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next()?,
        _ => rest.split([' ', '\n', '/']).next()?,
    };
    let mut text = raw.to_owned();
    for (entity, plain) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&#x2F;", "/"),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, plain);
    }
    Some(text)
}

/// A link as taken from the page at `base`; an empty one is the page itself.
fn join(base: &str, link: &str) -> String {
    let base = url::Url::parse(base).expect("a page's address");
    base.join(link).map_or_else(|e| panic!("a link {link:?}: {e}"), String::from)
}

fn origin(address: &str) -> String {
    let url = url::Url::parse(address).unwrap_or_else(|e| panic!("an address {address:?}: {e}"));
    url.origin().ascii_serialization()
}

/// A parameter of an address's query, decoded.
pub fn parameter(address: &str, name: &str) -> Option<String> {
    let url = url::Url::parse(address).ok()?;
    url.query_pairs().find(|(n, _)| n == name).map(|(_, v)| v.into_owned())
}

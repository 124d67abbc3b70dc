//! The two pages of the authorize endpoint: log in, then allow or deny. Plain forms whose hidden
//! inputs carry the whole state, so that a browser and a ten-line script walk them alike.

/// What the pages carry along, in the order of the authorize request.
pub(crate) const CARRIED: [&str; 9] = [
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "prompt",
    "login_hint",
];

/// Text made harmless inside HTML.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

fn page(title: &str, inner: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} | crmsync-sandbox</title>\
         <style>body{{font:16px sans-serif;margin:4em auto;max-width:26em}}label{{display:block;margin:.6em 0}}\
         input[type=text],input[type=password]{{width:100%}}</style></head>\n\
         <body><h1>{title}</h1>\n{inner}\n<p><small>This is crmsync-sandbox, not Salesforce.</small></p></body></html>\n"
    )
}

fn hidden(fields: &[(String, String)]) -> String {
    fields
        .iter()
        .filter(|(name, _)| CARRIED.contains(&name.as_str()))
        .map(|(name, value)| {
            format!(
                "<input type=\"hidden\" name=\"{}\" value=\"{}\">\n",
                escape(name),
                escape(value)
            )
        })
        .collect()
}

/// The log-in form, with why the last try failed.
pub(crate) fn login(fields: &[(String, String)], hint: &str, why: Option<&str>) -> String {
    let why =
        why.map_or_else(String::new, |why| format!("<p role=\"alert\">{}</p>\n", escape(why)));
    page(
        "Log in",
        &format!(
            "{why}<form method=\"post\" action=\"/services/oauth2/authorize\">\n{}\
             <label>Username <input type=\"text\" name=\"username\" value=\"{}\" autocomplete=\"username\"></label>\n\
             <label>Password <input type=\"password\" name=\"password\" autocomplete=\"current-password\"></label>\n\
             <button type=\"submit\">Log in</button>\n</form>",
            hidden(fields),
            escape(hint)
        ),
    )
}

/// The consent form; `login` proves the log-in that went before.
pub(crate) fn consent(fields: &[(String, String)], user: &str, scope: &str, login: &str) -> String {
    page(
        "Allow access?",
        &format!(
            "<p>crmsync asks to use this org as <b>{}</b> with: {}.</p>\n\
             <form method=\"post\" action=\"/services/oauth2/authorize\">\n{}\
             <input type=\"hidden\" name=\"login\" value=\"{}\">\n\
             <button type=\"submit\" name=\"approve\" value=\"1\">Allow</button>\n\
             <button type=\"submit\" name=\"approve\" value=\"0\">Deny</button>\n</form>",
            escape(user),
            escape(scope),
            hidden(fields),
            escape(login)
        ),
    )
}

/// An error that must not be redirected.
pub(crate) fn error(error: &str, description: &str) -> String {
    page(
        "OAuth error",
        &format!(
            "<p>We can't authorize you because of an OAuth error.</p>\n<p>error={}&amp;error_description={}</p>",
            escape(error),
            escape(description)
        ),
    )
}

//! Waits for the browser on the loopback address that the vendor redirects to.
//!
//! Hides a very small HTTP server. Invariants: loopback only; only the registered path with our
//! `state` counts, everything else gets a 404 and changes nothing; one redirect is taken, and its
//! browser is told how it went; nothing foreign stands in the page unescaped.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

/// A person finds his password within this time.
const PATIENCE: Duration = Duration::from_mins(30);
/// For the page to reach the browser.
const FAREWELL: Duration = Duration::from_secs(2);
/// Longest query that is taken.
const LONGEST: usize = 10 * 1024;

/// Where the browser will land, if that is this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Landing {
    /// Byte by byte as registered.
    redirect_uri: String,
    path: String,
    port: u16,
    /// Of this attempt; none: anything is relayed, the daemon looks.
    state: Option<String>,
}

impl Landing {
    /// None where the redirect leads elsewhere than `http` to loopback.
    pub(super) fn of(authorize: &str, redirect_uri: &str) -> Option<Self> {
        let url = Url::parse(redirect_uri).ok()?;
        let local = match url.host()? {
            Host::Domain(name) => name == "localhost",
            Host::Ipv4(ip) => ip.is_loopback(),
            Host::Ipv6(ip) => ip.is_loopback(),
        };
        if url.scheme() != "http" || !local {
            return None;
        }
        let state = Url::parse(authorize).ok().and_then(|url| {
            url.query_pairs().find(|(k, _)| k == "state").map(|(_, v)| v.into_owned())
        });
        Some(Self {
            redirect_uri: redirect_uri.to_owned(),
            path: url.path().to_owned(),
            port: url.port_or_known_default()?,
            state,
        })
    }

    /// The whole redirected address, if this is our redirect.
    fn matches(&self, path: &str, query: &str) -> Option<String> {
        if path != self.path || query.is_empty() || query.len() > LONGEST {
            return None;
        }
        if let Some(state) = &self.state {
            let found = url::form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k == "state");
            if found.is_none_or(|(_, value)| value != *state) {
                return None;
            }
        }
        Some(format!("{}?{query}", self.redirect_uri))
    }
}

/// The two listeners; they end when told, or when this is dropped.
struct Servers {
    stop: CancellationToken,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.cancel();
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

type Arrived = (String, oneshot::Sender<String>);

/// Listening.
pub(super) struct Door {
    port: u16,
    arrived: mpsc::Receiver<Arrived>,
    servers: Servers,
}

/// The browser that waits for an answer.
pub(super) struct Page {
    to: oneshot::Sender<String>,
    servers: Servers,
}

/// Opens the port on both loopback addresses; one of them is enough.
pub(super) async fn open(landing: Landing) -> Result<Door, String> {
    let port = landing.port;
    let places: [SocketAddr; 2] =
        [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    let (send, arrived) = mpsc::channel(1);
    let landing = Arc::new(landing);
    let mut servers = Servers { stop: CancellationToken::new(), tasks: Vec::new() };
    let mut why = String::new();
    for place in places {
        match TcpListener::bind(place).await {
            Ok(listener) => {
                let state = (Arc::clone(&landing), send.clone());
                let app = Router::new().fallback(land).with_state(state);
                let stop = servers.stop.clone().cancelled_owned();
                servers.tasks.push(tokio::spawn(async move {
                    let _ = axum::serve(listener, app).with_graceful_shutdown(stop).await;
                }));
            }
            Err(e) if why.is_empty() => why = format!("listening on {place} is not possible: {e}"),
            Err(_) => {}
        }
    }
    if servers.tasks.is_empty() { Err(why) } else { Ok(Door { port, arrived, servers }) }
}

impl Door {
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The redirected address, and the browser that wants an answer.
    pub(super) async fn wait(mut self) -> Result<(String, Page), String> {
        let came = tokio::time::timeout(PATIENCE, self.arrived.recv()).await;
        let Ok(Some((redirected, to))) = came else {
            let minutes = PATIENCE.as_secs() / 60;
            return Err(format!("waiting for the browser: nobody came in {minutes} minutes"));
        };
        Ok((redirected, Page { to, servers: self.servers }))
    }
}

impl Page {
    /// Tells the browser how it went, and stops listening.
    pub(super) async fn show(mut self, good: bool, text: &str) {
        let heading = if good { "crmsync has its answer" } else { "This did not work" };
        let _ = self.to.send(page(heading, text));
        // What is being answered is answered to its end.
        self.servers.stop.cancel();
        let tasks = std::mem::take(&mut self.servers.tasks);
        let ended = futures_util::future::join_all(tasks);
        let _ = tokio::time::timeout(FAREWELL, ended).await;
    }
}

async fn land(
    State((landing, send)): State<(Arc<Landing>, mpsc::Sender<Arrived>)>,
    request: Request,
) -> Response {
    let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
    let ours = landing.matches(path, query).filter(|_| request.method() == "GET");
    let Some(redirected) = ours else {
        let text = "This address is not the one that crmsync waits for. Use the newest link.";
        return answer(StatusCode::NOT_FOUND, page("Not this one", text));
    };
    let (to, told) = oneshot::channel();
    if send.try_send((redirected, to)).is_err() {
        let text = "crmsync already has an answer.";
        return answer(StatusCode::CONFLICT, page("Too late", text));
    }
    let text = told.await.unwrap_or_else(|_| page("crmsync has gone", "Look at its terminal."));
    answer(StatusCode::OK, text)
}

fn answer(status: StatusCode, page: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (header::CONNECTION, "close"),
    ];
    (status, headers, page).into_response()
}

fn page(heading: &str, text: &str) -> String {
    let (heading, text) = (escape(heading), escape(text));
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>crmsync</title>\
         <h1>{heading}</h1><p>{text}</p><p>You can close this window.</p></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORIZE: &str = "https://login.example.org/authorize?state=abc%3D%3D&x=1";

    #[test]
    fn only_loopback_is_listened_on() {
        for good in ["http://localhost:17817/cb", "http://127.0.0.1:9/cb", "http://[::1]:9/cb"] {
            assert!(Landing::of(AUTHORIZE, good).is_some(), "{good}");
        }
        for bad in ["https://localhost/cb", "http://example.org/cb", "http://10.0.0.1/cb", "x"] {
            assert!(Landing::of(AUTHORIZE, bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn only_our_path_and_state_count() {
        let landing = Landing::of(AUTHORIZE, "http://localhost:17817/cb").unwrap();
        let whole = landing.matches("/cb", "code=c%3D%3D&state=abc%3D%3D");
        let expected = "http://localhost:17817/cb?code=c%3D%3D&state=abc%3D%3D";
        assert_eq!(whole.as_deref(), Some(expected));
        let wrong = [
            ("/favicon.ico", "code=c&state=abc%3D%3D"),
            ("/cb/", "code=c&state=abc%3D%3D"),
            ("/cb", "code=c&state=abc"),
            ("/cb", "code=c"),
            ("/cb", ""),
        ];
        for (path, query) in wrong {
            assert_eq!(landing.matches(path, query), None, "{path} {query}");
        }
    }

    #[tokio::test]
    async fn the_browser_is_taken_once_and_told_how_it_went() {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let uri = format!("http://localhost:{port}/cb");
        let door = open(Landing::of(AUTHORIZE, &uri).unwrap()).await.unwrap();
        let base = format!("http://127.0.0.1:{port}");
        let stray = reqwest::get(format!("{base}/cb?code=1&state=other")).await.unwrap();
        assert_eq!(stray.status(), 404);
        let browser = tokio::spawn(reqwest::get(format!("{base}/cb?code=1&state=abc%3D%3D")));
        let (redirected, page) = door.wait().await.unwrap();
        assert_eq!(redirected, format!("{uri}?code=1&state=abc%3D%3D"));
        page.show(true, "authorized as <ada>").await;
        let text = browser.await.unwrap().unwrap().text().await.unwrap();
        assert!(text.contains("authorized as &lt;ada&gt;"), "{text}");
    }
}

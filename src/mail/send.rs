//! Sending a stored mail by SMTP, exactly the bytes that were stored.

use crate::store::OutMail;
use crmsync_core::config::settings::{Smtp, SmtpTls};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use secrecy::{ExposeSecret, SecretString};
use std::net::IpAddr;
use std::time::Duration;

const PER_COMMAND: Duration = Duration::from_secs(30);
const ALTOGETHER: Duration = Duration::from_mins(2);

/// Why a mail did not leave.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Will pass: network, timeout, 4xx.
    #[error("sending a mail by {server}: {text}")]
    Passing {
        /// Host and port.
        server: String,
        /// What happened.
        text: String,
    },
    /// The server will never take this mail (5xx): no use in repeating it.
    #[error("sending a mail to {to} by {server}: refused: {text}")]
    Refused {
        /// Host and port.
        server: String,
        /// The receiver.
        to: String,
        /// The server's text.
        text: String,
    },
    /// The server does not accept user name and password.
    #[error(
        "sending a mail by {server}: the log-in was refused: {text}\n\
         hint: check username and password in [notify.smtp]"
    )]
    AuthRefused {
        /// Host and port.
        server: String,
        /// The server's text.
        text: String,
    },
    /// No protected way to the server: certificate, STARTTLS not offered.
    #[error(
        "sending a mail by {server}: no protected way: {text}\n\
         hint: check tls and ca_file in [notify.smtp], and the certificate's name"
    )]
    Tls {
        /// Host and port.
        server: String,
        /// What was wrong.
        text: String,
    },
    /// The settings cannot work.
    #[error("sending a mail by {server}: {text}\nhint: see [notify.smtp]")]
    Settings {
        /// Host and port.
        server: String,
        /// What is wrong.
        text: String,
    },
}

impl SendError {
    /// Whether the mail stays queued. Everything but a refusal of this very mail: settings,
    /// certificates and passwords get mended.
    pub fn retry(&self) -> bool {
        !matches!(self, Self::Refused { .. })
    }
}

/// Sends once. The caller stores what came of it; the same mail may be sent again after a crash,
/// with the same Message-ID.
pub async fn send(
    smtp: &Smtp,
    password: Option<&SecretString>,
    mail: &OutMail,
) -> Result<(), SendError> {
    let server = format!("{}:{}", smtp.host, smtp.port);
    let settings = |text: String| SendError::Settings { server: server.clone(), text };
    let address = |text: &str| {
        text.parse().map_err(|e| settings(format!("`{text}` is not a mail address: {e}")))
    };
    let envelope = Envelope::new(Some(address(&mail.from)?), vec![address(&mail.to)?])
        .map_err(|e| settings(e.to_string()))?;
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .timeout(Some(PER_COMMAND))
        .tls(tls(smtp).await.map_err(settings)?);
    if let Some(username) = &smtp.username {
        let password =
            password.ok_or_else(|| settings("a username, but no password is set".to_owned()))?;
        builder = builder
            .credentials(Credentials::new(username.clone(), password.expose_secret().to_owned()));
    }
    let transport = builder.build();
    // The library ends every mail with a line end of its own.
    let bytes = mail.bytes.strip_suffix(b"\r\n").unwrap_or(&mail.bytes);
    match tokio::time::timeout(ALTOGETHER, transport.send_raw(&envelope, bytes)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(e)) => Err(classify(&e, server.clone(), mail)),
        Err(_) => Err(SendError::Passing {
            server: server.clone(),
            text: format!("no end after {} s", ALTOGETHER.as_secs()),
        }),
    }
}

async fn tls(smtp: &Smtp) -> Result<Tls, String> {
    if smtp.tls == SmtpTls::None {
        // Checked by the configuration too; a mail in clear across a network is never sent.
        return if loopback(&smtp.host) {
            Ok(Tls::None)
        } else {
            Err("tls = \"none\" is for a mail server on this host only".to_owned())
        };
    }
    let mut parameters = TlsParameters::builder(smtp.host.clone());
    if let Some(path) = &smtp.ca_file {
        let pem = tokio::fs::read(path)
            .await
            .map_err(|e| format!("reading ca_file {}: {e}", path.display()))?;
        let cert = Certificate::from_pem(&pem)
            .map_err(|e| format!("reading ca_file {}: {e}", path.display()))?;
        parameters = parameters.add_root_certificate(cert);
    }
    let parameters = parameters.build().map_err(|e| e.to_string())?;
    Ok(match smtp.tls {
        SmtpTls::Tls => Tls::Wrapper(parameters),
        SmtpTls::Starttls | SmtpTls::None => Tls::Required(parameters),
    })
}

fn loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn classify(e: &lettre::transport::smtp::Error, server: String, mail: &OutMail) -> SendError {
    let text = super::text::clean(&e.to_string(), 300);
    let code: u16 = e.status().map_or(0, u16::from);
    let lower = text.to_lowercase();
    // RFC 3207 section 4: 530 until STARTTLS was said. RFC 4954 section 6: 530, 534, 535, 538
    // speak of the log-in.
    if e.is_tls() || lower.contains("starttls") || (code == 0 && lower.contains("certificate")) {
        return SendError::Tls { server, text };
    }
    if matches!(code, 530 | 534 | 535 | 538) {
        return SendError::AuthRefused { server, text };
    }
    if e.is_permanent() {
        return SendError::Refused { server, to: mail.to.clone(), text };
    }
    if e.is_client() {
        return SendError::Settings { server, text };
    }
    SendError::Passing { server, text }
}

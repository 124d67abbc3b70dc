//! Postfix: submission with STARTTLS and AUTH arrives as a file; the refusals are real ones.

use crate::support::mail::Mail;
use crate::support::postfix::{self, BUSY, LOGIN, PASSWORD, Postfix, REFUSED};
use crate::support::wait::SOON;
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport as _};

fn transport(tls: Tls, port: u16, password: Option<&str>) -> SmtpTransport {
    let transport = SmtpTransport::builder_dangerous("localhost").port(port).tls(tls);
    match password {
        Some(word) => {
            transport.credentials(Credentials::new(LOGIN.to_owned(), word.to_owned())).build()
        }
        None => transport.build(),
    }
}

fn tls(server: &Postfix, trust: bool) -> TlsParameters {
    let mut tls = TlsParameters::builder("localhost".to_owned());
    if trust {
        let pem = std::fs::read(&server.certs.ca).unwrap();
        tls = tls.add_root_certificate(Certificate::from_pem(&pem).unwrap());
    }
    tls.build().unwrap()
}

fn message(to: &str, subject: &str) -> Message {
    Message::builder()
        .from("crmsync <daemon@example.test>".parse::<Mailbox>().unwrap())
        .to(to.parse().unwrap())
        .message_id(Some("<fixed-1@example.test>".to_owned()))
        .subject(subject)
        .body("Grüße aus der Ferne: the grant is gone.\n".repeat(3))
        .unwrap()
}

#[test]
fn mail_arrives_by_both_encrypted_doors() {
    if postfix::missing("mail_arrives_by_both_encrypted_doors") {
        return;
    }
    let server = Postfix::start();
    let start_tls = Tls::Required(tls(&server, true));
    let subject = "Salesforce sf-prod braucht Sie: Zugriff abgelaufen – bitte neu erteilen, heute";
    transport(start_tls, server.submission, Some(PASSWORD))
        .send(&message("ada@example.test", subject))
        .unwrap_or_else(|e| panic!("{e}\n{}", server.log()));
    let wrapper = Tls::Wrapper(tls(&server, true));
    transport(wrapper, server.smtps, Some(PASSWORD))
        .send(&message("bob@example.test", "second"))
        .unwrap_or_else(|e| panic!("{e}\n{}", server.log()));
    let mails = server.wait_mails("ada@example.test", 1, SOON);
    assert_eq!(mails.len(), 1);
    assert_eq!(mails[0].subject(), subject);
    assert_eq!(mails[0].message_id(), "<fixed-1@example.test>");
    assert!(mails[0].body.contains("Grüße aus der Ferne"), "{}", mails[0].body);
    assert_eq!(server.wait_mails("bob@example.test", 1, SOON)[0].subject(), "second");
}

#[test]
fn mail_is_refused_as_configured() {
    if postfix::missing("mail_is_refused_as_configured") {
        return;
    }
    let mut server = Postfix::start();
    let send = |server: &Postfix, trust, password, to: &str| {
        let tls = Tls::Required(tls(server, trust));
        transport(tls, server.submission, password).send(&message(to, "x"))
    };
    let error = send(&server, true, Some("wrong"), "ada@example.test").unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("535"), "{error}");
    let error = send(&server, true, None, "ada@example.test").unwrap_err();
    assert!(error.is_permanent(), "without AUTH: {error}");
    let error = send(&server, false, Some(PASSWORD), "ada@example.test").unwrap_err();
    assert!(!error.is_permanent() && !error.is_transient(), "an unknown authority: {error}");
    let error = send(&server, true, Some(PASSWORD), REFUSED).unwrap_err();
    assert!(error.is_permanent() && error.to_string().contains("550"), "{error}");
    let error = send(&server, true, Some(PASSWORD), BUSY).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("450"), "{error}");
    let plain = transport(Tls::None, server.submission, None);
    assert!(plain.send(&message("ada@example.test", "x")).is_err(), "STARTTLS is a must");

    server.down();
    assert!(send(&server, true, Some(PASSWORD), "ada@example.test").is_err());
    server.resume();
    send(&server, true, Some(PASSWORD), "ada@example.test").expect("mail is up again");
    assert_eq!(server.wait_mails("ada@example.test", 1, SOON).len(), 1);
}

#[test]
fn a_mail_is_read_as_people_see_it() {
    let raw = "Subject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?= =?utf-8?B?IMO8YmVy?=\r\n all\r\n\
               Content-Type: multipart/alternative; boundary=\"b\"\r\n\r\n\
               --b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
               soft=\r\n break =E2=82=AC\r\n--b\r\nContent-Type: image/png\r\n\r\nnot text\r\n--b--\r\n";
    let mail = Mail::parse(raw.as_bytes().to_vec());
    assert_eq!(mail.subject(), "Grüße über all");
    assert_eq!(mail.body.trim_end(), "soft break €");
}

//! Certificates of a throw-away authority, made with `openssl`: for servers that must be trusted
//! (give the client `ca`) and for those that must not (give it nothing, or another authority).

use super::proc::run;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Files in PEM form.
#[derive(Clone, Debug)]
pub struct Certs {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

/// Makes an authority and a server certificate in `dir`; `names` are host names (a `*.` is fine)
/// or addresses, the first is the common name.
pub fn make(dir: &Path, names: &[&str]) -> Certs {
    let certs =
        Certs { ca: dir.join("ca.pem"), cert: dir.join("server.pem"), key: dir.join("server.key") };
    let alt: Vec<String> = names
        .iter()
        .map(|n| match n.parse::<std::net::IpAddr>() {
            Ok(_) => format!("IP:{n}"),
            Err(_) => format!("DNS:{n}"),
        })
        .collect();
    let conf = dir.join("openssl.cnf");
    let text = format!(
        "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = ${{ENV::CN}}\n\
         [ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = critical, keyCertSign, cRLSign\n\
         subjectKeyIdentifier = hash\n\
         [server]\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
         extendedKeyUsage = serverAuth\nsubjectAltName = {}\n",
        alt.join(", ")
    );
    std::fs::write(&conf, text).expect("writing openssl.cnf");
    let ca_key = dir.join("ca.key");
    let openssl = |name: &str, section: &str, key: &Path, out: &Path, more: &[&Path]| {
        let mut command = Command::new("openssl");
        command
            .env("CN", name)
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
            .args(["-nodes", "-days", "30", "-extensions", section, "-config"])
            .arg(&conf)
            .arg("-keyout")
            .arg(key)
            .arg("-out")
            .arg(out);
        if let [ca, ca_key] = more {
            command.arg("-CA").arg(ca).arg("-CAkey").arg(ca_key);
        }
        run(command, Duration::from_secs(30)).ok();
    };
    openssl("crmsync test authority", "ca", &ca_key, &certs.ca, &[]);
    openssl(names[0], "server", &certs.key, &certs.cert, &[&certs.ca, &ca_key]);
    certs
}

//! A provider that answers nonsense: malformed, oversized, cut off, hostile. Each time a clear
//! status, no panic, nothing half done, no memory without bound; and all is well once it answers
//! sense again.

use crate::support::daemon::{Daemon, notify, salesforce};
use crate::support::front::{Front, Liar, json};
use crate::support::ports;
use crate::support::sandbox::Sandbox;
use crate::support::wait::eventually_or;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

struct Bench {
    front: Front,
    sandbox: Sandbox,
    daemon: Daemon,
}

fn bench() -> Bench {
    let front = Front::start();
    let url = front.url();
    let sandbox = Sandbox::start(&[
        "--public-url",
        &url,
        "--records",
        "Account=120",
        "--records",
        "Contact=30",
    ]);
    front.aim(sandbox.port());
    let section = salesforce("sf", &sandbox, "every 1h").replace(&sandbox.http, &url);
    let config = format!(
        "{}{section}\n[connections.sf.objects]\nAccount = \"all\"\nContact = \"all\"\n",
        notify(ports::free_port())
    );
    let daemon = Daemon::start(&config);
    daemon.authorize("sf", &sandbox);
    daemon.wait_reason("sf", "Active", "idle");
    Bench { front, sandbox, daemon }
}

impl Bench {
    fn same(&self) {
        for object in ["Account", "Contact"] {
            let source = self.sandbox.source(object, &[]);
            self.daemon.replica("sf").assert_same(&object.to_lowercase(), &source);
        }
    }

    fn rows(&self) -> i64 {
        self.daemon
            .replica("sf")
            .number("select (select count(*) from account) + (select count(*) from contact)")
    }

    fn no_panic(&mut self) {
        let lines = self.daemon.proc().lines();
        let bad = lines.iter().find(|l| l.contains("panicked") || l.contains("broke off"));
        assert_eq!(bad, None, "{}", lines.join("\n"));
    }

    /// Peak of the resident memory so far, in MiB.
    fn peak(&mut self) -> u64 {
        let path = format!("/proc/{}/status", self.daemon.proc().pid());
        let text = std::fs::read_to_string(path).expect("the daemon's memory");
        let line = text.lines().find(|l| l.starts_with("VmHWM:")).expect("VmHWM");
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") / 1024
    }
}

fn raw(text: &'static str) -> Liar {
    Arc::new(move |out| out.write_all(text.as_bytes()))
}

fn chunked(piece: Vec<u8>, times: usize) -> Liar {
    Arc::new(move |out| {
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")?;
        for _ in 0..times {
            write!(out, "{:x}\r\n", piece.len())?;
            out.write_all(&piece)?;
            out.write_all(b"\r\n")?;
        }
        out.write_all(b"0\r\n\r\n")
    })
}

fn lies() -> Vec<(&'static str, Liar)> {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let mut lies: Vec<(&'static str, Liar)> = vec![
        ("empty", json(vec![])),
        ("null", json(b"null".to_vec())),
        ("a number", json(b"7".to_vec())),
        ("an empty list", json(b"[]".to_vec())),
        ("an empty object", json(b"{}".to_vec())),
        ("not utf-8", json(vec![0xff, 0xfe, b'{', 0x80, 0x00])),
        ("half a document", json(br#"{"totalSize":3,"done":true,"records":[{"attr"#.to_vec())),
        ("deep", json(deep)),
        ("records of another shape", json(br#"{"totalSize":"x","done":1,"records":{"a":[]}}"#.to_vec())),
        ("a composite of strings", json(br#"{"compositeResponse":["a",{"body":7},null]}"#.to_vec())),
        ("a part without an end", json(br#"{"compositeResponse":[{"body":{"totalSize":1,"done":false,"records":[{"Id":null}]},"httpStatusCode":200,"referenceId":"../../x"}]}"#.to_vec())),
        ("no HTTP at all", raw("SSH-2.0-OpenSSH_9.2\r\n")),
        ("a status of its own", raw("HTTP/1.1 999 What\r\ncontent-length: 2\r\n\r\n{}")),
        ("a redirect elsewhere", raw("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/steal\r\ncontent-length: 0\r\n\r\n")),
        ("less than promised", raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{\"records\":[")),
        ("a length that is none", raw("HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n{}")),
        ("an endless header", Arc::new(|out: &mut dyn Write| {
            out.write_all(b"HTTP/1.1 200 OK\r\n")?;
            for i in 0..50_000 {
                write!(out, "x-{i}: {i}\r\n")?;
            }
            out.write_all(b"\r\n")
        })),
        ("closed at once", Arc::new(|_: &mut dyn Write| Ok(()))),
    ];
    lies.push(("usage nobody can have", raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nsforce-limit-info: api-usage=-1/99999999999999999999999\r\ndate: yesterday\r\ncontent-length: 2\r\n\r\n{}")));
    lies
}

#[test]
fn nonsense_is_told_and_changes_nothing() {
    let mut bench = bench();
    let before = bench.rows();
    for (what, lie) in lies() {
        bench.front.lie("/services/data/", lie);
        bench.daemon.sync("sf");
        let status = bench.daemon.status("sf");
        let told = bench.front.honest();
        assert!(told > 0, "{what}: nothing was asked");
        let reason = status["reason"].as_str().unwrap_or_default();
        let clear = matches!(reason, "retrying" | "idle") || reason.starts_with("needs attention");
        assert!(clear && status["needs_authorization"] == false, "{what}: {status:#}");
        assert!(reason != "retrying" || !status["detail"].as_str().unwrap().is_empty(), "{what}");
        assert_eq!(bench.rows(), before, "{what}");
        bench.no_panic();
    }
    bench.sandbox.ctl(&["touch", "Account", "20"]);
    bench.daemon.follow("sf");
    bench.daemon.wait_reason("sf", "Active", "idle");
    bench.same();
    bench.daemon.stop();
}

#[test]
fn nonsense_at_the_token_endpoint_burns_no_grant() {
    let mut bench = bench();
    for (what, lie) in lies() {
        bench.sandbox.ctl(&["expire-tokens"]);
        bench.front.lie("/oauth2/token", lie);
        bench.daemon.sync("sf");
        let status = bench.daemon.status("sf");
        assert!(bench.front.honest() > 0, "{what}: nothing was asked");
        assert_eq!(status["needs_authorization"], false, "{what}: {status:#}");
        bench.no_panic();
    }
    bench.daemon.follow("sf");
    bench.same();
    assert_eq!(bench.daemon.detail("sf")["request"], serde_json::Value::Null);
    bench.daemon.stop();
}

#[test]
fn a_giant_answer_needs_no_giant_memory() {
    let mut bench = bench();
    let before = bench.rows();
    let mib = 1usize << 20;
    // As text that never ends, as a document of 60 MiB that is whole, and packed.
    let endless = chunked(vec![b' '; mib], 200);
    let mut many = br#"{"totalSize":1,"done":true,"records":["#.to_vec();
    while many.len() < 60 * mib {
        many.extend_from_slice(b"{},");
    }
    many.extend_from_slice(b"{}]}");
    let mut nested = br#"{"compositeResponse":["#.to_vec();
    while nested.len() < 60 * mib {
        nested.extend_from_slice(b"[],");
    }
    nested.extend_from_slice(b"[]]}");
    for (what, lie) in [("endless", endless), ("many", json(many)), ("nested", json(nested))] {
        bench.front.lie("/services/data/", lie);
        bench.daemon.sync("sf");
        let status = bench.daemon.status("sf");
        let peak = bench.peak();
        println!("{what}: peak {peak} MiB; {} {}", status["reason"], status["detail"]);
        assert!(peak < 200, "{what}: {peak} MiB");
        assert!(bench.front.honest() > 0, "{what}: nothing was asked");
        assert_eq!(status["needs_authorization"], false, "{what}: {status:#}");
        assert_eq!(bench.rows(), before, "{what}");
        bench.no_panic();
    }
    bench.daemon.follow("sf");
    bench.same();
    bench.daemon.stop();
}

#[test]
fn answers_cut_anywhere_lose_nothing() {
    let mut bench = bench();
    for bytes in [0, 1, 20, 300, 5000] {
        bench.sandbox.ctl(&["touch", "Account", "60"]);
        let after = format!("after_bytes={bytes}");
        bench.sandbox.ctl(&["cut", "path=/services/data/", &after, "times=2"]);
        bench.daemon.sync("sf");
        let status = bench.daemon.status("sf");
        let fine = matches!(status["reason"].as_str(), Some("retrying" | "idle"));
        assert!(fine && status["status"] == "Active", "{bytes}: {status:#}");
        bench.sandbox.ctl(&["clear-faults"]);
        bench.daemon.follow("sf");
        bench.same();
        bench.no_panic();
    }
    eventually_or(Duration::from_secs(60), "no mail about it", || {
        let mails = bench.daemon.api("GET", "/v1/mails", None).ok().to_string();
        if mails.contains("message_id") { Err(mails) } else { Ok(()) }
    });
    bench.daemon.stop();
}

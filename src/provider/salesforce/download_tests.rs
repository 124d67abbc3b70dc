//! Result pages: what agrees, what does not, what is cut.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BODY: &str = "\"Id\",\"SystemModstamp\"\n\"001\",\"s\"\n\"002\",\"CANARY\"\n";

#[tokio::test]
async fn a_page_that_disagrees_with_itself_does_not_count() {
    let plain = |mut reply: Reply, name: &str| {
        reply.1.retain(|(header, _)| *header != name);
        reply
    };
    let refused: Vec<(&str, Reply)> = vec![
        ("2 rows instead of the 3 that were told", csv("null", "3", BODY)),
        ("its number of records is no number", csv("null", "many", BODY)),
        ("nothing says whether a page follows", plain(csv("null", "2", BODY), "sforce-locator")),
        ("nothing says whether a page follows", csv("", "2", BODY)),
        ("it is followed by itself", csv("THIS", "2", BODY)),
        ("no rows, but a next page", csv("NEXT", "0", "Id,SystemModstamp\n")),
        ("it is not of type text/csv", plain(csv("null", "2", BODY), "content-type")),
        ("0 rows instead of the 2 that were told", csv("null", "2", "")),
        ("it is empty", plain(csv("null", "2", ""), "sforce-numberofrecords")),
        ("row 2: the page ends within it", csv("null", "2", &BODY[..BODY.len() - 3])),
        ("row 3: 1 columns instead of 2", csv("null", "2", &format!("{BODY}CANARY\n"))),
        ("header line: Id is not in it", csv("null", "2", &BODY.replace("Id", "Key"))),
        ("header line: ", csv("null", "2", "<html>CANARY</html>")),
    ];
    for (expected, reply) in refused {
        let step = answered(page(Some("THIS"), 0), move |_| reply.clone()).await;
        let Step::Failed(Fault::Contract { what }) = &step else { panic!("{expected}: {step:?}") };
        assert!(what.contains(expected), "{expected}: {what}");
        assert!(
            what.starts_with("reading page THIS of the job for Account: ")
                && !what.contains("CANARY"),
            "{what}"
        );
    }
    let html = (200, vec![("content-type", "text/html".into())], "<html>".to_owned());
    let step = answered(page(None, 0), move |_| html.clone()).await;
    assert!(matches!(step, Step::Failed(Fault::Passing { .. })), "{step:?}");
    // These are fine.
    for (reply, rows, next) in [
        (csv("NEXT", "2", BODY), 2, Some("NEXT".to_owned())),
        (plain(csv("null", "2", BODY), "sforce-numberofrecords"), 2, None),
        (csv("null", "0", "Id,SystemModstamp\n"), 0, None),
        (csv("null", "0", ""), 0, None),
    ] {
        let step = answered(page(None, 0), move |_| reply.clone()).await;
        assert_eq!(step, Step::Page { rows, next });
    }
}

/// A server that reads a request, writes `reply` and closes.
async fn raw(reply: Vec<u8>) -> Url {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = socket.read(&mut buffer).await;
            let _ = socket.write_all(&reply).await;
        }
    });
    Url::parse(&format!("http://{at}/")).unwrap()
}

fn reply(extra: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nSforce-Locator: null\r\n{extra}\
         Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A gzip stream of stored blocks.
fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut blocks = body.chunks(60_000).peekable();
    while let Some(block) = blocks.next() {
        let len = u16::try_from(block.len()).unwrap();
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    out
}

fn large(rows: usize) -> String {
    let value = "x".repeat(500);
    let rows = (0..rows).map(|i| format!("\"{i}\",\"{value}\"\n"));
    std::iter::once("Id,SystemModstamp\n".to_owned()).chain(rows).collect()
}

#[tokio::test]
async fn a_cut_download_passes_and_a_packed_one_is_unpacked() {
    let o = object("Account", 0);
    let body = large(10_000);
    let packed = gzip(body.as_bytes());
    let gz = "Content-Encoding: gzip\r\n";
    let half = packed.len() / 2;
    for cut in [
        reply("", body.len(), &body.as_bytes()[..body.len() / 2]),
        reply(gz, packed.len(), &packed[..half]),
        reply(gz, half, &packed[..half]),
    ] {
        let toll = Counter::default();
        let (outcome, _) =
            run(&salesforce(&[]), raw(cut).await, &toll, job_task(&o, page(None, 0)), &o).await;
        let step = outcome.unwrap().steps.remove(0);
        assert!(matches!(step, Step::Failed(Fault::Passing { .. })), "{step:?}");
        // It counts until an answer says otherwise.
        assert_eq!(toll.counts(), (1, 0));
    }
    for whole in [reply("", body.len(), body.as_bytes()), reply(gz, packed.len(), &packed)] {
        let toll = Counter::default();
        let (outcome, delivered) =
            run(&salesforce(&[]), raw(whole).await, &toll, job_task(&o, page(None, 0)), &o).await;
        assert_eq!(outcome.unwrap().steps, [Step::Page { rows: 10_000, next: None }]);
        assert_eq!(toll.counts(), (1, 1));
        // About 1 MiB each, in order, everything once.
        assert!((4..=6).contains(&delivered.len()), "{}", delivered.len());
        let keys = delivered
            .iter()
            .flat_map(|d| (0..d.batch.rows()).map(|row| d.batch.key(row).unwrap().to_owned()));
        assert!(keys.eq((0..10_000).map(|i| i.to_string())));
    }
}

#[tokio::test]
async fn a_page_without_an_answer_failed_and_one_that_never_left_ends_the_call() {
    let o = object("Account", 0);
    let refusal = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 100\r\n\r\nhalf";
    for cut in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-", refusal] {
        let toll = Counter::default();
        let (outcome, delivered) =
            run(&salesforce(&[]), raw(cut.to_vec()).await, &toll, job_task(&o, page(None, 0)), &o)
                .await;
        let step = outcome.unwrap().steps.remove(0);
        assert!(matches!(step, Step::Failed(Fault::Passing { .. })), "{step:?}");
        assert!(delivered.is_empty());
        assert_eq!(toll.counts().0, 1);
    }
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Url::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
    let task = job_task(&o, page(None, 0));
    let (outcome, _) = run(&salesforce(&[]), nobody, &Counter::default(), task, &o).await;
    assert!(matches!(outcome, Err(Failure::Fault(Fault::Passing { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn compression_can_be_turned_off() {
    let o = object("Account", 0);
    let server = serve(|_| csv("null", "2", BODY)).await;
    let sf = salesforce(&[("compression", "false")]);
    let task = job_task(&o, page(None, 0));
    let (outcome, _) = run(&sf, server.base.clone(), &Counter::default(), task, &o).await;
    assert_eq!(outcome.unwrap().steps, [Step::Page { rows: 2, next: None }]);
    let seen = server.seen.lock().unwrap();
    let asked: Vec<_> = seen[0].headers.get_all("accept-encoding").iter().collect();
    assert_eq!(asked, ["identity"]);
}

#[tokio::test]
async fn a_reader_that_stops_ends_the_call() {
    let o = object("Account", 0);
    let body = large(20_000);
    let server = serve(move |_| csv("null", "20000", &body)).await;
    let schema = Schema { objects: BTreeMap::from([(o.name.clone(), o.clone())]) };
    let sf = salesforce(&[]);
    let calls = sf.calls(&[job_task(&o, page(None, 0))], &schema, &QuotaDomain("d".into()), 1);
    let session = server.session();
    let (tx, rx) = mpsc::channel(1);
    drop(rx);
    let toll = Counter::default();
    let outcome = sf.send(Ctx { session: &session, toll: &toll }, &calls[0], &schema, tx).await;
    assert!(matches!(outcome, Err(Failure::Fault(Fault::Passing { .. }))));
}

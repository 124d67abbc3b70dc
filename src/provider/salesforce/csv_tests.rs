use super::*;
use crate::provider::salesforce::testing::{data, recorded};
use proptest::prelude::*;

fn names(width: usize) -> Vec<String> {
    (0..width).map(|i| format!("Field_{i}__c")).collect()
}

type Rows = Vec<Vec<Option<String>>>;

/// All rows as they come, and how many batches brought them.
fn split(
    fields: &[String],
    pieces: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Result<(Rows, End), Wrong> {
    let mut splitter = Splitter::new(fields.to_vec());
    let mut rows = Vec::new();
    let mut keep =
        |b: Batch| {
            rows.extend((0..b.rows()).map(|r| {
                (0..b.columns()).map(|c| b.get(r, c).map(str::to_owned)).collect::<Vec<_>>()
            }));
            true
        };
    for piece in pieces {
        assert!(splitter.feed(piece.as_ref(), &mut keep)?);
    }
    let mut end = splitter.end()?;
    end.batch.take().map(&mut keep);
    assert_eq!(end.rows, rows.len() as u64);
    Ok((rows, end))
}

fn wrong(text: &[u8]) -> Wrong {
    let fields = ["Id", "Name", "Text__c"].map(str::to_owned);
    let found = split(&fields, [text]).unwrap_err();
    // However it is cut, the same is found.
    assert_eq!(split(&fields, text.chunks(1)).unwrap_err(), found);
    found
}

#[test]
fn a_page_as_the_vendor_writes_it() {
    let text = "\"Name\",\"ID\",\"text__c\"\n\"Acme, Inc.\",\"001\",\"\"\n\
                \"Say \"\"hé\"\"\",\"002\",\"line one\r\nline two\0\"\n";
    let fields = ["Id", "Name", "Text__c"].map(str::to_owned);
    let (rows, end) = split(&fields, [text]).unwrap();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(rows[0], [some("001"), some("Acme, Inc."), None]);
    assert_eq!(rows[1], [some("002"), some("Say \"hé\""), some("line one\r\nline two\0")]);
    assert!(end.header);
    // Without quotes, with the other line end, and without the last one behind a quote.
    let bare = "Id,Name,Text__c\r\n001,é,\r\n002,,\"\"\"\"";
    let (rows, _) = split(&fields, bare.as_bytes().chunks(1)).unwrap();
    assert_eq!(rows[0], [some("001"), some("é"), None]);
    assert_eq!(rows[1], [some("002"), None, some("\"")]);
    let (rows, end) = split(&fields, ["Id,Name,Text__c\n"]).unwrap();
    assert!(rows.is_empty() && end.header);
    assert!(!split(&fields, [""]).unwrap().1.header);
}

#[test]
fn recorded_pages() {
    let Some(dir) = data() else { return };
    let text = recorded(&dir, "constructed/bulk2_query_results_page1.csv");
    let fields = ["Id", "Name", "SystemModstamp", "Description"].map(str::to_owned);
    let (rows, _) = split(&fields, [text]).unwrap();
    assert_eq!(rows[0][1].as_deref(), Some("Acme, Inc."));
    assert_eq!((rows.len(), rows[1][3].as_deref()), (2, Some("line one\nline two")));
}

#[test]
fn what_is_not_the_promised_form_is_refused_with_its_row_and_never_a_value() {
    let head = "Id,Name,Text__c\n\"1\",\"a\",\"b\"\n";
    for (text, row, what) in [
        ("\"2\",\"CANARY\"\n", 2, "2 columns instead of 3"),
        ("\"2\",\"CANARY\",\"b\",\"c\"\n", 2, "more than 3 columns"),
        ("\"2\",\"CANARY\"x,\"b\"\n", 2, "text behind a closing quote"),
        ("\"2\",\"CANARY\"\rx,\"b\"\n", 2, "text behind a closing quote"),
        ("2,CAN\rARY,b\n", 2, "a line break within a value that is not quoted"),
        ("2,CAN\"ARY,b\n", 2, "a quote within a value that is not quoted"),
        ("\"2\",\"CANARY\",\"b", 2, "the page ends within it"),
        ("\"2\",\"CANARY\",\"", 2, "the page ends within it"),
        ("\"2\",\"CANARY\",b", 2, "the page ends within it"),
        ("\"2\",\"CANARY\",", 2, "the page ends within it"),
        ("\"2\",\"CANARY\"", 2, "2 columns instead of 3"),
        ("\"2\",\"CANARY\",\"b\"\r", 2, "the page ends within it"),
        ("\"\",\"CANARY\",\"b\"\n", 2, "it has no key"),
        ("\n", 2, "1 columns instead of 3"),
        ("\"2\",\"a\",\"b\"\n\n", 3, "1 columns instead of 3"),
        ("\"2\",\"a\",\"b\"\ntotal: CANARY\n", 3, "1 columns instead of 3"),
    ] {
        let found = wrong(format!("{head}{text}").as_bytes());
        assert_eq!((found.row, found.what.as_ref()), (row, what), "{text:?}");
    }
    let mut bytes = format!("{head}\"2\",\"é\",\"CAN").into_bytes();
    bytes.extend_from_slice(b"\xff\"\n\"3\",\"a\",\"b\"\n");
    assert_eq!(wrong(&bytes).to_string(), "row 2: a value that is not UTF-8");
    // Half a character at the end of a value, its other half behind the quote.
    let found = wrong(b"Id,Name,Text__c\n\"1\",\"a\xc3\",\"\xa9\"\n");
    assert_eq!((found.row, found.what.as_ref()), (1, "a value that is not UTF-8"));
}

#[test]
fn the_header_line_names_exactly_the_asked_fields() {
    for (text, what) in [
        ("Id,Name\n", "header line: 2 columns instead of 3"),
        ("Id,Name,Text__c,Other\n", "header line: 4 columns instead of 3"),
        ("Id,Name,Other\n", "header line: Text__c is not in it"),
        ("Id,Id,Text__c\n", "header line: Name is not in it"),
        ("\u{feff}\"Id\",Name,Text__c\n", "header line: a quote within a value that is not quoted"),
        ("[{\"errorCode\":", "header line: a quote within a value that is not quoted"),
        ("\n", "header line: 1 columns instead of 3"),
        ("\"Id\",\"Name\"", "header line: 2 columns instead of 3"),
        ("Id,Name,Text__c", "header line: the page ends within it"),
    ] {
        assert_eq!(wrong(text.as_bytes()).to_string(), what, "{text:?}");
    }
}

#[test]
fn memory_is_bounded() {
    let fields = names(2);
    let mut splitter = Splitter::new(fields);
    splitter.feed(b"Field_0__c,Field_1__c\n1,\"", &mut |_| true).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let found = (0..20).find_map(|_| splitter.feed(&piece, &mut |_| true).err()).unwrap();
    assert_eq!(found.to_string(), "row 1: longer than any record");
    assert!(splitter.text.capacity() <= 3 * RECORD);
    // Batches go out while the page is read, and nothing is kept of them.
    let mut splitter = Splitter::new(names(2));
    let mut sizes = Vec::new();
    let mut row = b"Field_0__c,Field_1__c\n".to_vec();
    for i in 0..200 {
        row.extend_from_slice(format!("\"{i}\",\"{}\"\n", "é\"\"".repeat(10_000)).as_bytes());
        splitter
            .feed(&row, &mut |b| {
                sizes.push(b.facts().bytes);
                true
            })
            .unwrap();
        row.clear();
    }
    assert!(sizes.len() >= 6 && sizes.iter().all(|s| *s < 2 << 20), "{sizes:?}");
    assert!(splitter.text.capacity() < 2 << 20);
}

#[test]
fn it_stops_when_nobody_listens() {
    let mut splitter = Splitter::new(names(1));
    splitter.feed(b"Field_0__c\n", &mut |_| true).unwrap();
    let piece = b"\"0123456789\"\n".repeat(200_000);
    assert!(!splitter.feed(&piece, &mut |_| false).unwrap());
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z0-9]{0,12}",
        2 => "[\",\r\n\u{0}é😀x]{0,8}",
        1 => "\\PC{0,30}",
    ]
}

/// A table with its asked order, the order of the page, and how the bytes are cut.
fn tables() -> impl Strategy<Value = (Vec<Vec<String>>, Vec<usize>, Vec<usize>, bool)> {
    (1usize..6).prop_flat_map(|width| {
        (
            prop::collection::vec(prop::collection::vec(value(), width), 0..20),
            Just((0..width).collect::<Vec<_>>()).prop_shuffle(),
            prop::collection::vec(1usize..40, 1..10),
            any::<bool>(),
        )
    })
}

proptest! {
    #[test]
    fn any_table_cut_anyhow_comes_out_as_it_went_in((table, order, cuts, always) in tables()) {
        let fields = names(order.len());
        let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let mut out = csv::WriterBuilder::new().quote_style(style).from_writer(Vec::new());
        out.write_record(order.iter().map(|c| fields[*c].to_uppercase())).unwrap();
        let mut expected = Vec::new();
        for (i, row) in table.into_iter().enumerate() {
            let mut row = row;
            row[0] = format!("{i}{}", row[0]);
            out.write_record(order.iter().map(|c| &row[*c])).unwrap();
            expected.push(row.into_iter().map(|v| Some(v).filter(|v| !v.is_empty())).collect());
        }
        let bytes = out.into_inner().unwrap();
        let mut pieces = Vec::new();
        let (mut rest, mut cuts) = (bytes.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (piece, others) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            pieces.push(piece.to_vec());
            rest = others;
        }
        let (rows, _) = split(&fields, &pieces).unwrap();
        let expected: Vec<Vec<Option<String>>> = expected;
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn what_is_taken_is_what_another_reader_reads(bytes in "(\"|,|\n|\r|a|é|\"a\",\"b\"\n){0,40}") {
        let page = format!("Field_0__c,Field_1__c\n{bytes}");
        if let Ok((rows, _)) = split(&names(2), page.as_bytes().chunks(3)) {
            let mut reader = csv::ReaderBuilder::new().from_reader(page.as_bytes());
            let other: Vec<Vec<Option<String>>> = reader
                .records()
                .map(|r| r.unwrap().iter().map(|v| Some(v.to_owned()).filter(|v| !v.is_empty())).collect())
                .collect();
            prop_assert_eq!(rows, other);
        }
    }
}

/// `cargo test --release -- --ignored --nocapture csv::tests::timing`
#[test]
#[ignore = "measures; run it in release"]
#[allow(clippy::disallowed_methods, reason = "it measures")]
fn timing() {
    let fields = names(30);
    let mut page = fields.join(",").into_bytes();
    page.push(b'\n');
    for i in 0..200_000u32 {
        for c in 0..30u32 {
            let end = if c == 29 { '\n' } else { ',' };
            let x = i.wrapping_mul(2_654_435_761).wrapping_add(c * 40_503);
            let text = match c % 5 {
                0 => format!("\"001{x:015}\"{end}"),
                1 => format!("\"{:x}\"{end}", x >> 8),
                2 => format!("\"2026-01-{:02}T10:11:12.000Z\"{end}", x % 28 + 1),
                3 => format!("\"{}\"{end}", if x % 3 == 0 { "" } else { "true" }),
                _ => format!("\"{}.{:02}\"{end}", x % 1_000_000, x % 100),
            };
            page.extend_from_slice(text.as_bytes());
        }
    }
    for _ in 0..5 {
        let begin = std::time::Instant::now();
        let mut splitter = Splitter::new(fields.clone());
        let mut batches = 0;
        for piece in page.chunks(128 << 10) {
            splitter
                .feed(piece, &mut |b| {
                    batches += 1;
                    drop(b);
                    true
                })
                .unwrap();
        }
        let rows = splitter.end().unwrap().rows;
        let took = begin.elapsed();
        eprintln!("{} MB, {rows} rows, {batches} batches: {took:?}", page.len() / 1_000_000);
    }
}

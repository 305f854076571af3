//! Rows and files that cannot be loaded.

use buffetbot_db::Error;
use buffetbot_db::import::{
    CsvOptions, CsvSource, ImportReport, check_prices_csv, prices_from_csv,
};
use buffetbot_db::prices::{IngestOptions, PriceBarFilter, SuspectPolicy};
use buffetbot_db::testing::TestDatabase;

use super::{bars, csv, load, parsed};
use crate::support::handle::Handle;

conformance! {
    bad_rows_are_told_by_line_and_do_not_stop_the_file,
    absurd_numbers_are_refused_at_once,
    bars_that_contradict_themselves_are_rejected_or_flagged,
    a_later_row_of_the_same_day_counts,
    a_file_may_be_empty,
    files_without_their_columns_are_refused,
    a_report_shows_the_first_thousand,
}

async fn bad_rows_are_told_by_line_and_do_not_stop_the_file(handle: &impl Handle) {
    let text = "ticker,date,open,close,volume\n\
                A,2024-01-01,1,1,1\n\
                A,01/02/2024,1,1,1\n\
                A,,1,1,1\n\
                A,2024-01-04,1,,1\n\
                A,2024-01-05,abc,1,1\n\
                A,2024-01-06,1,0,1\n\
                A,2024-01-07,1,-1,1\n\
                A,2024-01-08,1,1,-1\n\
                A,2024-01-09\n\
                A,2024-01-10,1,1,1,surplus\n\
                A,2024-01-11,1,1,1,\n\
                \n\
                waytoolongtobethesymbolofanythingtraded,2024-01-13,1,1,1\n\
                \"A\nB\",2024-01-14,1,1,1\n\
                A,2024-01-15,1,1,1\n\
                A,0000-01-01,1,1,1\n";
    let report = load(handle, text).await.expect("loaded");
    assert_eq!((report.rows, report.inserted, report.rejected_rows), (15, 3, 12));
    let rejected: Vec<_> = report.rejected.iter().map(ToString::to_string).collect();
    let expected = [
        "line 3: date: \"01/02/2024\": expected a date",
        "line 4: date: missing",
        "line 5: close: missing",
        "line 6: open: \"abc\": not a finite number",
        "line 7: close: \"0",
        "line 8: close: \"-1",
        "line 9: volume: -1: must not be negative",
        "line 10: row: 2 fields, but the header has 5",
        "line 11: row: 6 fields, but the header has 5",
        "line 14: ticker: \"WAYTOOLONG",
        "line 15: ticker: \"A\\nB\"",
        "line 18: date: ",
    ];
    assert_eq!(rejected.len(), expected.len(), "{rejected:#?}");
    for (rejected, expected) in rejected.iter().zip(expected) {
        let is_expected = rejected.to_lowercase().starts_with(&expected.to_lowercase());
        assert!(is_expected, "{rejected}, expected {expected}");
    }
    let text = report.to_string();
    assert_eq!(
        text,
        "15 rows: 3 inserted, 0 updated, 0 unchanged, 0 superseded, 12 rejected; 0 values quantised"
    );
    let json = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<ImportReport>(&json).expect("a report"), report);
}

async fn absurd_numbers_are_refused_at_once(handle: &impl Handle) {
    let mut text = String::from("date,close,volume\n");
    let closes = [
        "NaN",
        "inf",
        "-Infinity",
        "1e999999999",
        "1e-999999999",
        "10000000000",
        "1e308",
        "1e-11",
        "0.00000000001",
        "1_000",
        "1,5",
        "0x10",
        "--1",
        "1e",
        "∞",
    ];
    for close in closes {
        text.push_str(&format!("2024-01-02,\"{close}\",1\n"));
    }
    let volumes = ["1e999999999", "9223372036854775808", "NaN", "1e19", "-9e18"];
    for volume in volumes {
        text.push_str(&format!("2024-01-02,1,{volume}\n"));
    }
    text.push_str(&format!("2024-01-02,{},1\n", "1".repeat(1_000_000)));
    let report = load(handle, &text).await.expect("loaded");
    assert_eq!(report.rows, 21);
    assert_eq!(
        (report.rejected_rows, report.inserted, report.quantised),
        (21, 0, 0),
        "{report:#?}"
    );
    assert!(report.rejected.iter().all(|rejected| rejected.reason.len() < 200));
}

async fn bars_that_contradict_themselves_are_rejected_or_flagged(handle: &impl Handle) {
    let text = "date,open,high,low,close\n\
                2024-01-02,1,2,1,2\n\
                2024-01-03,1,1,2,1\n\
                2024-01-04,1,2,1,3\n";
    let report = load(handle, text).await.expect("loaded");
    assert_eq!((report.inserted, report.rejected_rows), (1, 2));
    assert_eq!(
        report.rejected[0].to_string(),
        "line 3: high: below the low; flag the bar as suspect to keep it"
    );
    let with = |policy| {
        let ingest = IngestOptions::new().on_suspect(policy);
        CsvOptions::new().ticker(parsed("A")).ingest(ingest)
    };
    let failed = prices_from_csv(handle, csv(text), with(SuspectPolicy::Fail)).await;
    assert!(matches!(failed, Err(Error::Invalid { field, .. }) if field == "line 3"));
    // A number that is none, too.
    let none = "date,close\n2024-01-02,1\n2024-01-03,NaN\n";
    let failed = prices_from_csv(handle, csv(none), with(SuspectPolicy::Fail)).await;
    assert!(matches!(failed, Err(Error::Invalid { field, .. }) if field == "line 3"));
    let report = prices_from_csv(handle, csv(text), with(SuspectPolicy::Flag)).await;
    let report = report.expect("loaded");
    assert_eq!((report.inserted, report.unchanged, report.rejected_rows), (2, 1, 0));
    assert_eq!(report.flagged, 2);
    let suspect: Vec<_> = bars(handle, "A").await.iter().map(|bar| bar.is_suspect).collect();
    assert_eq!(suspect, [false, true, true]);
}

async fn a_later_row_of_the_same_day_counts(handle: &impl Handle) {
    let text = "date,close\n\
                2024-01-02T00:00:00-05:00,1\n\
                2024-01-02T00:00:00+09:00,2\n\
                2024-01-02,3\n";
    let report = load(handle, text).await.expect("loaded");
    assert_eq!((report.rows, report.inserted, report.superseded), (3, 1, 2));
    assert_eq!(bars(handle, "A").await[0].close, parsed("3"));
}

async fn a_file_may_be_empty(handle: &impl Handle) {
    let report = load(handle, "date,close\n").await.expect("loaded");
    assert_eq!(report, ImportReport::default());
    let report = load(handle, "date,close").await.expect("loaded");
    assert_eq!(report, ImportReport::default());
}

async fn files_without_their_columns_are_refused(handle: &impl Handle) {
    for text in [
        "",
        "date,open\n2024-01-02,1\n",
        "close\n1\n",
        "date,close,Adj Close,adjusted_close\n2024-01-02,1,1,1\n",
        "<html><body>Not found</body></html>\n",
    ] {
        match load(handle, text).await {
            Err(Error::Invalid { field, .. }) => assert_eq!(field, "header", "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(handle.prices().count(&PriceBarFilter::default()).await.expect("read"), 0);
}

async fn a_report_shows_the_first_thousand(handle: &impl Handle) {
    let mut text = String::from("date,close\n");
    text.push_str(&"2024-01-02,-1\n".repeat(12_000));
    text.push_str("2024-01-02,1\n");
    let report = load(handle, &text).await.expect("loaded");
    assert_eq!((report.rows, report.inserted, report.rejected_rows), (12_001, 1, 12_000));
    assert_eq!(report.rejected.len(), ImportReport::REJECTED_SHOWN);
    assert_eq!(report.rejected[999].line, 1_001);
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let db = TestDatabase::new().await.expect("a database");
    let missing = prices_from_csv(&**db, "no/such/file.csv", CsvOptions::new()).await;
    match missing {
        Err(Error::Invalid { field, reason }) => {
            assert_eq!(field, "file");
            assert!(reason.starts_with("cannot be read: "), "{reason}");
        }
        other => panic!("{other:?}"),
    }

    /// Gives a header and a row, then fails.
    struct Broken(bool);
    impl std::io::Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if std::mem::replace(&mut self.0, true) {
                return Err(std::io::Error::other("the disk is gone"));
            }
            let text = b"ticker,date,close\nA,2024-01-02,1\n";
            buffer[..text.len()].copy_from_slice(text);
            Ok(text.len())
        }
    }
    let broken = CsvSource::reader(Broken(false));
    let broken = prices_from_csv(&**db, broken, CsvOptions::new()).await;
    match broken {
        Err(Error::Invalid { reason, .. }) => assert!(reason.contains("the disk is gone")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_check_tells_of_the_same_lines_and_stores_nothing() {
    let db = TestDatabase::new().await.expect("a database");
    let text = "ticker,date,open,high,low,close,volume\n\
        A,2024-01-02,1,2,1,1,8381600.0\n\
        A,2024-01-03,1,2,3,1,1\n\
        A,tomorrow,1,2,1,1,1\n\
        ,2024-01-04,1,2,1,1,1\n\
        A,2024-01-05,1,2,1,NaN,1\n\
        A,2024-01-08,1.00000000001,2,1,1.5,1\n\
        A,2024-01-09,1\n";
    let source = || CsvSource::reader(std::io::Cursor::new(text));
    let checked = check_prices_csv(source(), CsvOptions::new()).await.expect("checked");
    assert_eq!(db.prices().count(&PriceBarFilter::default()).await.expect("read"), 0);
    let stored = prices_from_csv(&*db, source(), CsvOptions::new()).await.expect("stored");
    assert_eq!(stored.inserted, 2);
    assert_eq!(checked, ImportReport { inserted: 0, ..stored });
    let error = check_prices_csv("no/such/file.csv", CsvOptions::new()).await;
    assert!(matches!(error, Err(Error::Invalid { field, .. }) if field == "file"));
}

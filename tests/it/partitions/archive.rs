//! Years that go into files and come back.

use std::path::{Path, PathBuf};

use buffetbot_db::Error;
use buffetbot_db::config::StatementMode;
use buffetbot_db::prices::{PriceArchive, PricePartitions};
use buffetbot_db::testing::TestDatabase;

use super::{bar, contents, day, real};
use crate::catalog::connect;
use crate::support::{eventually, parsed, repository};

/// A folder that goes with the test.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("archive-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).expect("a folder");
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder");
        entries.map(|e| e.expect("an entry").file_name().into_string().expect("a name")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).expect("removed");
    }
}

/// The S&P 500 with partitions from 2000 on.
pub(super) async fn partitioned() -> TestDatabase {
    let db = real().await;
    db.price_partitions().partition_by_year(Some(2000), 1, |_| {}).await.expect("partitioned");
    db
}

pub(super) async fn days_of(db: &TestDatabase, year: i32) -> usize {
    let (from, to) = (day(&format!("{year}-01-01")), day(&format!("{year}-12-31")));
    db.prices().range(&parsed("^GSPC"), from, to).await.expect("read").len()
}

fn assert_archive<T: std::fmt::Debug>(result: Result<T, Error>, path: &Path, wanted: &str) {
    match result {
        Err(Error::Archive { path: told, reason }) => {
            assert_eq!(told, path);
            assert!(reason.contains(wanted), "{reason}");
        }
        other => panic!("expected {wanted}: {other:?}"),
    }
}

#[tokio::test]
async fn a_year_goes_into_a_file_and_comes_back() {
    for mode in [StatementMode::Prepared, StatementMode::OneTrip] {
        let db = TestDatabase::with(|config| config.statement_mode(mode)).await;
        let db = db.expect("a database");
        let file = repository("data/prices/gspc_daily_1950_2015.csv");
        let options = buffetbot_db::import::CsvOptions::new();
        buffetbot_db::import::prices_from_csv(&*db, file, options).await.expect("loaded");
        // A correction, so that all columns hold something somewhere.
        let corrected = bar("^GSPC", "2008-01-02", "1447.17").data_source("other");
        db.prices()
            .upsert_many(&[corrected, bar("A.B", "2008-01-03", "0.0000000001")])
            .await
            .expect("stored");
        db.price_partitions().partition_by_year(Some(2000), 1, |_| {}).await.expect("partitioned");
        let (client, folder) = (connect(&db).await, Folder::new());
        let before = contents(&client).await;
        let revisions = db.prices().revisions(&parsed("^GSPC"), day("2008-01-02")).await;
        let revisions = revisions.expect("read");

        let path = folder.file("2008.parquet");
        let archive = db.price_partitions().archive_year(2008, &path).await.expect("archived");
        assert_eq!((archive.year, archive.rows, archive.checksums.len()), (2008, 254, 13));
        assert_eq!(folder.names(), ["2008.parquet"], "and nothing else");
        assert_eq!(PricePartitions::verify_archive(&path).await.expect("intact"), archive);
        assert_eq!((days_of(&db, 2007).await, days_of(&db, 2008).await), (251, 0));
        let partitions = db.price_partitions().list().await.expect("listed");
        assert!(!partitions.iter().any(|p| p.name == "price_history_2008"));
        let gone = "SELECT to_regclass('price_history_2008') IS NULL";
        assert!(client.query_one(gone, &[]).await.expect("the catalog").get::<_, bool>(0));
        let late = db.prices().create(&bar("A", "2008-05-05", "1")).await;
        assert!(matches!(&late, Err(Error::Invalid { field, .. }) if field == "date"), "{late:?}");
        let again = db.price_partitions().archive_year(2008, &path).await;
        assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");

        let restored = db.price_partitions().restore_year(&path).await.expect("restored");
        assert_eq!(restored, archive);
        assert_eq!(contents(&client).await, before, "ids, times and all values");
        let after = db.prices().revisions(&parsed("^GSPC"), day("2008-01-02")).await;
        assert_eq!(after.expect("read"), revisions, "neither is a correction");
        db.prices().create(&bar("A", "2008-05-05", "1")).await.expect("a partition as the others");
        let twice = db.price_partitions().restore_year(&path).await.expect("nothing to do");
        assert_eq!((twice.rows, twice.kept), (254, 254));
        // A file is not replaced, neither by another year nor by the same one with a bar more.
        for year in [2009, 2008] {
            let refused = db.price_partitions().archive_year(year, &path).await;
            assert_archive(refused, &path, "holds something else");
        }
        assert_eq!(PricePartitions::verify_archive(&path).await.expect("intact"), archive);
        // Of the years before there is one partition for all.
        let path = folder.file("1999.parquet");
        let shared = db.price_partitions().archive_year(1999, &path).await;
        assert!(matches!(shared, Err(Error::NotFound { .. })), "{shared:?}");
        assert_eq!(folder.names().len(), 1);
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_and_changes_nothing() {
    let (db, folder) = (partitioned().await, Folder::new());
    let path = folder.file("2008.parquet");
    db.price_partitions().archive_year(2008, &path).await.expect("archived");
    let intact = std::fs::read(&path).expect("the file");
    let damaged = folder.file("damaged.parquet");
    // In the values, in the middle, in the footer; and cut off.
    let places = [200, intact.len() / 2, intact.len() - 400];
    let mut cases: Vec<Vec<u8>> = places
        .iter()
        .map(|at| {
            let mut bytes = intact.clone();
            bytes[*at] ^= 0x55;
            bytes
        })
        .collect();
    cases.push(intact[..intact.len() - 1].to_vec());
    cases.push(Vec::new());
    let client = connect(&db).await;
    let before = contents(&client).await;
    for bytes in cases {
        std::fs::write(&damaged, bytes).expect("written");
        assert_archive(PricePartitions::verify_archive(&damaged).await, &damaged, "");
        assert_archive(db.price_partitions().restore_year(&damaged).await, &damaged, "");
    }
    let missing = folder.file("missing.parquet");
    assert_archive(db.price_partitions().restore_year(&missing).await, &missing, "No such file");
    assert_eq!(contents(&client).await, before);
    db.price_partitions().restore_year(&path).await.expect("nothing is left in its way");

    let nowhere = folder.file("none").join("2009.parquet");
    assert_archive(db.price_partitions().archive_year(2009, &nowhere).await, &nowhere, "No such");
    assert_eq!(days_of(&db, 2009).await, 252);
    let plain = TestDatabase::new().await.expect("a database");
    assert_archive(plain.price_partitions().restore_year(&damaged).await, &damaged, "");
    let refused = plain.price_partitions().archive_year(2008, &path).await;
    assert!(matches!(refused, Err(Error::NotFound { .. })));
}

/// Whether the year's partition is being detached.
async fn is_leaving(client: &tokio_postgres::Client) -> bool {
    let sql = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";
    client.query_one(sql, &[]).await.expect("the catalog").get::<_, i64>(0) == 1
}

#[tokio::test]
async fn readers_go_on_and_a_broken_off_call_is_taken_up() {
    let (db, folder) = (partitioned().await, Folder::new());
    let (client, path) = (connect(&db).await, folder.file("2008.parquet"));
    let partitions = db.price_partitions();
    let reader = connect(&db).await;
    let count = "SELECT count(*) FROM price_history";
    reader.batch_execute(&format!("BEGIN; {count}")).await.expect("an open transaction");

    let archiving = tokio::spawn({
        let (partitions, path) = (partitions.clone(), path.clone());
        async move { partitions.archive_year(2008, path).await }
    });
    eventually("the detaching", || is_leaving(&client)).await;
    // Whoever comes now reads and writes, without the year.
    assert_eq!((days_of(&db, 2007).await, days_of(&db, 2008).await), (251, 0));
    db.prices().create(&bar("A", "2009-05-05", "1")).await.expect("written");
    // The layout cannot change meanwhile: the year would go with the table.
    let refused = partitions.merge_into_one(|_| {}).await;
    assert!(refused.is_err(), "{refused:?}");
    archiving.abort();
    assert!(archiving.await.expect_err("dropped").is_cancelled());
    reader.batch_execute("COMMIT").await.expect("ended");
    // The server went on or gave up, as it noticed; either way the bars are somewhere.
    let archive = eventually_archived(&partitions, &path).await;
    assert_eq!(archive.rows, 253);
    assert!(!is_leaving(&client).await);
    partitions.restore_year(&path).await.expect("restored");
    assert_eq!(days_of(&db, 2008).await, 253);

    // Detached by hand and left there.
    client
        .batch_execute("ALTER TABLE price_history DETACH PARTITION price_history_2008")
        .await
        .expect("detached");
    let archive = partitions.archive_year(2008, &path).await.expect("taken up");
    assert_eq!(archive.rows, 253);
    // Something else of that name is not touched.
    client.batch_execute("CREATE TABLE price_history_2008 (a INT)").await.expect("a table");
    let other = partitions.archive_year(2008, &path).await;
    assert!(matches!(other, Err(Error::NotFound { .. })), "{other:?}");
}

/// The cancelled statement may hold its locks for a moment still.
async fn eventually_archived(partitions: &PricePartitions, path: &Path) -> PriceArchive {
    for _ in 0..100 {
        match partitions.archive_year(2008, path).await {
            Ok(archive) => return archive,
            Err(error) => eprintln!("{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("never archived");
}

#[tokio::test]
async fn what_is_written_meanwhile_is_not_lost() {
    let (db, folder) = (partitioned().await, Folder::new());
    let (client, path) = (connect(&db).await, folder.file("2008.parquet"));
    let writer = connect(&db).await;
    let insert = "BEGIN; INSERT INTO price_history (ticker, date, close_price)
                  VALUES ('LATE', '2008-06-02Z', 1)";
    writer.batch_execute(insert).await.expect("an open transaction");
    let archiving = tokio::spawn({
        let (partitions, path) = (db.price_partitions(), path.clone());
        async move { partitions.archive_year(2008, path).await }
    });
    eventually("the detaching", || is_leaving(&client)).await;
    writer.batch_execute("COMMIT").await.expect("committed");
    let failed = archiving.await.expect("no panic");
    assert_archive(failed, &path, "written to meanwhile");
    assert_eq!(days_of(&db, 2008).await, 253);
    let late = db.prices().range(&parsed("LATE"), day("2008-01-01"), day("2008-12-31")).await;
    assert_eq!(late.expect("read").len(), 1);
    let archive = db.price_partitions().archive_year(2008, &path).await.expect("archived");
    assert_eq!(archive.rows, 254);
}

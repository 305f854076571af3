//! Archived years that come back to a table that holds some of their bars.

use buffetbot_db::Error;
use buffetbot_db::store::RejectedKind;
use buffetbot_db::testing::TestDatabase;
use chrono::{DateTime, Utc};

use super::archive::{Folder, days_of, partitioned};
use super::{bar, contents, day};
use crate::catalog::connect;
use crate::support::parsed;

/// The close of the S&P 500 on the second of January 2008, as it was known at a time.
async fn known_at(db: &TestDatabase, at: DateTime<Utc>) -> Vec<String> {
    let (ticker, day) = (parsed("^GSPC"), day("2008-01-02"));
    let bars = db.prices().range_as_of(&[ticker], day, day, at).await.expect("read");
    bars.iter().map(|bar| bar.close.to_string()).collect()
}

async fn close(db: &TestDatabase) -> (String, DateTime<Utc>) {
    let bar = db.prices().find_by_day(&parsed("^GSPC"), day("2008-01-02")).await.expect("read");
    let bar = bar.expect("there");
    (bar.close.to_string(), bar.known_from())
}

#[tokio::test]
async fn b8_a_year_is_restored_beside_what_is_there() {
    let (db, folder) = (partitioned().await, Folder::new());
    let path = folder.file("2008.parquet");
    let partitions = db.price_partitions();
    let (old, old_from) = close(&db).await;
    partitions.archive_year(2008, &path).await.expect("archived");
    let (ticker, new_year) = (parsed("^GSPC"), day("2008-01-02"));
    let unknown = db.prices().range_as_of(&[ticker], new_year, day("2009-01-02"), old_from).await;
    assert!(
        matches!(&unknown, Err(Error::Invalid { reason, .. }) if reason.starts_with("2008 is archived")),
        "b5: {unknown:?}"
    );
    // What the rejected bar asked for was done, and the year was delivered anew, in part.
    let made = partitions.create_years(2008..=2008).await.expect("made");
    assert_eq!(made, ["price_history_2008"]);
    let anew = [bar("^GSPC", "2008-01-02", "7"), bar("NEW", "2008-01-02", "8")];
    assert_eq!(db.prices().upsert_many(&anew).await.expect("stored").inserted, 2);
    let (new, new_from) = close(&db).await;

    let restored = partitions.restore_year(&path).await.expect("restored");
    assert_eq!((restored.rows, restored.kept), (253, 1));
    assert_eq!(days_of(&db, 2008).await, 253);
    assert_eq!(close(&db).await, (new.clone(), new_from), "what is there stays");
    let added = db.prices().find_by_day(&parsed("NEW"), day("2008-01-02")).await.expect("read");
    assert!(added.is_some());
    // What the file knew counts as corrected.
    assert_eq!(known_at(&db, old_from).await, [old.as_str()]);
    assert_eq!(known_at(&db, new_from).await, [new.as_str()]);
    let known = db.prices().revisions(&parsed("^GSPC"), day("2008-01-02")).await.expect("read");
    let known: Vec<_> = known.iter().map(|r| (r.bar.close.to_string(), r.replaced_at)).collect();
    assert_eq!(known, [(old, Some(new_from)), (new, None)]);

    let client = connect(&db).await;
    let before = contents(&client).await;
    let twice = partitions.restore_year(&path).await.expect("nothing to do");
    assert_eq!((twice.rows, twice.kept), (253, 253));
    assert_eq!(contents(&client).await, before);
    let revisions = db.prices().revisions(&parsed("^GSPC"), day("2008-01-02")).await;
    assert_eq!(revisions.expect("read").len(), 2);
    let left = "SELECT to_regclass('price_history_restored') IS NULL AND NOT EXISTS (TABLE archived_price_years)";
    assert!(client.query_one(left, &[]).await.expect("the catalog").get::<_, bool>(0));

    // It is a year like others: corrected, archived and restored.
    db.prices().upsert_many(&[bar("^GSPC", "2008-01-03", "9")]).await.expect("corrected");
    let file = folder.file("again.parquet");
    assert_eq!(partitions.archive_year(2008, &file).await.expect("archived").rows, 254);
    assert_eq!(days_of(&db, 2008).await, 0);
    let restored = partitions.restore_year(&file).await.expect("restored");
    assert_eq!((restored.rows, restored.kept), (254, 0));
}

#[tokio::test]
async fn b8_a_year_comes_back_to_a_plain_table() {
    let (db, folder) = (partitioned().await, Folder::new());
    let path = folder.file("2008.parquet");
    let client = connect(&db).await;
    let before = contents(&client).await;
    let partitions = db.price_partitions();
    partitions.archive_year(2008, &path).await.expect("archived");
    partitions.merge_into_one(|_| {}).await.expect("merged");
    let restored = partitions.restore_year(&path).await.expect("restored");
    assert_eq!((restored.rows, restored.kept), (253, 0));
    assert_eq!(contents(&client).await, before, "ids, times and all values");
    assert_eq!(partitions.restore_year(&path).await.expect("nothing to do").kept, 253);
    assert_eq!(contents(&client).await, before);
    // And to partitions that were made anew, where an older year shares one with others.
    partitions.partition_by_year(Some(2010), 0, |_| {}).await.expect("partitioned");
    assert_eq!(partitions.restore_year(&path).await.expect("nothing to do").kept, 253);
    assert_eq!(contents(&client).await, before);
}

#[tokio::test]
async fn b8_a_detached_year_is_attached_with_its_bars() {
    let (db, folder) = (partitioned().await, Folder::new());
    let path = folder.file("2008.parquet");
    let client = connect(&db).await;
    let before = contents(&client).await;
    let partitions = db.price_partitions();
    partitions.archive_year(2008, &path).await.expect("archived");
    partitions.restore_year(&path).await.expect("restored");
    let detach = "ALTER TABLE price_history DETACH PARTITION price_history_2008";
    client.batch_execute(detach).await.expect("as an archiving that was broken off");
    let report = db.prices().upsert_many(&[bar("A", "2008-05-05", "1")]).await.expect("rejected");
    assert_eq!(report.rejected[0].kind, RejectedKind::NoPartition);
    assert_eq!(partitions.restore_year(&path).await.expect("attached").kept, 253);
    assert_eq!(contents(&client).await, before);
}

#[tokio::test]
async fn b8_what_was_deleted_meanwhile_is_known_of_its_time() {
    let (db, folder) = (partitioned().await, Folder::new());
    let path = folder.file("2008.parquet");
    let partitions = db.price_partitions();
    let (old, old_from) = close(&db).await;
    partitions.archive_year(2008, &path).await.expect("archived");
    partitions.create_years(2008..=2008).await.expect("made");
    let day = day("2008-01-02");
    let anew = db.prices().create(&bar("^GSPC", "2008-01-02", "7")).await.expect("stored");
    assert_eq!(db.prices().delete_range(&anew.ticker, day, day).await.expect("deleted"), 1);
    let restored = partitions.restore_year(&path).await.expect("restored");
    assert_eq!(restored.kept, 0);
    assert_eq!(known_at(&db, old_from).await, [old.as_str()]);
    assert_eq!(known_at(&db, anew.known_from()).await, ["7"]);
    let (present, from) = close(&db).await;
    assert!(present == old && from > anew.known_from(), "{present} from {from}");
    assert_eq!(known_at(&db, from).await, [old]);
}

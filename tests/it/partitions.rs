//! Price history by year: made in place, kept going, and queried.

mod archive;
mod restored;
mod room;

use std::collections::BTreeSet;
use std::sync::Mutex;

use buffetbot_db::Error;
use buffetbot_db::error::Entity;
use buffetbot_db::import::{self, CsvOptions};
use buffetbot_db::prices::{NewPriceBar, PriceBarFilter, PriceLayout, PricePartition};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::PageRequest;
use chrono::{Datelike, NaiveDate};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalog::connect;
use crate::support::handle::{Handle, by_year};
use crate::support::plan::{MOST, Recorder, assert_not_read_whole};
use crate::support::{eventually, parsed, repository};

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

fn bar(ticker: &str, date: &str, close: &str) -> NewPriceBar {
    NewPriceBar::new(parsed(ticker), day(date), parsed(close))
}

/// Loads 65 years of the S&P 500.
async fn real() -> TestDatabase {
    let db = TestDatabase::new().await.expect("a database");
    let file = repository("data/prices/gspc_daily_1950_2015.csv");
    import::prices_from_csv(&*db, file, CsvOptions::new()).await.expect("loaded");
    db
}

/// A digest of every row with every column.
async fn contents(client: &Client) -> String {
    let sql = "SELECT count(*) || ' ' || md5(string_agg((to_jsonb(p) - 'added_by')::text, ',' ORDER BY ticker, date))
               FROM price_history p";
    client.query_one(sql, &[]).await.expect("a digest").get(0)
}

/// What is to stay: columns, checks, triggers, indexes, comments, privileges.
async fn attributes(client: &Client) -> BTreeSet<String> {
    let sql = "
        SELECT format('column %s %s %s %s %s', attname, format_type(atttypid, atttypmod), attnotnull,
            pg_get_expr(d.adbin, d.adrelid), col_description(attrelid, attnum))
        FROM pg_attribute a
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE attrelid = 'price_history'::regclass AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT format('constraint %s %s', conname, pg_get_constraintdef(oid))
        FROM pg_constraint WHERE conrelid = 'price_history'::regclass AND contype <> 'p'
        UNION ALL
        SELECT format('index %s %s', indexrelid::regclass, obj_description(indexrelid, 'pg_class'))
        FROM pg_index WHERE indrelid = 'price_history'::regclass
        UNION ALL
        SELECT 'trigger ' || pg_get_triggerdef(oid)
        FROM pg_trigger WHERE tgrelid = 'price_history'::regclass AND NOT tgisinternal
        UNION ALL
        SELECT format('table %s %s', obj_description(oid, 'pg_class'), relacl)
        FROM pg_class WHERE oid = 'price_history'::regclass";
    let rows = client.query(sql, &[]).await.expect("catalog query");
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_table_with_data_is_partitioned_in_place_and_back() {
    let db = real().await;
    let client = connect(&db).await;
    db.sql(
        "CREATE INDEX own_idx ON price_history (close_price) WHERE close_price > 2000;
            GRANT SELECT ON price_history TO pg_read_all_data",
    )
    .await;
    let partitions = db.price_partitions();
    assert_eq!(partitions.layout().await.expect("a layout"), PriceLayout::Plain);
    assert!(partitions.list().await.expect("none").is_empty());
    let (rows, kept) = (contents(&client).await, attributes(&client).await);
    assert!(
        rows.starts_with("16607 ") && kept.iter().any(|fact| fact.starts_with("index own_idx"))
    );

    let seen = Mutex::new(Vec::new());
    let note = |progress: &buffetbot_db::prices::RebuildProgress| {
        seen.lock().expect("not poisoned").push((progress.rows, progress.total_rows));
    };
    partitions.partition_by_year(Some(2000), 2, note).await.expect("partitioned");
    assert_eq!(partitions.layout().await.expect("a layout"), PriceLayout::ByYear);
    assert_eq!(contents(&client).await, rows);
    assert_eq!(attributes(&client).await, kept);
    let seen = seen.into_inner().expect("not poisoned");
    assert!(seen.is_sorted() && seen.len() > 20, "{seen:?}");
    assert_eq!((seen[0], seen[seen.len() - 1]), ((0, 16_607), (16_607, 16_607)));

    let list = partitions.list().await.expect("partitions");
    assert_eq!(list[0].name, "price_history_before_2000");
    assert_eq!((list[0].start, list[0].end), (None, day("2000-01-01")));
    let years: Vec<i32> = list[1..].iter().filter_map(PricePartition::year).collect();
    let last = years[years.len() - 1];
    assert_eq!(years, (2000..=last).collect::<Vec<_>>());
    assert_eq!(list.iter().filter_map(|p| p.estimated_rows).sum::<u64>(), 16_607);

    // Made once.
    partitions.partition_by_year(None, 9, |_| {}).await.expect("nothing to do");
    assert_eq!(partitions.list().await.expect("partitions").len(), list.len());
    partitions.merge_into_one(|_| {}).await.expect("merged");
    assert_eq!(partitions.layout().await.expect("a layout"), PriceLayout::Plain);
    assert_eq!((contents(&client).await, attributes(&client).await), (rows, kept));
    assert!(partitions.list().await.expect("none").is_empty());
    partitions.merge_into_one(|_| {}).await.expect("nothing to do");
}

#[tokio::test]
async fn e4_no_layout_lets_bars_be_truncated() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    db.prices().create(&bar("A", "2024-01-02", "1")).await.expect("stored");
    let partitions = db.price_partitions();
    let refuses = async |table: &str| {
        let truncate = format!("TRUNCATE {table}");
        let refused = client.batch_execute(&truncate).await.expect_err(table);
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{table}");
    };
    refuses("price_history").await;
    partitions.partition_by_year(Some(2023), 0, |_| {}).await.expect("partitioned");
    let present = partitions.list().await.expect("partitions").pop().expect("one").end.year();
    partitions.create_years(present..=present).await.expect("made");
    for partition in partitions.list().await.expect("partitions") {
        refuses(&partition.name).await;
    }
    refuses("price_history").await;
    // Undone and done again, with the partitions there.
    let is_kept =
        "SELECT count(*) FROM pg_trigger WHERE tgname = 'price_history_2024_refuse_truncate'";
    while client.query_one(is_kept, &[]).await.expect("the catalog").get::<_, i64>(0) > 0 {
        db.rollback(1).await.expect("undone");
    }
    client
        .batch_execute("BEGIN; TRUNCATE price_history_2024; ROLLBACK")
        .await
        .expect("let through");
    db.migrate().await.expect("done again");
    refuses("price_history_2024").await;
    partitions.merge_into_one(|_| {}).await.expect("merged");
    refuses("price_history").await;
    assert_eq!(db.prices().count(&PriceBarFilter::default()).await.expect("read"), 1);
}

#[tokio::test]
async fn readers_go_on_while_the_table_is_written_anew() {
    let db = real().await;
    // A reader whose transaction began before, and one that comes while the tables wait for it.
    let reader = connect(&db).await;
    let read = "SELECT count(*) FROM price_history";
    reader.batch_execute("BEGIN").await.expect("begin");
    reader.query_one(read, &[]).await.expect("read");
    let partitions = db.price_partitions();
    let working = tokio::spawn(async move { partitions.partition_by_year(None, 0, |_| {}).await });
    let observer = connect(&db).await;
    eventually("the exchange waits for the reader", async || {
        let waiting = "SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                       WHERE a.datname = current_database() AND NOT l.granted
                           AND l.mode = 'AccessExclusiveLock'";
        !observer.query(waiting, &[]).await.expect("locks").is_empty()
    })
    .await;
    let count: i64 = observer.query_one(read, &[]).await.expect("a later reader").get(0);
    assert_eq!(count, 16_607);
    reader.batch_execute("COMMIT").await.expect("commit");
    assert_eq!(working.await.expect("no panic").expect("partitioned"), PriceLayout::ByYear);
    let count: i64 = observer.query_one(read, &[]).await.expect("read").get(0);
    assert_eq!(count, 16_607);
}

#[tokio::test]
async fn what_cannot_be_partitioned_is_left_as_it_is() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    let partitions = db.price_partitions();
    let field = |result: buffetbot_db::Result<PriceLayout>| match result {
        Err(Error::Invalid { field, reason }) => (field.into_owned(), reason),
        other => panic!("{other:?}"),
    };
    db.sql("CREATE VIEW closes AS SELECT ticker, close_price FROM price_history").await;
    let (refused, reason) = field(partitions.partition_by_year(None, 0, |_| {}).await);
    assert!(refused == "layout" && reason.ends_with("first: closes"), "{reason}");
    db.sql(
        "DROP VIEW closes;
            ALTER TABLE price_history DROP CONSTRAINT price_history_times_readable;
            INSERT INTO price_history (ticker, date, close_price)
            VALUES ('A', '2020-01-01Z', 1), ('A', 'infinity', 1), ('A', '-infinity', 1)",
    )
    .await;
    for (first, wanted) in
        [(Some(2020), "layout"), (Some(99_999), "first_year"), (Some(-5), "years")]
    {
        let (refused, reason) = field(partitions.partition_by_year(first, 0, |_| {}).await);
        assert_eq!(refused, wanted, "{first:?}: {reason}");
    }
    assert_eq!(partitions.layout().await.expect("a layout"), PriceLayout::Plain);
    let count: i64 =
        client.query_one("SELECT count(*) FROM price_history", &[]).await.expect("count").get(0);
    assert_eq!(count, 3);
}

#[tokio::test]
async fn room_is_made_ahead_and_what_has_none_is_refused() {
    let db = TestDatabase::new().await.expect("a database");
    let partitions = db.price_partitions();
    assert!(partitions.create_ahead(5).await.expect("a plain table takes all").is_empty());
    partitions.partition_by_year(Some(2020), 0, |_| {}).await.expect("partitioned");
    let present = partitions.list().await.expect("partitions").pop().expect("one").end.year() - 1;
    let beyond = |year: i32| bar("A", &format!("{year}-06-01"), "1");
    let report = db.prices().upsert_many(&[beyond(present + 1)]).await.expect("rejected");
    let reason = &report.rejected[0].reason;
    assert!(report.inserted == 0 && reason.contains("price_partitions"), "{reason}");
    // Several programs at once, beside a reader with an open transaction.
    let reader = db.begin().await.expect("a transaction");
    reader.prices().count(&PriceBarFilter::default()).await.expect("read");
    let (a, b) = tokio::join!(partitions.create_ahead(2), partitions.create_ahead(2));
    let mut made = [a.expect("made"), b.expect("made")].concat();
    made.sort();
    let wanted = [1, 2].map(|more| format!("price_history_{}", present + more));
    assert_eq!(made, wanted);
    reader.rollback().await.expect("rollback");
    db.prices().upsert_many(&[beyond(present + 1)]).await.expect("there is room");
    assert!(partitions.create_ahead(2).await.expect("nothing to do").is_empty());
    // Years before the first are held by the partition without a beginning.
    assert!(partitions.create_years(1980..=2019).await.expect("nothing to do").is_empty());
    assert!(partitions.create_years(2000..=3000).await.is_err(), "too many");
    db.prices().upsert_many(&[bar("A", "1815-06-18", "1")]).await.expect("there is room");
    let default = "SELECT FROM pg_partitioned_table WHERE partdefid <> 0";
    assert!(connect(&db).await.query(default, &[]).await.expect("catalog").is_empty());
}

#[tokio::test]
async fn b10_a_conflict_is_that_of_the_plain_table() {
    for db in [TestDatabase::new().await.expect("a database"), by_year().await] {
        db.prices().create(&bar("A", "2024-01-02", "1")).await.expect("stored");
        match db.prices().create(&bar("A", "2024-01-02", "2")).await {
            Err(Error::Conflict { entity, constraint }) => {
                assert_eq!(entity, Entity::PriceBar);
                assert_eq!(constraint, "price_history_ticker_date_key");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn revisions_are_those_of_the_plain_table() {
    let db = by_year().await;
    let prices = db.prices();
    let stored = prices.create(&bar("A", "2024-01-02", "1")).await.expect("stored");
    match prices.create(&bar("A", "2023-01-02", "2").volume(1)).await {
        Ok(before) => assert!(prices.delete(before.id).await.expect("deleted")),
        other => panic!("{other:?}"),
    }
    prices.upsert_many(&[bar("A", "2024-01-02", "3")]).await.expect("corrected");
    let known = prices.revisions(&parsed("A"), day("2024-01-02")).await.expect("read");
    assert_eq!(known.len(), 2);
    assert_eq!((&known[0].bar, known[1].bar.id), (&stored, stored.id));
    assert_eq!(prices.revisions(&parsed("A"), day("2023-01-02")).await.expect("read").len(), 1);
}

#[tokio::test]
async fn migrations_go_down_and_up_on_partitions() {
    let db = by_year().await;
    db.prices().upsert_many(&[bar("A", "2024-01-02", "1")]).await.expect("stored");
    let client = connect(&db).await;
    let rows = contents(&client).await;
    let undo = buffetbot_db_migrations_since("20261122100900");
    db.rollback(undo).await.expect("down to the widened prices");
    db.migrate().await.expect("and up");
    assert_eq!(contents(&client).await, rows);
    assert_eq!(db.price_partitions().layout().await.expect("a layout"), PriceLayout::ByYear);
}

/// How many migrations came after the one of this version.
fn buffetbot_db_migrations_since(version: &str) -> usize {
    let folder = repository("migrations");
    let folders = std::fs::read_dir(folder).expect("the folder of migrations");
    let names = folders.map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy()[..14] > *version).count()
}

/// 100 tickers over 400 days of 2024 and 2025.
const SEED: &str = "
    INSERT INTO price_history (ticker, date, close_price)
    SELECT 'T' || t, '2024-01-01Z'::timestamptz + d * interval '1 day', 10 + t
    FROM generate_series(1, 100) t CROSS JOIN generate_series(0, 399) d;
    ANALYZE price_history";

#[tokio::test]
async fn every_hot_statement_reads_its_partition_by_an_index() {
    let (db, recorder) = Recorder::database().await;
    db.price_partitions().partition_by_year(Some(2024), 1, |_| {}).await.expect("partitioned");
    db.sql(SEED).await;
    let prices = db.prices();
    let ticker = parsed("T7");
    let (from, to) = (day("2024-03-01"), day("2024-03-31"));
    let range = ["'T7'", "'2024-03-01Z'", "'2024-04-01Z'", MOST];
    let several = ["'{T7,T8}'", range[1], range[2]];
    let tickers = [parsed("T7"), parsed("T8")];
    let partition = "price_history_2024";

    recorder.take();
    assert_eq!(prices.range(&ticker, from, to).await.expect("read").len(), 31);
    assert_not_read_whole(&db, &recorder.only(), &range, partition).await;
    recorder.take();
    assert_eq!(prices.range_many(&tickers, from, to).await.expect("read").len(), 62);
    assert_not_read_whole(&db, &recorder.only(), &several, partition).await;
    recorder.take();
    assert_eq!(prices.latest(&tickers).await.expect("read").len(), 2);
    assert_not_read_whole(&db, &recorder.only(), &["'{T7,T8}'"], partition).await;
    recorder.take();
    prices.list(&PriceBarFilter::default(), &PageRequest::first(10)).await.expect("read");
    assert_not_read_whole(&db, &recorder.only(), &["11"], partition).await;
    recorder.take();
    let id = prices.range(&ticker, from, from).await.expect("read")[0].id;
    recorder.take();
    prices.find(id).await.expect("read").expect("there");
    assert_not_read_whole(&db, &recorder.only(), &[&format!("'{id}'")], partition).await;
    recorder.take();
    let now = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    assert_eq!(prices.range_as_of(&tickers, from, to, now).await.expect("read").len(), 62);
    let as_of = [
        "'{T7,T8}'",
        range[1],
        range[2],
        "'9999-01-01Z'",
        "NULL",
        "'1:100000000:'",
        "'9999-01-01Z'",
        "false",
    ];
    // Behind those of the points around the time, and before that of what was swept.
    let statement = recorder.take().into_iter().rev().nth(1).expect("statements");
    assert_not_read_whole(&db, &statement, &as_of, partition).await;

    // A month of one year is looked for in its partition alone.
    let client = connect(&db).await;
    let explain = "EXPLAIN SELECT * FROM price_history
                   WHERE ticker = 'T7' AND date >= '2024-03-01Z' AND date < '2024-04-01Z'";
    let plan = client.query(explain, &[]).await.expect("a plan");
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("price_history_2024_ticker_date_key"), "{plan}");
    assert!(!plan.contains("2025") && !plan.contains("before"), "{plan}");
}

//! Whether the bars are still those that something was computed from.

use buffetbot_db::Repositories;
use buffetbot_db::prices::PriceBarPatch;
use buffetbot_db::testing::TestDatabase;
use diesel::QueryableByName;
use diesel::sql_types::Text;
use diesel_async::RunQueryDsl;

use super::{bar, nth, parsed, series};
use crate::support::handle::Handle;

conformance! {
    equal_bars_have_one_digest,
    every_change_of_the_bars_changes_it,
    every_delivered_column_is_in_it,
}

async fn digest(handle: &impl Repositories, symbol: &str) -> i64 {
    let ticker = parsed(symbol);
    let digest = handle.prices().digest(&ticker).await.expect("a digest");
    assert_eq!(digest.ticker, ticker);
    digest.digest
}

async fn equal_bars_have_one_digest(handle: &impl Handle) {
    let prices = handle.prices();
    let none = digest(handle, "A").await;
    let mut bars = series("A", 300);
    prices.upsert_many(&bars).await.expect("stored");
    let first = digest(handle, "A").await;
    assert_eq!((digest(handle, "A").await, digest(handle, "B").await), (first, none));
    assert_ne!(first, none);

    prices.delete_range(&parsed("A"), nth(0), nth(999)).await.expect("deleted");
    assert_eq!(digest(handle, "A").await, none);
    bars.reverse();
    for bar in &mut bars {
        bar.close = parsed(&format!("{}.00", bar.close));
    }
    prices.create_many(&bars).await.expect("stored");
    assert_eq!(digest(handle, "A").await, first);
    prices.upsert_many(&series("A", 300)).await.expect("delivered again");
    prices.upsert_many(&series("B", 3)).await.expect("of another ticker");
    assert_eq!(digest(handle, "A").await, first);
}

async fn every_change_of_the_bars_changes_it(handle: &impl Handle) {
    let prices = handle.prices();
    let bars = prices.create_many(&series("A", 30)).await.expect("stored");
    let mut seen = vec![digest(handle, "A").await];
    let mut changed = async |what: &str| {
        let digest = digest(handle, "A").await;
        assert!(!seen.contains(&digest), "{what}");
        seen.push(digest);
    };
    // Swapped, the closes are the same as before, but not on the same days.
    for (one, other) in [(3, 4), (4, 3)] {
        let patch = PriceBarPatch::default().close(bars[other].close.clone());
        prices.update(bars[one].id, &patch).await.expect("corrected");
        changed("a correction").await;
    }
    prices.create(&bar("A", nth(30), "1")).await.expect("stored");
    changed("a new bar").await;
    prices.delete(bars[7].id).await.expect("deleted");
    changed("a bar less").await;
    handle.sql("UPDATE price_history SET is_suspect = TRUE WHERE close_price < 103").await;
    changed("the same change of several bars").await;
}

async fn every_delivered_column_is_in_it(handle: &impl Handle) {
    #[derive(QueryableByName)]
    struct Column {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = Text)]
        kind: String,
    }
    handle.prices().create(&bar("A", nth(0), "100")).await.expect("stored");
    // Flagged, so that the prices may change one after another.
    handle.sql("UPDATE price_history SET is_suspect = TRUE").await;
    let connection = handle.connection().await;
    let columns: Vec<Column> = diesel::sql_query(
        "SELECT attname::TEXT AS name, atttypid::REGTYPE::TEXT AS kind FROM pg_attribute
         WHERE attrelid = 'price_history'::REGCLASS AND attnum > 0 AND NOT attisdropped
             AND attname NOT IN ('id', 'ticker', 'created_at', 'corrected_at', 'added_by')
         ORDER BY attnum",
    )
    .load(&mut connection.as_diesel())
    .await
    .expect("columns");
    drop(connection);
    assert_eq!(columns.len(), 9);
    let mut seen = vec![digest(handle, "A").await];
    for Column { name, kind } in columns {
        let value = match kind.as_str() {
            "numeric" => "100.5",
            "bigint" => "4294967296",
            "boolean" => "FALSE",
            "character varying" => "''",
            "timestamp with time zone" => "'2024-01-01T00:00:00.000001Z'",
            other => panic!("a column of type {other}: {name}"),
        };
        // The row keeps the changes: a value that was NULL is not to look like the next column's.
        handle.sql(&format!("UPDATE price_history SET {name} = {value}")).await;
        let digest = digest(handle, "A").await;
        assert!(!seen.contains(&digest), "{name}");
        seen.push(digest);
    }
}

#[tokio::test]
async fn neither_spelling_nor_settings_matter() {
    let db = TestDatabase::new().await.expect("a database");
    db.prices().upsert_many(&series("A", 30)).await.expect("stored");
    let before = digest(&*db, "A").await;
    let uow = db.begin().await.expect("a transaction");
    uow.sql("SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle = 'German'").await;
    assert_eq!(digest(&uow, "A").await, before);
    uow.rollback().await.expect("rollback");
    db.sql(
        "ALTER TABLE price_history ALTER COLUMN close_price TYPE NUMERIC;
         UPDATE price_history SET close_price = round(close_price, (random() * 5)::INTEGER)",
    )
    .await;
    assert_eq!(digest(&*db, "A").await, before);
}

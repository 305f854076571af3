//! Sweeping at size: beside readers and writers, and round after round.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use buffetbot_db::market_cache::CacheKey;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::DataType;
use futures_util::future::try_join_all;
use serde_json::json;

use super::{an_hour, count, document, ticker};
use crate::support::handle::Handle;
use crate::support::{number, raw};

/// Half of them expired.
const ROWS: u64 = 400_000;
const BATCH: u32 = 1_000;

fn live(i: u64) -> CacheKey {
    CacheKey::new(&ticker(&format!("T{}", i % (ROWS / 2) * 2)), DataType::NEWS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sweepers_disturb_neither_readers_nor_writers() {
    let db = TestDatabase::with(|config| config.pool_size(14)).await.expect("a database");
    db.sql(&format!(
        "INSERT INTO market_data_cache (id, ticker, data_type, data, cached_at, expires_at)
         SELECT gen_random_uuid(), 'T' || i, 'news', to_jsonb(i), now() - interval '2 d',
             now() + CASE i % 2 WHEN 0 THEN interval '1 d' ELSE - interval '1 s' * (i % 9999 + 1) END
         FROM generate_series(0, {ROWS} - 1) i"
    ))
    .await;
    db.sql("ANALYZE market_data_cache").await;
    let done = AtomicBool::new(false);
    let sweeper = async || {
        let mut deleted = 0;
        loop {
            let swept = db.market_cache().sweep_expired(BATCH, Duration::ZERO).await?;
            deleted += swept.deleted;
            if !swept.more_left {
                return Ok::<_, buffetbot_db::Error>(deleted);
            }
        }
    };
    let sweepers = async {
        let swept = tokio::try_join!(sweeper(), sweeper());
        done.store(true, Ordering::Relaxed);
        swept
    };
    let readers = try_join_all((0..8_u64).map(|reader| {
        let (db, done) = (&db, &done);
        async move {
            let mut reads = 0;
            while !done.load(Ordering::Relaxed) {
                let key = live(reader * 7_919 + reads * 104_729);
                let found = db.market_cache().get(&key).await?;
                assert!(found.is_some(), "{key:?}");
                reads += 1;
            }
            Ok(reads)
        }
    }));
    let writers = try_join_all((0..4_u64).map(|writer| {
        let (db, done) = (&db, &done);
        async move {
            let mut writes = 0;
            while !done.load(Ordering::Relaxed) {
                let key = live(writer + 4 * writes);
                db.market_cache().put(&key, &document(json!(writes)), &an_hour()).await?;
                writes += 1;
            }
            Ok(writes)
        }
    }));
    let ((a, b), reads, writes) =
        tokio::try_join!(sweepers, readers, writers).expect("no error, no deadlock");
    assert_eq!(a + b, ROWS / 2, "each expired row once");
    assert!(a > 0 && b > 0, "{a} and {b}");
    assert!(reads.iter().chain(&writes).all(|n| *n > 0), "{reads:?}, {writes:?}");
    assert_eq!(count(&*db).await, ROWS / 2);
    let connection = Handle::connection(&*db).await;
    let lost = format!(
        "SELECT count(*) AS n FROM generate_series(0, {ROWS} - 1, 2) i
         WHERE NOT EXISTS (SELECT FROM market_data_cache c WHERE c.ticker = 'T' || i
             AND c.data_type = 'news' AND c.expires_at > now())"
    );
    assert_eq!(number(&connection, &lost).await.expect("count"), 0, "every live row is there");
}

#[tokio::test]
async fn rounds_of_filling_and_sweeping_do_not_grow_the_table() {
    let db = TestDatabase::new().await.expect("a database");
    let client = raw(db.url()).await;
    let mut sizes = Vec::new();
    for round in 0..5 {
        // Documents of 6 kB that do not compress: they lie in the TOAST table.
        let fill = format!(
            "INSERT INTO market_data_cache (ticker, data_type, data, cached_at, expires_at)
             SELECT 'R{round}T' || i, 'news',
                 to_jsonb((SELECT string_agg(md5((i * 200 + j)::text || '{round}'), '')
                           FROM generate_series(1, 190) j)),
                 now() - interval '2 h', now() - interval '1 h'
             FROM generate_series(1, 1000) i"
        );
        client.batch_execute(&fill).await.expect("fill");
        let cache = db.market_cache();
        while cache.sweep_expired(100, Duration::ZERO).await.expect("sweep").more_left {}
        let (heap, toast) = size(&client).await;
        assert!(heap > 0 && toast > 5_000_000, "{heap} and {toast} bytes");
        client.batch_execute("VACUUM (TRUNCATE FALSE) market_data_cache").await.expect("vacuum");
        sizes.push(heap + toast);
    }
    let (first, most) = (sizes[0], sizes.iter().copied().max().expect("sizes"));
    assert!(most <= first + first / 5, "{sizes:?}");
}

/// Bytes of the table itself, and of its TOAST table.
async fn size(client: &tokio_postgres::Client) -> (i64, i64) {
    let sizes = "SELECT pg_relation_size(c.oid), pg_relation_size(c.reltoastrelid)
                 FROM pg_class c WHERE c.oid = 'market_data_cache'::regclass";
    let row = client.query_one(sizes, &[]).await.expect("sizes");
    (row.get(0), row.get(1))
}

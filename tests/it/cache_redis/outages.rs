//! Redis that is down, silent, cut off, and back.

use std::sync::Arc;

use buffetbot_db::market_cache::CacheSelector;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::support::log::Log;

const DOWN: &str = "cache level is down";

fn warnings(log: &Log) -> usize {
    log.text().lines().filter(|line| line.contains(" WARN ") && line.contains(DOWN)).count()
}

/// A way to a server that can be cut.
struct Relay {
    url: String,
    is_open: watch::Sender<bool>,
}

impl Relay {
    async fn to(redis: &RedisServer) -> Self {
        let url = redis.url();
        let target = url.rsplit_once('@').expect("an address").1.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let is_open = watch::Sender::new(true);
        let open = is_open.subscribe();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (mut open, target) = (open.clone(), target.clone());
                tokio::spawn(async move {
                    if !*open.borrow() {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        let (credentials, _) = url.rsplit_once('@').expect("credentials");
        Relay { url: format!("{credentials}@127.0.0.1:{port}"), is_open }
    }

    fn options(&self) -> CacheOptions {
        let redis = RedisOptions::new(&self.url).expect("a URL").timeout(GENEROUS);
        CacheOptions::default().redis(redis).poll_every(Duration::from_millis(100))
    }

    fn cut(&self) {
        self.is_open.send_replace(false);
    }

    fn mend(&self) {
        self.is_open.send_replace(true);
    }
}

#[tokio::test]
async fn without_redis_everything_works_and_one_warning_says_so() {
    let (db, mut redis) =
        (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    redis.kill();
    let (log, _guard) = Log::start();
    let first = process(&db, every_level(&redis));
    assert_eq!(ask(&first, &key("AAPL"), 1).await, (1, Origin::Fetched));
    assert_eq!(ask(&first, &key("AAPL"), 2).await, (1, Origin::Memory));
    for i in 0..50 {
        ask(&first, &key(&format!("T{i}")), i).await;
    }
    let selector = CacheSelector::key(&key("AAPL"));
    assert_eq!(first.cache().invalidate(&selector).await.expect("invalidated"), 1);
    assert_eq!(ask(&first, &key("AAPL"), 3).await, (3, Origin::Fetched));
    let text = log.text();
    assert_eq!(warnings(&log), 1, "{text}");
    assert!(text.contains("level=\"redis\""), "{text}");
    assert!(!text.contains(crate::support::server::PASSWORD));

    let second = process(&db, every_level(&redis).memory(0));
    assert_eq!(ask(&second, &key("AAPL"), 4).await, (3, Origin::Database));
    for db in [&first, &second] {
        let report = db.cache().report(0).await.expect("a report");
        assert_eq!(report.redis_is_up, Some(false));
        assert!((1..20).contains(&report.counters.redis_errors), "{report:?}");
        assert_eq!((report.counters.redis_hits, report.counters.fetch_errors), (0, 0));
    }
    // Nor is a database needed for that.
    let alone = process(&db, every_level(&redis).database(false));
    assert_eq!(ask(&alone, &key("AAPL"), 5).await, (5, Origin::Fetched));
    assert_eq!(ask(&alone, &key("AAPL"), 6).await, (5, Origin::Memory));
}

#[tokio::test]
async fn a_killed_redis_is_left_out_and_used_again_when_it_is_back() {
    let (db, mut redis) =
        (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let bare = process(&db, every_level(&redis).memory(0));
    assert_eq!(ask(&bare, &key("AAPL"), 1).await, (1, Origin::Fetched));
    assert_eq!(ask(&bare, &key("AAPL"), 0).await, (1, Origin::Redis));
    let (log, _guard) = Log::start();
    redis.kill();
    for _ in 0..200 {
        assert_eq!(ask(&bare, &key("AAPL"), 0).await, (1, Origin::Database));
    }
    assert_eq!(warnings(&log), 1, "{}", log.text());
    let errors = bare.cache().counters().redis_errors;
    assert!((1..40).contains(&errors), "it was left out: {errors}");
    assert_eq!(bare.cache().report(0).await.expect("a report").redis_is_up, Some(false));
    bare.cache().put(&key("AAPL"), 2_u32, &an_hour()).await.expect("put");

    redis.restart().await;
    let hits = bare.cache().counters().redis_hits;
    eventually("Redis is used again", async || {
        let (value, origin) = ask(&bare, &key("AAPL"), 0).await;
        assert_eq!(value, 2);
        origin == Origin::Redis
    })
    .await;
    assert!(bare.cache().counters().redis_hits > hits);
    assert_eq!(bare.cache().report(0).await.expect("a report").redis_is_up, Some(true));
    assert_eq!(warnings(&log), 1, "{}", log.text());
    eventually("others use it, too", async || {
        ask(&process(&db, every_level(&redis)), &key("AAPL"), 0).await == (2, Origin::Redis)
    })
    .await;
}

/// A server that takes connections and never answers.
#[tokio::test]
async fn a_silent_redis_costs_few_callers_its_timeout() {
    let db = TestDatabase::new().await.expect("a database");
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            held.push(stream);
        }
    });
    let options = RedisOptions::new(&format!("redis://127.0.0.1:{port}")).expect("a URL");
    let options = CacheOptions::default().memory(0).redis(options);
    let bare = process(&db, options);
    let began = std::time::Instant::now();
    for i in 0..200 {
        let expected = if i == 0 { Origin::Fetched } else { Origin::Database };
        assert_eq!(ask(&bare, &key("AAPL"), 1).await, (1, expected));
    }
    // A call each would be 50 s.
    assert!(began.elapsed() < GENEROUS, "{:?}", began.elapsed());
    let errors = bare.cache().counters().redis_errors;
    assert!((1..40).contains(&errors), "it was left out: {errors}");
    held.abort();
}

#[tokio::test]
async fn what_was_changed_while_redis_was_cut_off_is_not_served_from_it() {
    let (db, redis) = (TestDatabase::new().await.expect("a database"), RedisServer::start().await);
    let relay = Relay::to(&redis).await;
    let bare = Arc::new(process(&db, relay.options().memory(0)));
    let keys: Vec<CacheKey> = (0..4).map(|i| key(&format!("T{i}"))).collect();
    for key in &keys {
        assert_eq!(ask(&bare, key, 1).await, (1, Origin::Fetched));
        assert_eq!(ask(&bare, key, 0).await, (1, Origin::Redis));
    }
    relay.cut();
    eventually("the way is cut", async || ask(&bare, &keys[0], 0).await.1 == Origin::Database)
        .await;
    bare.cache().put(&keys[0], 2_u32, &an_hour()).await.expect("put");
    bare.cache().invalidate(&CacheSelector::key(&keys[1])).await.expect("invalidated");
    let sql = "UPDATE market_data_cache SET data = '2' WHERE ticker = 'T2'";
    crate::support::batch(&db.connection().await.expect("a connection"), sql)
        .await
        .expect("updated");
    let after = [Some(2), None, Some(2), Some(1)];
    for (key, after) in keys.iter().zip(after) {
        assert_eq!(found(&bare, key).await, after);
    }
    relay.mend();
    let hits = bare.cache().counters().redis_hits;
    eventually("Redis is used again", async || {
        for (key, after) in keys.iter().zip(after) {
            assert_eq!(found(&bare, key).await, after);
        }
        bare.cache().counters().redis_hits > hits
    })
    .await;
    // Nor does a process find it there that was never cut off.
    let direct = process(&db, every_level(&redis).memory(0));
    for (key, after) in keys.iter().zip(after) {
        assert_eq!(found(&direct, key).await, after);
    }
}

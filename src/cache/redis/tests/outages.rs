//! Servers that are down, slow, closed to us, or back from the dead.

use std::time::Instant;

use futures_util::FutureExt;

use super::server::{GENEROUS, Log, Server, eventually, level};
use crate::cache::redis::tests::*;

/// Waits until the level stores and serves again.
async fn is_back(level: &RedisLevel) {
    let probe = address("probe", None);
    let said = || format!("{} errors", level.errors());
    eventually(said, async || {
        level.put(probe.as_ref(), &packed(1), Instant::now()).await;
        version(level, &probe).await.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_killed_server_costs_little_and_is_used_again() {
    let mut server = Server::start(&[]).await;
    let (log, _guard) = Log::start();
    let (level, at) = (server.level(), address("fundamentals", None));
    level.put(at.as_ref(), &packed(1), Instant::now()).await;
    server.kill();
    let began = Instant::now();
    for _ in 0..200 {
        assert_eq!(version(&level, &at).await, None);
        level.put(at.as_ref(), &packed(1), Instant::now()).await;
        level.forget(&[change(&at, 2), everything(2)]).await;
    }
    assert!(began.elapsed() < GENEROUS);
    assert!((1..=20).contains(&level.errors()) && !level.is_up(), "{}", level.errors());
    assert_eq!((log.count("WARN"), log.count("INFO")), (1, 0), "{}", log.text());

    server.run().await;
    is_back(&level).await;
    assert_eq!(version(&level, &at).await, None);
    level.put(at.as_ref(), &packed(2), Instant::now()).await;
    assert_eq!(version(&level, &at).await, Some(2));
    assert!(level.is_up());
    assert_eq!((log.count("WARN"), log.count("INFO")), (1, 1), "{}", log.text());
}

#[tokio::test]
async fn what_could_not_be_forgotten_is_not_served() {
    let server = Server::start(&[]).await;
    let pid = server.pid().await;
    let options = RedisOptions::new(&server.url()).expect("a URL").timeout(MINUTE / 200);
    let (one, two) = (RedisLevel::new(&options, "db").expect("a level"), server.level());
    let (at, other) = (address("fundamentals", None), address("other", None));
    is_back(&one).await;
    two.put_many(&[(at.as_ref(), &packed(1)), (other.as_ref(), &packed(1))], Instant::now()).await;

    let before = one.errors();
    server.signal("STOP", &pid).await;
    one.forget(&[change(&at, 2)]).await;
    assert_eq!(one.errors(), before + 1);
    // Left out as it is down, and owed no less.
    one.put(at.as_ref(), &packed(3), Instant::now()).await;
    server.signal("CONT", &pid).await;
    is_back(&one).await;
    for level in [&one, &two] {
        assert_eq!(version(level, &at).await, None);
        assert_eq!(version(level, &other).await, None, "the level was emptied");
    }
    assert_eq!(two.errors(), 0);
}

#[tokio::test]
async fn an_invalidation_that_is_dropped_under_way_empties_the_level() {
    let server = Server::start(&[]).await;
    let level = server.level();
    let (at, other) = (address("fundamentals", None), address("other", None));
    level
        .put_many(&[(at.as_ref(), &packed(1)), (other.as_ref(), &packed(1))], Instant::now())
        .await;
    assert!(level.forget(&[change(&at, 2)]).now_or_never().is_none());
    assert_eq!(version(&level, &other).await, None);
    assert_eq!(version(&level, &at).await, None);

    level.put(other.as_ref(), &packed(1), Instant::now()).await;
    assert!(level.get(at.as_ref()).now_or_never().is_none(), "a dropped read owes nothing");
    assert_eq!(version(&level, &other).await, Some(1));
}

#[tokio::test]
async fn a_server_restored_from_an_older_copy_is_emptied() {
    let mut server = Server::start(&[]).await;
    let (level, at) = (server.level(), address("fundamentals", None));
    level.put(at.as_ref(), &packed(1), Instant::now()).await;
    let _: String = server.ask(&["SAVE"]).await;
    level.forget(&[change(&at, 2)]).await;
    server.kill();
    server.run().await;
    let held: String = server.ask(&["HGET", &key(&at), "body"]).await;
    assert!(held.contains("version"), "the copy brings it back");
    // To another process no operation has ever failed.
    let other = server.level();
    assert_eq!(version(&other, &at).await, None);
    is_back(&level).await;
    assert_eq!(version(&level, &at).await, None);
}

#[tokio::test]
async fn a_wrong_password_is_an_outage() {
    let server = Server::start(&["--requirepass", "right"]).await;
    let (log, _guard) = Log::start();
    for url in [format!("{}?pass=s3cret", server.url()), server.url()] {
        let (level, at) = (level(&url), address("fundamentals", None));
        level.put(at.as_ref(), &packed(1), Instant::now()).await;
        assert_eq!(version(&level, &at).await, None);
        assert_eq!(level.errors(), 1);
        assert!(!level.is_up());
    }
    assert_eq!((log.count("WARN"), log.count("INFO")), (2, 0), "{}", log.text());
    assert!(!log.text().contains("s3cret"), "{}", log.text());

    let right = level(&format!("{}?pass=right", server.url()));
    is_back(&right).await;
    assert_eq!(right.errors(), 0);
}

#[tokio::test]
async fn a_server_that_never_answers_costs_one_timeout() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address_of = silent.local_addr().expect("an address");
    let options = RedisOptions::new(&format!("redis://{address_of}")).expect("a URL");
    let level = RedisLevel::new(&options, "db").expect("a level");
    let (log, _guard) = Log::start();
    let (at, began) = (address("fundamentals", None), Instant::now());
    // All at once, so that the later ones wait for the first one's connection.
    futures_util::future::join_all((0..20).map(|_| level.get(at.as_ref()))).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(250) && took < Duration::from_secs(10), "{took:?}");
    assert_eq!(level.errors(), 20);
    assert_eq!(log.count("WARN"), 1, "{}", log.text());
}

//! Where values come from.

use super::*;
use buffetbot_db::Origin;

#[tokio::test]
async fn a_value_is_fetched_once_and_then_found_in_the_nearest_level() {
    let db = TestDatabase::new().await.expect("a database");
    let (here, there) =
        (process(&db, CacheOptions::default()), process(&db, CacheOptions::default()));
    let provider = Provider::default();
    let policy = Policy::ttl(HOUR);
    let first = provider.next(here.cache(), &key("AAPL"), &policy).await.expect("a value");
    assert_eq!((*first.value, first.origin), (1, Origin::Fetched));
    let second = provider.next(here.cache(), &key("AAPL"), &policy).await.expect("a value");
    assert_eq!((*second.value, second.origin), (1, Origin::Memory));
    let other = provider.next(there.cache(), &key("AAPL"), &policy).await.expect("a value");
    assert_eq!((*other.value, other.origin), (1, Origin::Database));
    assert_eq!(provider.asked(), 1);
    assert_eq!(here.cache().counters().memory_hits, 1);
}

#[tokio::test]
async fn sixty_four_callers_make_one_fetch() {
    let db = TestDatabase::new().await.expect("a database");
    let handles = [process(&db, CacheOptions::default()), process(&db, CacheOptions::default())];
    let provider = Provider::default();
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let (handle, provider) = (handles[i % 2].clone(), provider.clone());
            tokio::spawn(async move {
                provider
                    .next(handle.cache(), &key("AAPL"), &Policy::ttl(HOUR))
                    .await
                    .map(|c| *c.value)
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.expect("no panic").expect("a value"), 1);
    }
    assert_eq!(provider.asked(), 1);
}

//! Where values come from.

use buffetbot_db::Origin;

use super::*;

#[tokio::test]
async fn a_value_is_fetched_once_and_then_found_in_the_nearest_level() {
    let db = database().await;
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

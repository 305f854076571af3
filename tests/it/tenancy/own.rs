//! In one's own name everything works as without one, and is committed.

use std::time::Duration;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
use futures_util::{StreamExt, TryStreamExt};

use super::{person, public};
use crate::support::{every_page, parsed};

#[tokio::test]
async fn accounts_and_portfolios() {
    let db = TestDatabase::new().await.expect("a database");
    let me = person(&*db, "a@example.com").await;
    let scope = db.as_user(me.user.id);
    let (users, id) = (scope.users(), me.user.id);
    let patch = UserPatch::default().first_name("Ada");
    users.update(id, &patch).await.expect("changed");
    let profile = ProfilePatch::default().username("ada");
    users.update_profile(id, &profile).await.expect("changed");
    let object = Document::encode(&serde_json::json!({"theme": "dark"})).expect("a document");
    users.merge_preferences(id, &object).await.expect("changed");
    let seen = users.record_login(id).await.expect("changed");
    assert_eq!(db.users().find(id).await.expect("read"), Some(seen.clone()), "committed");
    assert_eq!((seen.first_name.as_deref(), seen.username.as_deref()), (Some("Ada"), Some("ada")));
    assert!(users.exists_email("A@example.com").await.expect("read"));
    let export = users.export(id).await.expect("read").expect("there");
    assert!(export.as_str().contains("AAPL"));

    let portfolios = scope.portfolios();
    let new = |name: &str| NewPortfolio::new(id, name, RiskTolerance::Aggressive);
    let made = portfolios.create(&new("Second")).await.expect("made");
    portfolios.create_many(&[new("Third"), new("Fourth")]).await.expect("made");
    portfolios.duplicate(me.portfolio.id, "Copy").await.expect("copied");
    portfolios.deactivate(made.id).await.expect("changed");
    let names = every_page(2, async |page| {
        portfolios.list(&PortfolioFilter::default().activity(Activity::Any), &page).await
    });
    let mut names: Vec<_> = names.await.into_iter().map(|p| p.name).collect();
    names.sort();
    assert_eq!(names, ["Copy", "Core", "Fourth", "Second", "Third"]);
    assert!(portfolios.delete(made.id).await.expect("deleted"));
    assert!(!db.portfolios().exists(made.id).await.expect("read"), "committed");
    let summary = portfolios.summary(me.portfolio.id).await.expect("read").expect("there");
    assert_eq!((summary.active_positions, summary.analyses), (1, 1));
    assert!(portfolios.valuation(me.portfolio.id, None).await.expect("read").is_some());

    let erased = users.erase(id).await.expect("erased").expect("there");
    assert_eq!((erased.portfolios, erased.positions, erased.analyses), (4, 2, 1));
    assert!(!db.users().exists(id).await.expect("read"), "committed");
}

#[tokio::test]
async fn positions_and_analyses() {
    let db = TestDatabase::new().await.expect("a database");
    let me = person(&*db, "a@example.com").await;
    let scope = db.as_user(me.user.id);
    let (positions, portfolio) = (scope.positions(), me.portfolio.id);
    let new = |ticker| NewPosition::new(portfolio, parsed(ticker), parsed::<Shares>("1"));
    positions.create(&new("MSFT")).await.expect("made");
    positions.create_many(&[new("TSLA"), new("KO")]).await.expect("made");
    let held = positions.upsert(&new("MSFT")).await.expect("replaced");
    let other = crate::support::portfolio(&scope, &me.user, "Other").await;
    positions.move_to(portfolio, held.id, other.id).await.expect("moved");
    positions.remove(portfolio, me.position.id).await.expect("removed");
    assert_eq!(db.positions().count(portfolio, Activity::Active).await.expect("read"), 2);
    assert_eq!(db.positions().count(other.id, Activity::Active).await.expect("read"), 1);

    let analyses = scope.analyses();
    let new = |ticker| NewAnalysis::new(parsed(ticker), AnalysisType::Risk).portfolio(portfolio);
    let made = analyses.create(&new("MSFT")).await.expect("made");
    analyses.create_many(&[new("TSLA"), new("KO")]).await.expect("made");
    let patch = AnalysisPatch::default().summary("Hold");
    analyses.update(made.id, &patch).await.expect("changed");
    let key = AnalysisKey::new(&parsed("MSFT"), AnalysisType::Risk).portfolio(portfolio);
    let latest = analyses.latest(&key).await.expect("read").expect("there");
    assert_eq!(latest.value.summary.as_deref(), Some("Hold"));
    let selector = AnalysisSelector { ticker: Some(parsed("MSFT")), ..AnalysisSelector::default() };
    assert_eq!(analyses.invalidate(&selector).await.expect("expired"), 1);
    assert_eq!(db.analyses().latest_fresh(&key).await.expect("read"), None, "committed");
    let policy = Policy::ttl(Duration::from_secs(60));
    let buy = new("MSFT").summary("Buy");
    let compute = move |_| async move { Ok::<_, BoxError>(buy) };
    let computed = scope.get_or_compute(&key, &policy, compute).await.expect("computed");
    let stored = db.analyses().latest_fresh(&key).await.expect("read").expect("committed");
    assert_eq!(stored.id, computed.value.id);
    // What nobody owns is written by everybody.
    let shared = public(&scope).await;
    assert!(analyses.delete(shared.id).await.expect("deleted"));
    // Nobody else's process-wide memory serves it to others.
    let stranger = person(&*db, "b@example.com").await;
    db.analyses().latest_fresh(&key).await.expect("read").expect("in the cache, perhaps");
    let found = db.as_user(stranger.user.id).analyses().latest_fresh(&key).await;
    assert_eq!(found.expect("read"), None);
}

#[tokio::test]
async fn market_data_are_everybodys() {
    let db = TestDatabase::new().await.expect("a database");
    let me = person(&*db, "a@example.com").await;
    let scope = db.as_user(me.user.id);
    let (aapl, first) = (parsed::<Ticker>("AAPL"), parsed("2000-01-03"));
    // By each of the ways in: one, few, many, and a stream.
    let bars = testing::fixtures::bars(&aapl, first, 6_010).expect("bars");
    let prices = scope.prices();
    prices.create(&bars[0]).await.expect("stored");
    assert_eq!(prices.upsert_many(&bars[..10]).await.expect("stored").inserted, 9);
    assert_eq!(prices.upsert_many(&bars[..6_005]).await.expect("stored").inserted, 5_995);
    let delivered: Vec<Result<DeliveredBar>> =
        bars.iter().map(|bar| Ok(DeliveredBar::from(bar.clone()))).collect();
    let stream = futures_util::stream::iter(delivered).boxed();
    let report = prices.copy_in(stream, &IngestOptions::new()).await.expect("stored");
    assert_eq!((report.inserted, report.unchanged), (5, 6_005));
    let all = PriceBarFilter::default();
    assert_eq!(db.prices().count(&all).await.expect("read"), 6_010, "committed");
    let (from, to) = (first, parsed("2030-01-01"));
    let read: Vec<PriceBar> = prices
        .stream_range(std::slice::from_ref(&aapl), from, to)
        .try_collect()
        .await
        .expect("read");
    assert_eq!(read.len(), 6_010);
    let columns = prices.columns(std::slice::from_ref(&aapl), from, to).await.expect("read");
    assert_eq!(columns[0].len(), 6_010);
    prices.adjusted(&aapl, from, to, to, Adjustment::Splits).await.expect("read");
    assert!(prices.delete_range(&aapl, first, first).await.expect("deleted") == 1);

    let (key, options) =
        (CacheKey::new(&aapl, DataType::NEWS), PutOptions::ttl(Duration::from_secs(60)));
    let document = Document::encode(&[1]).expect("a document");
    scope.market_cache().put(&key, &document, &options).await.expect("stored");
    let entries =
        [NewCacheEntry::new(CacheKey::new(&parsed("MSFT"), DataType::NEWS), document, options)];
    scope.market_cache().put_many(&entries).await.expect("stored");
    assert!(db.market_cache().get(&key).await.expect("read").is_some(), "committed");
    scope
        .market_cache()
        .invalidate(&CacheSelector { key: Some(key.clone()), ..Default::default() })
        .await
        .expect("expired");
    assert!(db.market_cache().get(&key).await.expect("read").is_none(), "committed");

    let action = NewCorporateAction::dividend(aapl.clone(), first, parsed::<DividendAmount>("1"));
    scope.corporate_actions().upsert_many(std::slice::from_ref(&action)).await.expect("stored");
    let stored = db.corporate_actions().count(&CorporateActionFilter::default()).await;
    assert_eq!(stored.expect("read"), 1, "committed");
    let contract = OptionContract::new(aapl.clone(), first, OptionType::Call, parsed("1"));
    scope.options().upsert_many(&[NewOptionQuote::new(contract)]).await.expect("stored");
    let stored = db.options().count(&OptionQuoteFilter::default()).await;
    assert_eq!(stored.expect("read"), 1, "committed");
}

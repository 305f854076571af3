//! What programs pass in and get back as values: JSON of filters, patches and pages, rows of their own making.

use std::time::Duration;

use buffetbot_db::testing::TestDatabase;
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::api::*;
use crate::support::{hash, parsed};

/// Reads a value, says that it can be written and read back, and that a field which it does not have is refused.
fn read<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(given: Value) -> T {
    let value: T = serde_json::from_value(given.clone()).expect("it is read");
    let written = serde_json::to_value(&value).expect("it is written");
    assert_eq!(serde_json::from_value::<T>(written).expect("it is read again"), value);
    let mut more = given;
    more["tikcer"] = json!("AAPL");
    let refused = serde_json::from_value::<T>(more).expect_err("no such field").to_string();
    assert!(refused.contains("unknown field `tikcer`"), "{refused}");
    value
}

#[test]
fn filters_are_read_from_json_and_refuse_what_they_do_not_know() {
    let filter: AnalysisFilter = read(json!({"tickers": ["AAPL"], "is_fresh": true}));
    assert_eq!(filter, AnalysisFilter::default().tickers(vec![parsed("AAPL")]).is_fresh(true));
    let filter: PortfolioFilter = read(json!({"activity": "any"}));
    assert_eq!(filter, PortfolioFilter::default().activity(Activity::Any));
    assert_eq!(read::<UserFilter>(json!({})), UserFilter::default());
    assert_eq!(UserFilter::default().activity, Activity::Any);
    let day = "2024-01-02".parse::<chrono::NaiveDate>().expect("a day");
    assert_eq!(read::<PriceBarFilter>(json!({"from": day})), PriceBarFilter::default().from(day));
    assert_eq!(
        read::<CorporateActionFilter>(json!({"to": day})),
        CorporateActionFilter::default().to(day)
    );
    assert_eq!(
        read::<CacheFilter>(json!({"is_live": false})),
        CacheFilter::default().is_live(false)
    );
    assert_eq!(
        read::<OptionQuoteFilter>(json!({"option_type": "call"})),
        OptionQuoteFilter::default().option_type(OptionType::Call)
    );
    assert_eq!(
        read::<ChainFilter>(json!({"expiration": day})),
        ChainFilter::default().expiration(day)
    );
    assert_eq!(
        read::<AuditFilter>(json!({"table_name": "users"})),
        AuditFilter::default().table_name(AuditedTable::Users)
    );
    let filter: EventFilter = read(json!({"kinds": ["prices_updated"]}));
    assert_eq!(filter, EventFilter::new().kinds([EventKind::PricesUpdated]));
}

#[test]
fn patches_are_read_from_json_and_refuse_what_they_do_not_know() {
    assert_eq!(read::<PortfolioPatch>(json!({"name": "A"})), PortfolioPatch::default().name("A"));
    assert_eq!(read::<PositionPatch>(json!({"notes": null})), PositionPatch::default().notes(None));
    assert_eq!(read::<UserPatch>(json!({"username": "ada"})), UserPatch::default().username("ada"));
    assert_eq!(
        read::<ProfilePatch>(json!({"last_name": null})),
        ProfilePatch::default().last_name(None)
    );
    assert_eq!(
        read::<AnalysisPatch>(json!({"summary": "x"})),
        AnalysisPatch::default().summary("x")
    );
    assert_eq!(
        read::<CacheEntryPatch>(json!({"data_source": null})),
        CacheEntryPatch::default().data_source(None)
    );
    assert_eq!(read::<PriceBarPatch>(json!({"volume": 7})), PriceBarPatch::default().volume(7));
    assert_eq!(
        read::<OptionQuotePatch>(json!({"bid": null})),
        OptionQuotePatch::default().bid(None)
    );
    assert_eq!(
        read::<CorporateActionPatch>(json!({"data_source": "x"})),
        CorporateActionPatch::default().data_source("x")
    );
}

#[test]
fn a_page_is_asked_for_by_json() {
    assert_eq!(read::<PageRequest>(json!({})), PageRequest::default());
    assert_eq!(read::<PageRequest>(json!({"limit": 0})), PageRequest::first(1));
    let cursor = "1704164645000006_00000000000000000000000000000007";
    let after = PageRequest::after(50, parsed(cursor));
    assert_eq!(read::<PageRequest>(json!({"limit": 50, "after": cursor})), after);
}

fn document(value: Value) -> Document {
    Document::encode(&value).expect("a document")
}

/// The row of a fake, and that of the database, without what the clock says.
fn same<T: Serialize>(made: &T, stored: &T, clocks: &[&str]) {
    let values = [made, stored].map(|row| {
        let mut row = serde_json::to_value(row).expect("JSON");
        let fields = row.as_object_mut().expect("an object");
        fields.retain(|name, _| !clocks.contains(&name.as_str()));
        row
    });
    assert_eq!(values[0], values[1]);
}

#[tokio::test]
async fn a_row_of_ones_own_making_is_what_the_database_returns() {
    let db = TestDatabase::new().await.expect("a database");
    let at: DateTime<Utc> = parsed("2024-01-02T03:04:05Z");
    let clocks =
        ["created_at", "updated_at", "cached_at", "expires_at", "calculated_at", "stale_until"];
    let versions = [&clocks[..], &["version", "revision"]].concat();

    let new = NewUser::new("ada@example.com", hash()).username("ada").name("Ada", "Lovelace");
    let user = db.users().create(&new).await.expect("created");
    same(&new.stored_at(at), &user, &clocks);
    for new in [
        NewPortfolio::new(user.id, "Core", RiskTolerance::Moderate),
        NewPortfolio::new(user.id, "All in", RiskTolerance::Aggressive).target_cash(None),
    ] {
        let portfolio = db.portfolios().create(&new).await.expect("created");
        same(&new.clone().stored_at(at), &portfolio, &clocks);
        let new = NewPosition::new(portfolio.id, parsed("AAPL"), parsed::<Shares>("1.5"));
        let position = db.positions().create(&new).await.expect("added");
        same(&new.stored_at(at), &position, &clocks);
    }
    let new = NewAnalysis::new(parsed("AAPL"), AnalysisType::Value)
        .inputs(Inputs::new())
        .metadata(json!({"pe": 20}))
        .expect("a document");
    let result = db.analyses().create(&new).await.expect("stored");
    same(&new.stored_at(at), &result, &versions);
    let options = PutOptions::ttl(Duration::from_secs(60)).tag(parsed("b")).tag(parsed("a"));
    let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS);
    let new = NewCacheEntry::new(key, document(json!([1])), options);
    let entry = db.market_cache().create(&new).await.expect("stored");
    same(&new.stored_at(at), &entry, &versions);
    let day = "2024-01-02".parse::<chrono::NaiveDate>().expect("a day");
    let new = NewPriceBar::new(parsed("AAPL"), day, parsed("1.5")).volume(7);
    let bar = db.prices().create(&new).await.expect("stored");
    same(&new.stored_at(at), &bar, &["id", "created_at"]);
    let new = NewCorporateAction::dividend(parsed("AAPL"), day, parsed("0.5"));
    let action = db.corporate_actions().create(&new).await.expect("stored");
    same(&new.stored_at(at), &action, &["id", "created_at", "updated_at"]);
    let contract = OptionContract::new(parsed("AAPL"), day, OptionType::Call, parsed("150"));
    let new = NewOptionQuote::new(contract);
    let quote = db.options().create(&new).await.expect("stored");
    same(&new.stored_at(quote.fetched_at), &quote, &["id"]);
    db.ping().await.expect("it answers");
}

#[test]
fn what_the_cache_and_the_pool_say_can_be_shown() {
    assert_eq!(Origin::Fetched.to_string(), "fetched");
    assert_eq!(serde_json::to_value(Origin::Stale).expect("JSON"), json!("stale"));
}

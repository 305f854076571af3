//! Text that would be more than text, were it part of a statement: through every argument that takes any
//! text, on both handles, it is stored as it is, found by itself alone, and changes nothing else.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::*;
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::RunQueryDsl;

use crate::support::handle::Handle;
use crate::support::{hash, parsed};

const HOSTILE: [&str; 12] = [
    "'; DELETE FROM users; --",
    "\\'; DROP TABLE price_history; --",
    "' OR '1'='1",
    "\"; SELECT pg_sleep(60); --",
    "*/ DELETE FROM users /*",
    "$1",
    "$$; DELETE FROM users; $$",
    "%' OR email LIKE '%",
    "E'\\x27; DELETE FROM users'",
    "NULL",
    "\\",
    "\u{2bc}; DELETE FROM users",
];

conformance! {
    users_are_found_by_themselves_alone,
    portfolios_and_positions_keep_their_text,
    analyses_are_found_by_themselves_alone,
    cached_documents_are_found_by_themselves_alone,
    sources_of_market_data_are_only_names,
}

/// How many rows each table has.
async fn rows(handle: &impl Handle) -> BTreeMap<String, i64> {
    #[derive(QueryableByName)]
    struct Statement {
        #[diesel(sql_type = Text)]
        sql: String,
    }
    #[derive(QueryableByName)]
    struct Rows {
        #[diesel(sql_type = Text)]
        name: String,
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let connection = handle.connection().await;
    let statement = diesel::sql_query(
        "SELECT string_agg(format('SELECT %L AS name, count(*) AS rows FROM %I', relname, relname), ' UNION ALL ') AS sql
        FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace",
    );
    let statement: Statement =
        statement.get_result(&mut connection.as_diesel()).await.expect("the tables");
    let query = diesel::sql_query(statement.sql);
    let counted: Vec<Rows> = query.load(&mut connection.as_diesel()).await.expect("counted");
    counted.into_iter().map(|table| (table.name, table.rows)).collect()
}

/// Checks that since `before` these tables have gained so many rows, and no other has changed. What triggers
/// write is not asked for.
async fn assert_gained(
    handle: &impl Handle,
    before: &BTreeMap<String, i64>,
    gained: &[(&str, usize)],
) {
    let mut expected = before.clone();
    for (table, rows) in gained {
        *expected.get_mut(*table).expect("a table") += *rows as i64;
    }
    let mut found = rows(handle).await;
    for counts in [&mut found, &mut expected] {
        for log in ["audit_log", "cache_changes", "events"] {
            counts.remove(log);
        }
    }
    assert_eq!(found, expected);
}

fn document(text: &str) -> Document {
    Document::encode(&BTreeMap::from([(text, text)])).expect("a document")
}

async fn users_are_found_by_themselves_alone(handle: &impl Handle) {
    let before = rows(handle).await;
    let users = handle.users();
    for text in HOSTILE {
        let email = text.split_whitespace().collect::<String>() + "@example.com";
        let new = NewUser::new(&*email, hash()).username(text).name(text, text);
        let user = users.create(&new.preferences(document(text))).await.expect("stored");
        assert_eq!((&*user.email, user.username.as_deref()), (&*email, Some(text)));
        assert_eq!(
            (user.first_name.as_deref(), user.last_name.as_deref()),
            (Some(text), Some(text))
        );
        let found = users.find_by_username(text).await.expect("read").expect("there");
        assert_eq!(found.id, user.id);
        let found = users.find_by_email(&email).await.expect("read").expect("there");
        assert_eq!(found.id, user.id);
        assert!(users.exists_email(&email).await.expect("read"));
        assert!(users.exists_username(text).await.expect("read"));
        assert!(!users.exists_username(&format!("{text}'")).await.expect("read"));
        let merged = users.merge_preferences(user.id, &document("other")).await.expect("merged");
        let merged: BTreeMap<String, String> = merged.decode().expect("texts");
        assert_eq!(merged.get(text).map(String::as_str), Some(text));
        let patch = UserPatch::default().first_name(text.repeat(2));
        let updated = users.update(user.id, &patch).await.expect("updated");
        assert_eq!(updated.first_name, Some(text.repeat(2)));
        users.export(user.id).await.expect("read").expect("there");
    }
    assert_gained(handle, &before, &[("users", HOSTILE.len())]).await;
}

async fn portfolios_and_positions_keep_their_text(handle: &impl Handle) {
    let owner = crate::support::user(handle, "owner@example.com").await;
    let before = rows(handle).await;
    let portfolios = handle.portfolios();
    for text in HOSTILE {
        let new = NewPortfolio::new(owner.id, text, RiskTolerance::Moderate).description(text);
        let portfolio = portfolios.create(&new).await.expect("stored");
        assert_eq!((&*portfolio.name, portfolio.description.as_deref()), (text, Some(text)));
        let found = portfolios.find_by_name(owner.id, text).await.expect("read").expect("there");
        assert_eq!(found.id, portfolio.id);
        let mut new = NewPosition::new(portfolio.id, parsed("AAPL"), parsed::<Shares>("1"));
        new.notes = Some(text.into());
        let position = handle.positions().create(&new).await.expect("stored");
        assert_eq!(position.notes.as_deref(), Some(text));
        let copy = portfolios.duplicate(portfolio.id, &format!("{text} 2")).await.expect("copied");
        assert_eq!(copy.name, format!("{text} 2"));
    }
    let twice = 2 * HOSTILE.len();
    assert_gained(handle, &before, &[("portfolios", twice), ("positions", twice)]).await;
}

async fn analyses_are_found_by_themselves_alone(handle: &impl Handle) {
    let before = rows(handle).await;
    let analyses = handle.analyses();
    for text in HOSTILE {
        let texts = BTreeMap::from([(text, text)]);
        let new = NewAnalysis::new(parsed("AAPL"), AnalysisType::Risk)
            .strategy(text)
            .recommendation(text)
            .summary(text);
        let new = new.metadata(&texts).and_then(|new| new.parameters(&texts)).expect("documents");
        let stored = analyses.create(&new).await.expect("stored");
        assert_eq!(stored.summary.as_deref(), Some(text));
        for filter in [
            AnalysisFilter::default().strategy(text),
            AnalysisFilter::default().recommendation(text),
            AnalysisFilter::default().metadata_contains(document(text)),
        ] {
            assert_eq!(analyses.count(&filter).await.expect("read"), 1, "{text}");
        }
        let mut key = AnalysisKey::new(&parsed("AAPL"), AnalysisType::Risk);
        key.parameters = Some(document(text));
        let found = analyses.latest_fresh(&key).await.expect("read").expect("there");
        assert_eq!(found.id, stored.id);
    }
    assert_gained(handle, &before, &[("analysis_results", HOSTILE.len())]).await;
}

async fn cached_documents_are_found_by_themselves_alone(handle: &impl Handle) {
    let before = rows(handle).await;
    let cache = handle.market_cache();
    for text in HOSTILE {
        let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS);
        let key = key.params(BTreeMap::from([(text, text)])).expect("parameters");
        let options = PutOptions::ttl(Duration::from_secs(3600)).source(text);
        cache.put(&key, &document(text), &options).await.expect("stored");
        let entry = cache.get(&key).await.expect("read").expect("there");
        assert_eq!((entry.data_source.as_deref(), &entry.data), (Some(text), &document(text)));
        let of_source = CacheFilter::default().data_source(text);
        assert_eq!(cache.count(&of_source).await.expect("read"), 1, "{text}");
    }
    assert_gained(handle, &before, &[("market_data_cache", HOSTILE.len())]).await;
    for text in HOSTILE {
        let key = CacheKey::new(&parsed("AAPL"), DataType::NEWS);
        let key = key.params(BTreeMap::from([(text, text)])).expect("parameters");
        assert!(cache.delete_key(&key).await.expect("deleted"));
    }
    assert_gained(handle, &before, &[]).await;
}

async fn sources_of_market_data_are_only_names(handle: &impl Handle) {
    let before = rows(handle).await;
    for (i, text) in HOSTILE.into_iter().enumerate() {
        let day: chrono::NaiveDate = parsed(&format!("2024-01-{:02}", i + 1));
        let bar = |ticker| NewPriceBar::new(parsed(ticker), day, parsed("1")).data_source(text);
        let stored = handle.prices().create(&bar("ONE")).await.expect("stored");
        assert_eq!(stored.data_source.as_deref(), Some(text));
        let report = handle.prices().upsert_many(&[bar("MERGED")]).await.expect("stored");
        assert_eq!(report.inserted, 1);
        let filter = PriceBarFilter::default().data_source(text);
        assert_eq!(handle.prices().count(&filter).await.expect("read"), 2, "{text}");
        let amount: DividendAmount = parsed("1");
        let action = NewCorporateAction::dividend(parsed("ONE"), day, amount).data_source(text);
        let action = handle.corporate_actions().create(&action).await.expect("stored");
        assert_eq!(action.data_source.as_deref(), Some(text));
        let contract = OptionContract::new(parsed("ONE"), day, OptionType::Call, parsed("1"));
        let quote = NewOptionQuote::new(contract).data_source(text);
        let quote = handle.options().create(&quote).await.expect("stored");
        assert_eq!(quote.data_source.as_deref(), Some(text));
    }
    // So many are copied straight into the table, and compared by a statement with literals.
    let copied: Vec<NewPriceBar> = (0..6_000)
        .map(|i| {
            let day = chrono::NaiveDate::default() + chrono::Days::new(i);
            let source = HOSTILE[i as usize % HOSTILE.len()];
            NewPriceBar::new(parsed("COPIED"), day, parsed("1")).data_source(source)
        })
        .collect();
    let report = handle.prices().upsert_many(&copied).await.expect("stored");
    assert_eq!(report.inserted, 6_000);
    let report = handle.prices().upsert_many(&copied).await.expect("stored");
    assert_eq!(report.unchanged, 6_000);
    let each = HOSTILE.len();
    let gained = [
        ("price_history", 2 * each + copied.len()),
        ("corporate_actions", each),
        ("options_data", each),
    ];
    assert_gained(handle, &before, &gained).await;
}

//! Every validated type against its column: what the type accepts the database accepts and gives back equal; what it
//! refuses it refuses with field and reason.

use std::fmt::Debug;
use std::str::FromStr;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::*;
use diesel::QueryableByName;
use diesel::sql_types::{Jsonb, Numeric, Text, Timestamptz};
use diesel_async::RunQueryDsl;
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

use crate::catalog::connect;
use crate::rows;

const CASES: u32 = 200;

/// A database with the sample rows, whose bar may be incoherent and whose action is a dividend or a split.
fn database(runtime: &tokio::runtime::Runtime) -> TestDatabase {
    runtime.block_on(async {
        let db = TestDatabase::new().await.expect("a database");
        let client = connect(&db).await;
        let samples = rows::insert_all() + &rows::insert_later();
        client.batch_execute(&samples).await.expect("the sample rows");
        let freely = "UPDATE price_history SET is_suspect = TRUE";
        client.batch_execute(freely).await.expect("a bar of any prices");
        db
    })
}

/// The type's word on a text.
fn judged<T: FromStr<Err = Error> + Debug>(text: &str) -> Option<T> {
    match text.parse::<T>() {
        Ok(value) => Some(value),
        Err(Error::Invalid { field, reason }) => {
            assert!(!field.is_empty() && !reason.is_empty(), "{text:?}: {field}: {reason}");
            None
        }
        Err(other) => panic!("{text:?}: {other:?}"),
    }
}

macro_rules! validated {
    ($($test:ident: $ty:ty as $sql:ty, $update:literal returning $value:literal, $texts:expr;)*) => {$(
        #[test]
        fn $test() {
            #[derive(QueryableByName)]
            struct Stored {
                #[diesel(sql_type = $sql)]
                value: $ty,
            }
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let db = database(&runtime);
            let connection = runtime.block_on(db.connection()).expect("a connection");
            let cases = Cases { cases: CASES, failure_persistence: None, ..Cases::default() };
            let accepted = std::cell::Cell::new(0);
            proptest!(cases, |(text in $texts)| {
                if let Some(value) = judged::<$ty>(&text) {
                    accepted.set(accepted.get() + 1);
                    let sql = concat!("UPDATE ", $update, " RETURNING ", $value, " AS value");
                    let query = diesel::sql_query(sql).bind::<$sql, _>(value.clone());
                    let stored = runtime
                        .block_on(query.get_result::<Stored>(&mut connection.as_diesel()))
                        .map_err(Error::from);
                    match stored {
                        Ok(stored) => prop_assert_eq!(stored.value, value),
                        Err(error) => prop_assert!(false, "{:?} is refused by the database: {:?}", value, error),
                    }
                }
            });
            assert!(accepted.get() > 5, "{} texts were accepted", accepted.get());
        }
    )*};
}

/// Numbers as sources write them, in and out of range, and what is none.
fn numbers() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "-?[0-9]{1,3}(\\.[0-9]{1,6})?",
        2 => "-?[0-9]{1,14}(\\.[0-9]{0,14})?",
        2 => "0?\\.[0-9]{1,12}",
        1 => "-?[0-9]{1,4}e-?[0-9]{1,3}",
        1 => "(NaN|-?inf|Infinity|0x1f|1,5| 1 |--1|)",
        1 => any::<String>(),
    ]
}

fn texts(likely: &'static str) -> impl Strategy<Value = String> {
    prop_oneof![3 => likely, 1 => any::<String>()]
}

/// Documents, nested, with keys and texts of any kind.
fn documents() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(4, 32, 6, |inner| {
        let key = any::<String>();
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(key, inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    });
    prop_oneof![
        8 => value.prop_map(|value| value.to_string()),
        2 => any::<String>(),
        // What serde_json writes for no value of Rust.
        4 => r#""(a|\\\\|\\u(0000|00e4|d83e|dd80|d800|dfff|\\\\))*""#,
        4 => r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,4})?[eE]([+-]?[0-9]{1,2}|1310[67][0-9]|-163[78][0-9]|107374182[1-4])",
        1 => (990..1_010_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
    ]
}

validated! {
    tickers: Ticker as Text, "positions SET ticker = $1" returning "ticker", texts("[ ]?[A-Za-z0-9^$.=+#-]{0,34}");
    data_types: DataType as Text, "market_data_cache SET data_type = $1" returning "data_type", texts("[A-Za-z_ ]{0,60}");
    tags: Tag as Text, "market_data_cache SET tags = ARRAY[$1]" returning "tags[1]", texts("[ a-zA-Z0-9:äß-]{0,110}");
    password_hashes: PasswordHash as Text, "users SET hashed_password = $1" returning "hashed_password",
        texts("\\$(argon2id|scrypt|2b|md5)\\$v=19\\$m=[0-9]{1,5},t=2,p=1\\$[a-zA-Z0-9+/]{8,24}\\$[a-zA-Z0-9+/]{20,60}");
    prices: Price as Numeric, "price_history SET close_price = $1" returning "close_price", numbers();
    adjusted_prices: AdjustedPrice as Numeric, "price_history SET adjusted_close = $1" returning "adjusted_close", numbers();
    shares: Shares as Numeric, "positions SET shares = $1" returning "shares", numbers();
    costs: Cost as Numeric, "positions SET average_cost = $1" returning "average_cost", numbers();
    percentages: Percentage as Numeric, "positions SET allocation_percentage = $1" returning "allocation_percentage", numbers();
    scores: Score as Numeric, "analysis_results SET score = $1" returning "score", numbers();
    unit_intervals: UnitInterval as Numeric, "analysis_results SET confidence_level = $1" returning "confidence_level", numbers();
    premiums: Premium as Numeric, "options_data SET bid = $1" returning "bid", numbers();
    deltas: Delta as Numeric, "options_data SET delta = $1" returning "delta", numbers();
    greeks: Greek as Numeric, "options_data SET vega = $1" returning "vega", numbers();
    volatilities: ImpliedVolatility as Numeric, "options_data SET implied_volatility = $1" returning "implied_volatility", numbers();
    split_shares: SplitShares as Numeric, "corporate_actions SET split_to = $1" returning "split_to", numbers();
    dividends: DividendAmount as Numeric, "corporate_actions SET action_type = 'dividend', split_from = NULL, split_to = NULL, amount = $1" returning "amount", numbers();
    trading_days: TradingDay as Timestamptz, "price_history SET date = $1" returning "date", texts("[0-9]{4}-[01][0-9]-[0-3][0-9](T[0-2][0-9]:00:00[+-]0[0-9]:00)?");
}

#[test]
fn documents_are_given_back_equal() {
    #[derive(QueryableByName)]
    struct Stored {
        #[diesel(sql_type = Jsonb)]
        value: Document,
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let db = database(&runtime);
    let connection = runtime.block_on(db.connection()).expect("a connection");
    let cases = Cases { cases: CASES, failure_persistence: None, ..Cases::default() };
    let accepted = std::cell::Cell::new(0);
    proptest!(cases, |(text in documents())| {
        match Document::parse(text.as_str()) {
            Ok(document) => {
                accepted.set(accepted.get() + 1);
                let sql = "UPDATE market_data_cache SET data = $1 RETURNING data AS value";
                let query = diesel::sql_query(sql).bind::<Jsonb, _>(&document);
                let stored = runtime
                    .block_on(query.get_result::<Stored>(&mut connection.as_diesel()))
                    .map_err(Error::from);
                match stored {
                    Ok(stored) => prop_assert_eq!(stored.value, document),
                    Err(error) => prop_assert!(false, "{:?} is refused by the database: {:?}", text, error),
                }
            }
            Err(Error::Invalid { field, reason }) => {
                prop_assert!(!field.is_empty() && !reason.is_empty());
            }
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    });
    assert!(accepted.get() > 50, "{} documents were accepted", accepted.get());
}

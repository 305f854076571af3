//! Every validated type against its column: what the type accepts the database accepts and gives back equal; what it
//! refuses it refuses with field and reason.

use std::fmt::Debug;
use std::str::FromStr;

use crate::api::*;
use buffetbot_db::testing::TestDatabase;
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

/// As [`numbers`], more of them between 0 and 1 with few digits.
fn fractions() -> impl Strategy<Value = String> {
    prop_oneof![1 => "0?\\.[0-9]{1,3}", 1 => numbers()]
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
        1 => (120..135_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
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
    unit_intervals: UnitInterval as Numeric, "analysis_results SET confidence_level = $1" returning "confidence_level", fractions();
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

/// What a decimal parser may take for a number and PostgreSQL, or a reader, does not.
const NO_NUMBERS: [&str; 16] = [
    "1_000", "1__0", "_1", "1_", "1._5", "1.5_", "1e_2", "1e1_0", "1.2.3", "1.+5", "+-1", "1e",
    ".", "e5", "١٢", "1 0",
];

#[test]
fn c11_a_number_is_digits_a_point_and_an_exponent() {
    macro_rules! refused {
        ($($ty:ident)*) => {$(
            for text in NO_NUMBERS {
                assert!(judged::<$ty>(text).is_none(), "{} {text}", stringify!($ty));
                let json = serde_json::json!(text);
                assert!(serde_json::from_value::<$ty>(json).is_err(), "{} {text}", stringify!($ty));
            }
            for text in ["1", "+1", "1.0", "1.", "01", " 1 ", "10e-1", "1E0", "0.1e+1"] {
                assert!(judged::<$ty>(text).is_some(), "{} {text}", stringify!($ty));
            }
        )*};
    }
    refused! {
        Price AdjustedPrice Premium SplitShares DividendAmount Cost Shares Percentage UnitInterval Score Delta Greek
        ImpliedVolatility
    }
    assert_eq!(judged::<Price>(".5"), judged::<Price>("0.5"));
    for text in ["AAPL240621C+0190000", "AAPL240621C0019_000", "AAPL+40621C00190000"] {
        assert!(text.parse::<OccSymbol>().is_err(), "{text}");
    }
}

/// Texts that look like others, or break a line.
const NO_NAMES: [&str; 21] = [
    " ada",
    "ada ",
    "\u{a0}ada",
    "ada\u{3000}",
    "a\nb",
    "a\tb",
    "a\rb",
    "a\u{7f}b",
    "a\u{85}b",
    "a\u{200b}b",
    "a\u{202e}b",
    "\u{feff}ada",
    "a\u{2066}b",
    "a\u{ad}b",
    "ada\u{fe0f}",
    "\u{2800}",
    "a\u{fffc}b",
    "a\u{1d159}b",
    "a\u{180b}b",
    "a\u{1160}b",
    "葛\u{e0100}",
];

#[tokio::test]
async fn c11_names_hold_nothing_that_is_not_seen() {
    let db = TestDatabase::new().await.expect("a database");
    let blamed = |error: Error| match error {
        Error::Invalid { field, .. } => field.to_string(),
        Error::Item { source, .. } => match *source {
            Error::Invalid { field, .. } => field.to_string(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    let ada = db.users().create(&NewUser::new("ada@example.com", crate::support::hash())).await;
    let ada = ada.expect("created");
    let user = || NewUser::new("grace@example.com", crate::support::hash());
    let portfolio = |name: &str| NewPortfolio::new(ada.id, name, RiskTolerance::Moderate);
    let key = || CacheKey::new(&"AAPL".parse::<Ticker>().expect("a ticker"), DataType::NEWS);
    let analysis = || NewAnalysis::new("AAPL".parse().expect("a ticker"), AnalysisType::Value);
    let hour = std::time::Duration::from_secs(3_600);
    for text in NO_NAMES {
        let email = format!("{text}@example.com");
        let refused = db.users().create(&NewUser::new(email, crate::support::hash())).await;
        assert_eq!(blamed(refused.expect_err(text)), "email", "{text:?}");
        let refused = db.users().create(&user().username(text)).await;
        assert_eq!(blamed(refused.expect_err(text)), "username", "{text:?}");
        let refused = db.users().create(&user().name(text, "Hopper")).await;
        assert_eq!(blamed(refused.expect_err(text)), "first_name", "{text:?}");
        let patch = UserPatch::default().last_name(text);
        let refused = db.users().update(ada.id, &patch).await;
        assert_eq!(blamed(refused.expect_err(text)), "last_name", "{text:?}");
        let refused = db.portfolios().create(&portfolio(text)).await;
        assert_eq!(blamed(refused.expect_err(text)), "name", "{text:?}");
        let refused = db.analyses().create(&analysis().strategy(text)).await;
        assert_eq!(blamed(refused.expect_err(text)), "strategy", "{text:?}");
        let refused = db.analyses().create(&analysis().recommendation(text)).await;
        assert_eq!(blamed(refused.expect_err(text)), "recommendation", "{text:?}");
        let options = PutOptions::ttl(hour).source(text);
        let refused =
            db.market_cache().put(&key(), &Document::encode(&1).expect("1"), &options).await;
        assert_eq!(blamed(refused.expect_err(text)), "data_source", "{text:?}");
        let refused = db.cache().put(&key(), 1_u32, &Policy::ttl(hour).source(text)).await;
        assert_eq!(blamed(refused.expect_err(text)), "data_source", "{text:?}");
        let bar = NewPriceBar::new(
            "AAPL".parse().expect("a ticker"),
            "2024-01-02".parse::<TradingDay>().expect("a day"),
            "1".parse().expect("a price"),
        );
        let refused = db.prices().create(&bar.data_source(text.to_owned())).await;
        assert_eq!(blamed(refused.expect_err(text)), "data_source", "{text:?}");
        let refused = db.events().consumer(text, EventFilter::default()).await;
        assert_eq!(blamed(refused.map(drop).expect_err(text)), "name", "{text:?}");
        // Trimmed, or refused: never with what is not seen.
        for kept in [Tag::new(text).map(String::from), DataType::new(text).map(String::from)] {
            assert!(kept.is_err() || kept.is_ok_and(|kept| kept == "ada"), "{text:?}");
        }
    }
    // Names of people and texts of several lines stay what they are.
    let name = user().username("zoë.o’hara").name("Ḥannāh 李小龍", "d'Arc-Müller Jr.");
    db.users().create(&name).await.expect("created");
    // A symbol has a form as emoji, which two accounts must not differ in.
    let name = "❤\u{fe0f} core";
    assert_eq!(db.portfolios().create(&portfolio(name)).await.expect("created").name, name);
    let refused = db.users().create(&user().username(name)).await;
    assert_eq!(blamed(refused.expect_err("two forms")), "username");
    let address = NewUser::new("❤\u{fe0f}@example.com", crate::support::hash());
    let refused = db.users().create(&address).await;
    assert_eq!(blamed(refused.expect_err("two forms")), "email");
    let text = analysis().strategy("Deep value 🚀").summary("One.\n\tTwo, \u{200f}שתיים.\r\n");
    let saved = db.analyses().create(&text).await.expect("saved");
    assert_eq!(saved.summary, text.summary);
}

/// The rule of the program and that of the checks, of every character that is not plain.
#[tokio::test]
async fn b7_checks_and_types_know_the_same_names() {
    let db = TestDatabase::new().await.expect("a database");
    let client = connect(&db).await;
    let asked = |line: &str| {
        format!(
            "SELECT n FROM (SELECT generate_series(1, 131071) AS n UNION ALL SELECT generate_series(917504, 921600)) AS c
             WHERE n NOT BETWEEN 55296 AND 57343 AND NOT is_line({line}) ORDER BY n"
        )
    };
    let characters: Vec<char> =
        (1..=131_071).chain(917_504..=921_600).filter_map(char::from_u32).collect();
    type Line = (&'static str, fn(char) -> String);
    let lines: [Line; 4] = [
        ("'a' || chr(n) || 'b'", |c| format!("a{c}b")),
        ("'a' || chr(n)", |c| format!("a{c}")),
        ("chr(n) || 'a'", |c| format!("{c}a")),
        ("'a' || chr(n) || chr(65039)", |c| format!("a{c}\u{fe0f}")),
    ];
    for (sql, line) in lines {
        let rows = client.query(&asked(sql), &[]).await.expect(sql);
        let by_check: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        let is_kept = |line: &str| Tag::new(line).is_ok_and(|tag| tag.as_str() == line);
        let by_type = characters.iter().filter(|c| !is_kept(&line(**c)));
        let by_type: Vec<i32> = by_type.map(|c| u32::from(*c) as i32).collect();
        assert_eq!(by_check, by_type, "{sql}");
    }
}

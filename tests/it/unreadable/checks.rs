//! The doctor names rows from before a check; they hold up nothing.

use crate::api::*;

use super::other_program;
use crate::cancellation::every_method::given::{Given, document};
use crate::support::{database, parsed, raw};

#[tokio::test]
async fn b7_the_doctor_names_rows_that_cannot_be_read() {
    let db = database(2).await;
    let rows = |diagnosis: Diagnosis| -> Vec<Finding> {
        diagnosis.findings.into_iter().filter(|finding| finding.what == "rows").collect()
    };
    assert_eq!(rows(db.doctor().await.expect("examined")), []);
    let new = [parsed("A"), parsed("B")].map(|t| NewAnalysis::new(t, AnalysisType::Value));
    let made = db.analyses().create_many(&new).await.expect("results");
    let other = raw(db.url()).await;
    let bad = made[0].id;
    other
        .batch_execute(&format!(
            "ALTER TABLE analysis_results DROP CONSTRAINT analysis_results_times_readable;
             UPDATE analysis_results SET created_at = 'infinity' WHERE id = '{bad}';
             ALTER TABLE analysis_results ADD CONSTRAINT analysis_results_times_readable
                 CHECK (created_at < '262143-01-01Z') NOT VALID"
        ))
        .await
        .expect("a row from before the check");
    let found = rows(db.doctor().await.expect("examined"));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!((finding.severity, &*finding.object), (Severity::Warning, "analysis_results"));
    assert!(finding.message.contains(&bad.to_string()), "{finding}");
    assert!(!finding.message.contains(&made[1].id.to_string()), "{finding}");
    // The check refuses changes that leave the row as it is, but not an invalidation.
    let selector = AnalysisSelector {
        analysis_type: Some(AnalysisType::Value),
        ..AnalysisSelector::default()
    };
    assert_eq!(db.analyses().invalidate(&selector).await.expect("invalidated"), 2);
}

/// What was stored before there were checks, and is found where they are missing.
const UNREADABLE: [(&str, &str); 15] = [
    ("positions", "ticker = 'ÄB'"),
    ("analysis_results", "ticker = 'ÄB'"),
    ("market_data_cache", "ticker = 'ÄB'"),
    ("price_history", "ticker = 'ÄB'"),
    ("options_data", "ticker = 'ÄB'"),
    ("corporate_actions", "ticker = 'ÄB'"),
    ("price_history", "ticker = ''"),
    ("price_history", "ticker = E'A\\tB'"),
    ("price_history", "ticker = ' A'"),
    ("market_data_cache", "data_type = ''"),
    ("market_data_cache", "data_type = E'a\\u200bb'"),
    ("market_data_cache", "tags = '{\"\"}'"),
    ("market_data_cache", "tags = ARRAY[E'a\\nb']"),
    ("market_data_cache", "tags = ARRAY['a', E'b\\ufe0f']"),
    ("users", "preferences = repeat('[', 500) || repeat(']', 500)"),
];

#[tokio::test]
async fn b7_texts_that_cannot_be_read_are_refused_and_found() {
    let db = database(2).await;
    Given::new(&db).await;
    let rows = async || -> Vec<Finding> {
        let diagnosis = db.doctor().await.expect("examined");
        diagnosis.findings.into_iter().filter(|finding| finding.what == "rows").collect()
    };
    assert_eq!(rows().await, []);
    let client = raw(db.url()).await;
    for (table, change) in UNREADABLE {
        let update = format!("UPDATE {table} SET {change}");
        let count = format!("SELECT count(*) FROM {table}");
        let stored: i64 = client.query_one(&count, &[]).await.expect("counted").get(0);
        assert!(stored > 0, "{table}");
        let refused = client.batch_execute(&update).await.expect_err(&update);
        let refused = refused.as_db_error().and_then(|e| e.constraint()).map(str::to_owned);
        let constraint = refused.expect(&update);
        assert!(constraint.starts_with(table), "{update}: {constraint}");
    }
    drop(client);
    let other = other_program(&db).await;
    for (table, change) in UNREADABLE {
        let id = format!("SELECT id::text FROM {table} LIMIT 1");
        let id: String = other.query_one(&id, &[]).await.expect("a row").get(0);
        let column = change.split(' ').next().expect("a column");
        let before = format!("SELECT {column}::text FROM {table} WHERE id = '{id}'");
        let before: Option<String> = other.query_one(&before, &[]).await.expect("a row").get(0);
        let spoil = format!("UPDATE {table} SET {change} WHERE id = '{id}'");
        other.batch_execute(&spoil).await.expect(&spoil);
        let found = rows().await;
        let [finding] = &found[..] else { panic!("{spoil}: {found:?}") };
        assert_eq!((finding.severity, &*finding.object), (Severity::Warning, table), "{spoil}");
        assert!(finding.message.contains(&id), "{finding}");
        let type_of = if column == "tags" { "::text[]" } else { "" };
        let before = before.map_or("NULL".into(), |text| format!("'{text}'{type_of}"));
        let mend = format!("UPDATE {table} SET {column} = {before} WHERE id = '{id}'");
        other.batch_execute(&mend).await.expect(&mend);
    }
    assert_eq!(rows().await, []);
}

/// As with times: rows from before the checks do not hold up an invalidation of others.
#[tokio::test]
async fn b7_texts_from_before_their_checks_hold_up_no_invalidation() {
    let db = database(2).await;
    let hour = std::time::Duration::from_secs(3600);
    let put = async |ticker: &str| {
        let key = CacheKey::new(&parsed(ticker), DataType::NEWS);
        let options = PutOptions::ttl(hour).tag(parsed("t"));
        db.market_cache().put(&key, &document(), &options).await.expect("an entry").id
    };
    let (tagged, typed, named, good) =
        (put("A").await, put("B").await, put("C").await, put("D").await);
    let new = [parsed("A"), parsed("B")].map(|t| NewAnalysis::new(t, AnalysisType::Value));
    let results = db.analyses().create_many(&new).await.expect("results");
    let other = raw(db.url()).await;
    let checks = [
        ("market_data_cache", "data_type_readable", "is_line(data_type)"),
        ("market_data_cache", "tags_readable", "are_lines(tags, 100)"),
        ("market_data_cache", "ticker_readable", "ticker ~ '^[A-Z]+$'"),
        ("analysis_results", "ticker_readable", "ticker ~ '^[A-Z]+$'"),
    ];
    for (table, name, _) in checks {
        let drop = format!("ALTER TABLE {table} DROP CONSTRAINT {table}_{name}");
        other.batch_execute(&drop).await.expect(&drop);
    }
    for change in [
        format!("market_data_cache SET tags = ARRAY['t', E'a\\nb'] WHERE id = '{tagged}'"),
        format!("market_data_cache SET data_type = '' WHERE id = '{typed}'"),
        format!("market_data_cache SET ticker = 'ÄB' WHERE id = '{named}'"),
        format!("analysis_results SET ticker = 'ÄB' WHERE id = '{}'", results[0].id),
    ] {
        other.batch_execute(&format!("UPDATE {change}")).await.expect(&change);
    }
    for (table, name, condition) in checks {
        let add = format!(
            "ALTER TABLE {table} ADD CONSTRAINT {table}_{name} CHECK ({condition}) NOT VALID"
        );
        other.batch_execute(&add).await.expect(&add);
    }
    let selector = CacheSelector::tag(&parsed("t"));
    assert_eq!(db.market_cache().invalidate(&selector).await.expect("invalidated"), 2);
    let live: Vec<String> = other
        .query("SELECT id::text FROM market_data_cache WHERE expires_at > now()", &[])
        .await
        .expect("read")
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(!live.contains(&tagged.to_string()) && !live.contains(&good.to_string()), "{live:?}");
    let selector = AnalysisSelector {
        analysis_type: Some(AnalysisType::Value),
        ..AnalysisSelector::default()
    };
    assert_eq!(db.analyses().invalidate(&selector).await.expect("invalidated"), 1);
}

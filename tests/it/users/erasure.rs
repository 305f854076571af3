//! What goes with a user, what is told of her, and retention.

use std::time::Duration;

use buffetbot_db::portfolios::NewPosition;

use super::*;
use crate::support::portfolio;

conformance! {
    deletion_takes_what_is_hers,
    an_export_holds_everything_of_her,
    erasure_counts_what_it_takes,
    erasing_the_inactive_is_bounded,
}

/// A user with two portfolios, three positions and one analysis, and market data.
async fn furnished(handle: &impl Handle) -> User {
    let ada = user(handle, "ada@example.com").await;
    let core = portfolio(handle, &ada, "Core").await;
    let more = portfolio(handle, &ada, "More").await;
    for (portfolio, ticker) in [(&core, "AAPL"), (&core, "MSFT"), (&more, "AAPL")] {
        let new = NewPosition::new(portfolio.id, parsed(ticker), Some(parsed("1.5")));
        handle.positions().create(&new).await.expect("added");
    }
    handle
        .sql(&format!(
            "INSERT INTO analysis_results (portfolio_id, ticker, analysis_type)
             VALUES ('{}', 'AAPL', 'risk_analysis'), (NULL, 'AAPL', 'value_analysis');
             INSERT INTO price_history (ticker, date, close_price) VALUES ('AAPL', '2024-01-02Z', 185.64)",
            core.id
        ))
        .await;
    ada
}

async fn left(handle: &impl Handle, table: &str) -> i64 {
    use diesel_async::RunQueryDsl;
    #[derive(diesel::QueryableByName)]
    struct Count {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        count: i64,
    }
    let connection = handle.connection().await;
    let query = diesel::sql_query(format!("SELECT count(*) FROM {table}"));
    query.get_result::<Count>(&mut connection.as_diesel()).await.expect("read").count
}

async fn deletion_takes_what_is_hers(handle: &impl Handle) {
    let ada = furnished(handle).await;
    let grace = user(handle, "grace@example.com").await;
    let kept = portfolio(handle, &grace, "Hers").await;
    assert!(handle.users().delete(ada.id).await.expect("deleted"));
    assert!(!handle.users().delete(ada.id).await.expect("ran"));
    assert_eq!(handle.users().find(ada.id).await.expect("read"), None);
    for (table, expected) in [
        ("users", 1),
        ("portfolios", 1),
        ("positions", 0),
        ("analysis_results", 1),
        ("price_history", 1),
    ] {
        assert_eq!(left(handle, table).await, expected, "{table}");
    }
    assert!(handle.portfolios().exists(kept.id).await.expect("read"));
}

async fn an_export_holds_everything_of_her(handle: &impl Handle) {
    let ada = furnished(handle).await;
    furnished_stranger(handle).await;
    let export = handle.users().export(ada.id).await.expect("read").expect("there");
    assert!(!export.as_str().contains("argon2"), "the password's hash is not hers to have");
    let export: serde_json::Value = export.decode().expect("JSON");
    assert_eq!(export["user"]["email"], "ada@example.com");
    assert_eq!(export["user"]["id"], ada.id.to_string());
    let names: Vec<_> =
        export["portfolios"].as_array().expect("a list").iter().map(|p| &p["name"]).collect();
    assert_eq!(names.len(), 2);
    assert!(names.iter().any(|n| *n == "Core") && names.iter().any(|n| *n == "More"));
    let positions = export["positions"].as_array().expect("a list");
    assert_eq!(positions.len(), 3);
    assert!(positions.iter().all(|p| p["shares"] == json!(1.5)));
    let analyses = export["analyses"].as_array().expect("a list");
    assert_eq!(analyses.len(), 1);
    assert_eq!(analyses[0]["analysis_type"], "risk_analysis");

    let empty = user(handle, "empty@example.com").await;
    let export = handle.users().export(empty.id).await.expect("read").expect("there");
    let export: serde_json::Value = export.decode().expect("JSON");
    for list in ["portfolios", "positions", "analyses"] {
        assert_eq!(export[list], json!([]), "{list}");
    }
}

async fn furnished_stranger(handle: &impl Handle) {
    let stranger = user(handle, "stranger@example.com").await;
    let portfolio = portfolio(handle, &stranger, "Secret").await;
    let new = NewPosition::new(portfolio.id, parsed("TSLA"), None);
    handle.positions().create(&new).await.expect("added");
}

async fn erasure_counts_what_it_takes(handle: &impl Handle) {
    let ada = furnished(handle).await;
    furnished_stranger(handle).await;
    let erased = handle.users().erase(ada.id).await.expect("erased").expect("there");
    assert_eq!((erased.portfolios, erased.positions, erased.analyses), (2, 3, 1));
    assert_eq!(handle.users().erase(ada.id).await.expect("ran"), None);
    for (table, expected) in [
        ("users", 1),
        ("portfolios", 1),
        ("positions", 1),
        ("analysis_results", 1),
        ("price_history", 1),
    ] {
        assert_eq!(left(handle, table).await, expected, "{table}");
    }
}

/// Users unchanged for as many days as their number says, inserted so because the trigger keeps
/// `updated_at` of a changed one.
async fn aged(handle: &impl Handle, days: std::ops::Range<u32>, is_active: bool) {
    for day in days {
        handle
            .sql(&format!(
                "INSERT INTO users (email, hashed_password, is_active, updated_at)
                 VALUES ('{is_active}{day}@example.com', '{}', {is_active}, now() - interval '{day} days')",
                crate::support::LITERAL_HASH
            ))
            .await;
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn erasing_the_inactive_is_bounded(handle: &impl Handle) {
    let users = handle.users();
    aged(handle, 0..8, false).await;
    aged(handle, 0..8, true).await;
    let emails = async || {
        let filter = UserFilter::default().activity(Activity::Inactive);
        let rows = users.list(&filter, &PageRequest::default()).await.expect("read").items;
        let mut emails: Vec<_> = rows.into_iter().map(|u| u.email).collect();
        emails.sort();
        emails
    };
    assert_eq!(users.erase_inactive(10, 100 * DAY).await.expect("ran"), 0);
    assert_eq!(users.erase_inactive(0, 3 * DAY).await.expect("ran"), 0);
    // Oldest first: 7 and 6, then 5, 4 and 3, which is just old enough.
    assert_eq!(users.erase_inactive(2, 3 * DAY).await.expect("ran"), 2);
    let six: Vec<_> = (0..6).map(|day| format!("false{day}@example.com")).collect();
    assert_eq!(emails().await, six);
    assert_eq!(users.erase_inactive(10, 3 * DAY).await.expect("ran"), 3);
    assert_eq!(emails().await, six[..3]);
    assert_eq!(users.erase_inactive(10, 3 * DAY).await.expect("ran"), 0);
    assert_eq!(users.count(&UserFilter::default()).await.expect("read"), 3 + 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_erasers_share_the_work() {
    let db = TestDatabase::new().await.expect("a database");
    aged(&*db, 1..41, false).await;
    let erase = |db: buffetbot_db::Database| async move {
        let mut erased = 0;
        loop {
            match db.users().erase_inactive(3, DAY / 2).await.expect("ran") {
                0 => return erased,
                n => erased += n,
            }
        }
    };
    let (one, two) =
        tokio::join!(tokio::spawn(erase((*db).clone())), tokio::spawn(erase((*db).clone())));
    assert_eq!(one.expect("no panic") + two.expect("no panic"), 40);
    assert_eq!(db.users().count(&UserFilter::default()).await.expect("read"), 0);
}

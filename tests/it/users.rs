//! Users: every verb, on the pool and in a unit of work.

use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{
    Document, Error, NewPosition, NewUser, PageRequest, PortfolioRepository, PositionRepository,
    Repositories, User, UserFilter, UserId, UserPatch, UserRepository,
};
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, hash, parsed, portfolio, user};

conformance! {
    what_is_written_is_read,
    invalid_fields_are_refused_by_name,
    email_and_username_are_unique,
    an_unknown_user_is_told_as_such,
    a_patch_changes_what_it_says,
    an_empty_patch_changes_nothing,
    state_changes_are_idempotent,
    preferences_are_set_merged_and_cleared,
    merging_wants_objects,
    lists_reach_every_row_once,
    filters_select,
    many_are_created_in_order,
    many_or_none,
    deletion_takes_what_is_hers,
    an_export_holds_everything_of_her,
    erasure_counts_what_it_takes,
    erasing_the_inactive_is_bounded,
}

fn document(value: serde_json::Value) -> Document {
    Document::encode(&value).expect("a document")
}

async fn what_is_written_is_read(handle: &impl Handle) {
    let new = NewUser::new("Ada@Example.com", hash())
        .username("ada")
        .name("Ada", "Lovelace")
        .preferences(document(json!({"theme": "dark"})));
    let created = handle.users().create(&new).await.expect("created");
    assert_eq!((created.id, created.email.as_str()), (new.id, "Ada@Example.com"));
    assert_eq!(created.username.as_deref(), Some("ada"));
    assert_eq!(created.full_name().as_deref(), Some("Ada Lovelace"));
    assert_eq!(created.display_name(), "Ada Lovelace");
    assert_eq!(created.preferences, new.preferences);
    assert_eq!(created.hashed_password, hash());
    assert!(created.is_active && !created.is_verified && created.last_login_at.is_none());

    let users = handle.users();
    for found in [
        users.find(created.id).await,
        users.find_by_email("Ada@Example.com").await,
        users.find_by_email("aDA@eXAMPLE.COM").await,
        users.find_by_username("ada").await,
    ] {
        assert_eq!(found.expect("read").as_ref(), Some(&created));
    }
    assert!(users.exists(created.id).await.expect("read"));
    assert!(users.exists_email("ADA@example.com").await.expect("read"));
    assert!(users.exists_username("ada").await.expect("read"));
    // Text is never a pattern, and usernames have a case.
    assert!(!users.exists_email("%@example.com").await.expect("read"));
    assert!(!users.exists_username("ad_").await.expect("read"));
    assert!(!users.exists_username("ADA").await.expect("read"));

    let plain = user(handle, "grace@example.com").await;
    assert_eq!((plain.username.as_ref(), plain.preferences.as_ref()), (None, None));
    assert_eq!(plain.display_name(), "grace");
}

async fn invalid_fields_are_refused_by_name(handle: &impl Handle) {
    let ok = || NewUser::new("ok@example.com", hash());
    let cases = [
        ("email", NewUser::new("", hash())),
        ("email", NewUser::new("nobody", hash())),
        ("email", NewUser::new("@example.com", hash())),
        ("email", NewUser::new("a b@example.com", hash())),
        ("email", NewUser::new(format!("{}@example.com", "x".repeat(244)), hash())),
        ("username", ok().username(" ")),
        ("username", ok().username("x".repeat(101))),
        ("username", ok().username("zero\0")),
        ("first_name", ok().name("", "Lovelace")),
        ("last_name", ok().name("Ada", "é".repeat(101))),
    ];
    for (expected, new) in cases {
        let error = handle.attempt(handle.users().create(&new)).await.expect_err(expected);
        assert!(matches!(&error, Error::Invalid { field, .. } if field == expected), "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("Lovelace") && !shown.contains("example"), "{shown}");
        let many = handle.attempt(handle.users().create_many(&[ok(), new])).await;
        assert!(matches!(many, Err(Error::Item { index: 1, .. })), "{many:?}");
    }
    assert_eq!(handle.users().count(&UserFilter::default()).await.expect("read"), 0);
    // The longest that fit.
    let long = ok().username("é".repeat(100)).name("é".repeat(100), "é".repeat(100));
    let long = NewUser { email: format!("{}@example.com", "é".repeat(243)), ..long };
    handle.users().create(&long).await.expect("fits");
}

async fn email_and_username_are_unique(handle: &impl Handle) {
    let first = NewUser::new("ada@example.com", hash()).username("ada");
    let first = handle.users().create(&first).await.expect("created");
    let other = user(handle, "grace@example.com").await;
    let twins = [
        ("users_email_lower_key", NewUser::new("ADA@example.COM", hash())),
        ("users_username_key", NewUser::new("new@example.com", hash()).username("ada")),
    ];
    for (expected, twin) in twins {
        let error = handle.attempt(handle.users().create(&twin)).await.expect_err(expected);
        let Error::Conflict { entity, constraint } = error else { panic!("{error}") };
        assert_eq!((entity.as_str(), constraint.as_str()), ("users", expected));
        let patch = UserPatch {
            email: Some(twin.email.clone()),
            username: Some(twin.username.clone()),
            ..UserPatch::default()
        };
        let error = handle.attempt(handle.users().update(other.id, &patch)).await;
        assert!(matches!(error, Err(Error::Conflict { .. })), "{error:?}");
    }
    // Her own address in another case is no conflict.
    let patch = UserPatch { email: Some("ADA@example.com".into()), ..UserPatch::default() };
    let changed = handle.users().update(first.id, &patch).await.expect("changed");
    assert_eq!(changed.email, "ADA@example.com");
    assert_eq!(handle.users().find(other.id).await.expect("read"), Some(other));
}

async fn an_unknown_user_is_told_as_such(handle: &impl Handle) {
    let (users, id) = (handle.users(), UserId::generate());
    assert_eq!(users.find(id).await.expect("read"), None);
    assert_eq!(users.find_by_email("nobody@example.com").await.expect("read"), None);
    assert_eq!(users.find_by_username("nobody").await.expect("read"), None);
    assert!(!users.exists(id).await.expect("read"));
    assert!(!users.delete(id).await.expect("ran"));
    assert_eq!(users.export(id).await.expect("read"), None);
    assert_eq!(users.erase(id).await.expect("ran"), None);
    let patch = UserPatch { is_active: Some(true), ..UserPatch::default() };
    let changes = json!({"a": 1});
    for missing in [
        users.update(id, &patch).await.map(|_| ()),
        users.update(id, &UserPatch::default()).await.map(|_| ()),
        users.set_password(id, &hash()).await,
        users.record_login(id).await.map(|_| ()),
        users.verify(id).await.map(|_| ()),
        users.activate(id).await.map(|_| ()),
        users.deactivate(id).await.map(|_| ()),
        users.preferences(id).await.map(|_| ()),
        users.set_preferences(id, None).await,
        users.merge_preferences(id, &document(changes)).await.map(|_| ()),
    ] {
        let error = missing.expect_err("nobody is there");
        let Error::NotFound { entity, key } = error else { panic!("{error}") };
        assert_eq!((entity, key), ("user", id.to_string()));
    }
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let new = NewUser::new("ada@example.com", hash()).username("ada").name("Ada", "Lovelace");
    let before = handle.users().create(&new).await.expect("created");
    let patch: UserPatch = serde_json::from_value(
        json!({"username": null, "first_name": "Augusta", "is_verified": true}),
    )
    .expect("a patch");
    let after = handle.users().update(before.id, &patch).await.expect("changed");
    assert!(after.updated_at > before.updated_at);
    let expected = User {
        username: None,
        first_name: Some("Augusta".into()),
        is_verified: true,
        updated_at: after.updated_at,
        ..before
    };
    assert_eq!(after, expected);
    assert_eq!(handle.users().find(after.id).await.expect("read"), Some(after.clone()));

    let other = parsed("$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW");
    handle.users().set_password(after.id, &other).await.expect("changed");
    let stored = handle.users().find(after.id).await.expect("read").expect("there");
    assert_eq!(stored.hashed_password, other);
    assert!(stored.updated_at > after.updated_at);
}

async fn an_empty_patch_changes_nothing(handle: &impl Handle) {
    let before = user(handle, "ada@example.com").await;
    let patch: UserPatch = serde_json::from_value(json!({})).expect("a patch");
    assert_eq!(handle.users().update(before.id, &patch).await.expect("no error"), before);
    // A patch that says what is there already moves nothing either.
    let same = UserPatch { is_active: Some(true), ..UserPatch::default() };
    assert_eq!(handle.users().update(before.id, &same).await.expect("no error"), before);
}

async fn state_changes_are_idempotent(handle: &impl Handle) {
    let (users, ada) = (handle.users(), user(handle, "ada@example.com").await);
    for _ in 0..2 {
        assert!(!users.deactivate(ada.id).await.expect("ran").is_active);
    }
    for _ in 0..2 {
        assert!(users.activate(ada.id).await.expect("ran").is_active);
    }
    for _ in 0..2 {
        assert!(users.verify(ada.id).await.expect("ran").is_verified);
    }
    let first = users.record_login(ada.id).await.expect("ran").last_login_at.expect("noted");
    let again = users.record_login(ada.id).await.expect("ran").last_login_at.expect("noted");
    assert!(first >= ada.created_at && again >= first);
}

async fn preferences_are_set_merged_and_cleared(handle: &impl Handle) {
    let (users, id) = (handle.users(), user(handle, "ada@example.com").await.id);
    assert_eq!(users.preferences(id).await.expect("read"), None);
    // Merging into none makes them.
    let merged = users.merge_preferences(id, &document(json!({"a": 1}))).await.expect("merged");
    assert_eq!(merged, document(json!({"a": 1})));

    let exact = r#"{"big": 9007199254740993, "text": "naïve 💶", "list": [1, {"x": null}]}"#;
    let exact = Document::parse(exact).expect("JSON");
    users.set_preferences(id, Some(&exact)).await.expect("set");
    let stored = users.preferences(id).await.expect("read").expect("there");
    assert_eq!(stored.as_str(), exact.as_str());

    let changes = document(json!({"text": "new", "list": {"y": 2}, "more": true}));
    let merged = users.merge_preferences(id, &changes).await.expect("merged");
    let expected = r#"{"big": 9007199254740993, "text": "new", "list": {"y": 2}, "more": true}"#;
    assert_eq!(merged, Document::parse(expected).expect("JSON"));
    assert_eq!(users.preferences(id).await.expect("read"), Some(merged));

    users.set_preferences(id, None).await.expect("cleared");
    assert_eq!(users.preferences(id).await.expect("read"), None);
}

async fn merging_wants_objects(handle: &impl Handle) {
    let (users, id) = (handle.users(), user(handle, "ada@example.com").await.id);
    let object = document(json!({"a": 1}));
    for other in [json!([1]), json!("text"), json!(null), json!(1)] {
        let other = document(other);
        let refused = users.merge_preferences(id, &other).await;
        assert!(matches!(&refused, Err(Error::Invalid { field, .. }) if field == "preferences"));
        users.set_preferences(id, Some(&other)).await.expect("any document can be set");
        let refused = users.merge_preferences(id, &object).await;
        assert!(matches!(&refused, Err(Error::Invalid { field, .. }) if field == "preferences"));
        assert_eq!(users.preferences(id).await.expect("read"), Some(other));
    }
}

async fn lists_reach_every_row_once(handle: &impl Handle) {
    let users = handle.users();
    assert!(
        users
            .list(&UserFilter::default(), &PageRequest::default())
            .await
            .expect("read")
            .items
            .is_empty()
    );
    let new: Vec<_> = (0..23).map(|i| NewUser::new(format!("u{i}@example.com"), hash())).collect();
    users.create_many(&new).await.expect("created");
    // Three moments only, so that pages end among equal ones.
    handle
        .sql("UPDATE users SET created_at = '2024-01-01Z'::timestamptz + (length(id::text || email) % 3) * interval '1 day'")
        .await;
    for size in [1, 5, 22, 23, 24, 10_000] {
        let rows =
            every_page(size, async |page| users.list(&UserFilter::default(), &page).await).await;
        let keys: Vec<_> = rows.iter().map(|u| (u.created_at, u.id)).collect();
        assert_eq!(keys.len(), 23, "pages of {size}");
        assert!(keys.is_sorted_by(|a, b| a > b), "pages of {size}");
    }
}

async fn filters_select(handle: &impl Handle) {
    let users = handle.users();
    for (i, (active, verified)) in
        [(true, true), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let id = user(handle, &format!("u{i}@example.com")).await.id;
        let patch = UserPatch {
            is_active: Some(active),
            is_verified: Some(verified),
            ..UserPatch::default()
        };
        users.update(id, &patch).await.expect("changed");
    }
    let cases = [
        (None, None, 4),
        (Some(true), None, 3),
        (Some(false), None, 1),
        (None, Some(true), 3),
        (Some(true), Some(true), 2),
        (Some(false), Some(false), 0),
    ];
    for (is_active, is_verified, expected) in cases {
        let filter = UserFilter { is_active, is_verified };
        assert_eq!(users.count(&filter).await.expect("read"), expected);
        let rows = users.list(&filter, &PageRequest::default()).await.expect("read").items;
        assert_eq!(rows.len() as u64, expected);
        assert!(rows.iter().all(|u| is_active.is_none_or(|a| a == u.is_active)));
        assert!(rows.iter().all(|u| is_verified.is_none_or(|v| v == u.is_verified)));
    }
}

async fn many_are_created_in_order(handle: &impl Handle) {
    let users = handle.users();
    assert_eq!(users.create_many(&[]).await.expect("none is fine"), []);
    let new: Vec<_> =
        (0..1234).map(|i| NewUser::new(format!("u{i}@example.com"), hash())).collect();
    let created = users.create_many(&new).await.expect("created");
    assert!(created.iter().map(|u| u.id).eq(new.iter().map(|u| u.id)));
    assert_eq!(users.find(new[777].id).await.expect("read").as_ref(), Some(&created[777]));
    assert_eq!(users.count(&UserFilter::default()).await.expect("read"), 1234);
}

async fn many_or_none(handle: &impl Handle) {
    let users = handle.users();
    user(handle, "taken@example.com").await;
    let of = |emails: &[&str]| emails.iter().map(|e| NewUser::new(*e, hash())).collect::<Vec<_>>();
    let mut large = of(&["a@example.com"; 0]);
    large.extend((0..1100).map(|i| NewUser::new(format!("u{i}@example.com"), hash())));
    large.push(NewUser::new("Taken@example.com", hash()));
    let cases = [
        (2, of(&["a@example.com", "b@example.com", "TAKEN@example.com", "c@example.com"])),
        (1, of(&["a@example.com", "A@example.com"])),
        (1100, large),
    ];
    for (culprit, new) in cases {
        let error = handle.attempt(users.create_many(&new)).await.expect_err("one is taken");
        let Error::Item { index, source } = error else { panic!("{error}") };
        assert_eq!(index, culprit);
        assert!(matches!(*source, Error::Conflict { .. }), "{source}");
        assert_eq!(users.count(&UserFilter::default()).await.expect("read"), 1);
    }
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
    assert!(
        positions
            .iter()
            .all(|p| p["shares"].to_string() == "1.5" || p["shares"].to_string() == "1.5000000000")
    );
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
                hash().expose()
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
        let filter = UserFilter { is_active: Some(false), ..UserFilter::default() };
        let rows = users.list(&filter, &PageRequest::default()).await.expect("read").items;
        let mut emails: Vec<_> = rows.into_iter().map(|u| u.email).collect();
        emails.sort();
        emails
    };
    assert_eq!(users.erase_inactive(100 * DAY, 10).await.expect("ran"), 0);
    assert_eq!(users.erase_inactive(3 * DAY, 0).await.expect("ran"), 0);
    // Oldest first: 7 and 6, then 5, 4 and 3, which is just old enough.
    assert_eq!(users.erase_inactive(3 * DAY, 2).await.expect("ran"), 2);
    let six: Vec<_> = (0..6).map(|day| format!("false{day}@example.com")).collect();
    assert_eq!(emails().await, six);
    assert_eq!(users.erase_inactive(3 * DAY, 10).await.expect("ran"), 3);
    assert_eq!(emails().await, six[..3]);
    assert_eq!(users.erase_inactive(3 * DAY, 10).await.expect("ran"), 0);
    assert_eq!(users.count(&UserFilter::default()).await.expect("read"), 3 + 8);
}

#[test]
fn a_password_hash_never_leaves_by_serde_or_debug() {
    let new = NewUser::new("ada@example.com", hash());
    let shown = format!("{new:?} {}", serde_json::to_string(&new).expect("JSON"));
    assert!(!shown.contains("RdescudvJCs"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_accounts_for_one_address_one_is_made() {
    let db = TestDatabase::new().await.expect("a database");
    let tasks: Vec<_> = (0..8)
        .map(|i| {
            let db = (*db).clone();
            let email = if i % 2 == 0 { "ada@example.com" } else { "ADA@example.com" };
            tokio::spawn(async move { db.users().create(&NewUser::new(email, hash())).await })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(db.users().count(&UserFilter::default()).await.expect("read"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn merges_at_once_lose_nothing() {
    let db = TestDatabase::new().await.expect("a database");
    let id = user(&*db, "ada@example.com").await.id;
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let db = (*db).clone();
            tokio::spawn(async move {
                let changes = Document::encode(&json!({ format!("key{i}"): i })).expect("JSON");
                db.users().merge_preferences(id, &changes).await
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no panic").expect("merged");
    }
    let merged = db.users().preferences(id).await.expect("read").expect("there");
    let merged: serde_json::Map<String, serde_json::Value> = merged.decode().expect("an object");
    assert_eq!(merged.len(), 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_erasers_share_the_work() {
    let db = TestDatabase::new().await.expect("a database");
    aged(&*db, 1..41, false).await;
    let erase = |db: buffetbot_db::Database| async move {
        let mut erased = 0;
        loop {
            match db.users().erase_inactive(DAY / 2, 3).await.expect("ran") {
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

/// A part of a program holds the trait object, not the database.
#[tokio::test]
async fn the_trait_is_dyn_compatible() {
    let db = TestDatabase::new().await.expect("a database");
    let users: Arc<dyn UserRepository> = Arc::new(db.users().clone());
    let made = users.create(&NewUser::new("ada@example.com", hash())).await.expect("created");
    assert_eq!(users.find(made.id).await.expect("read"), Some(made));
}

mod plans {
    use diesel_async::SimpleAsyncConnection;

    use super::*;
    use crate::support::plan::{Recorder, assert_index};

    const SEED: &str = "
        INSERT INTO users (email, username, hashed_password, is_active, created_at)
        SELECT 'U' || u || '@example.com', 'u' || u, '{hash}', u % 100 > 0,
            '2024-01-01Z'::timestamptz + (u / 10) * interval '1 minute'
        FROM generate_series(1, 20000) u;
        ANALYZE";

    #[tokio::test]
    async fn every_hot_statement_is_one_and_has_its_index() {
        let (db, recorder) = Recorder::database().await;
        let seed = SEED.replace("{hash}", hash().expose());
        let connection = db.connection().await.expect("a connection");
        connection.as_diesel().batch_execute(&seed).await.expect("seeded");
        drop(connection);
        let users = db.users();
        let (filter, page) = (UserFilter::default(), PageRequest::first(10));

        recorder.take();
        let first = users.list(&filter, &page).await.expect("read");
        assert_index(&db, &recorder.only(), &["11"], "users", "users_created_idx").await;

        recorder.take();
        let page = PageRequest::after(10, first.next.expect("there are more"));
        users.list(&filter, &page).await.expect("read");
        let id = format!("'{}'", first.items[9].id);
        let arguments = ["'2024-01-02 12:00Z'", "'2024-01-02 12:00Z'", &*id, "11"];
        assert_index(&db, &recorder.only(), &arguments, "users", "users_created_idx").await;

        recorder.take();
        assert!(users.exists_email("u17@example.com").await.expect("read"));
        let arguments = ["'U17@example.com'"];
        assert_index(&db, &recorder.only(), &arguments, "users", "users_email_lower_key").await;

        recorder.take();
        assert!(users.exists_username("u17").await.expect("read"));
        assert_index(&db, &recorder.only(), &["'u17'"], "users", "users_username_key").await;

        recorder.take();
        users.record_login(first.items[0].id).await.expect("noted");
        assert_index(&db, &recorder.only(), &[&id], "users", "users_pkey").await;

        recorder.take();
        let changes = document(json!({"a": 1}));
        users.merge_preferences(first.items[0].id, &changes).await.expect("merged");
        assert_index(&db, &recorder.only(), &[&id, "'{}'"], "users", "users_pkey").await;

        recorder.take();
        users.export(first.items[0].id).await.expect("read").expect("there");
        recorder.only();
        users.erase(first.items[0].id).await.expect("erased").expect("there");
        recorder.only();
    }
}

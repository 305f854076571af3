//! Users: every verb, on the pool and in a unit of work.

use std::sync::Arc;

use buffetbot_db::error::{Entity, constraints};
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{Activity, Document, PageRequest, UserId};
use buffetbot_db::users::{NewUser, User, UserFilter, UserPatch, UserRepository};
use buffetbot_db::{Error, Repositories};
use futures_util::TryStreamExt;
use serde_json::json;

use crate::support::handle::Handle;
use crate::support::{every_page, hash, parsed, user};

mod concurrent;
mod erasure;
mod plans;
mod traces;
mod units;

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
    searched_by_the_words_of_name_and_address,
    many_are_created_in_order,
    many_or_none,
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
    // What no row can hold is refused before the server would abort a transaction over it.
    for (expected, refused) in [
        ("email", users.find_by_email("ada\0").await.map(|_| ())),
        ("email", users.exists_email("ada\0").await.map(|_| ())),
        ("username", users.find_by_username("ada\0").await.map(|_| ())),
        ("username", users.exists_username("ada\0").await.map(|_| ())),
    ] {
        let error = refused.expect_err("NUL");
        assert!(matches!(&error, Error::Invalid { field, .. } if field == expected), "{error}");
    }

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
        (constraints::USERS_EMAIL, NewUser::new("ADA@example.COM", hash())),
        (constraints::USERS_USERNAME, NewUser::new("new@example.com", hash()).username("ada")),
    ];
    for (expected, twin) in twins {
        let error = handle.attempt(handle.users().create(&twin)).await.expect_err(expected);
        assert!(error.is_conflict_of(expected), "{error:?}");
        assert!(matches!(error, Error::Conflict { entity: Entity::User, .. }), "{error:?}");
        let patch = UserPatch::default().email(twin.email.clone()).username(twin.username.clone());
        let error = handle.attempt(handle.users().update(other.id, &patch)).await;
        assert!(matches!(error, Err(Error::Conflict { .. })), "{error:?}");
    }
    // Her own address in another case is no conflict.
    let patch = UserPatch::default().email("ADA@example.com");
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
    let patch = UserPatch::default().is_active(true);
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
        assert_eq!((entity, key), (Entity::User, id.to_string()));
    }
}

async fn a_patch_changes_what_it_says(handle: &impl Handle) {
    let new = NewUser::new("ada@example.com", hash()).username("ada").name("Ada", "Lovelace");
    let before = handle.users().create(&new).await.expect("created");
    let patch: UserPatch = serde_json::from_value(
        json!({"username": null, "first_name": "Augusta", "is_verified": true}),
    )
    .expect("a patch");
    let json = serde_json::to_value(&patch).expect("JSON");
    assert_eq!(json, json!({"username": null, "first_name": "Augusta", "is_verified": true}));
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
    let same = UserPatch::default().is_active(true);
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
        let patch = UserPatch::default().is_active(active).is_verified(verified);
        users.update(id, &patch).await.expect("changed");
    }
    let cases = [
        (Activity::Any, None, 4),
        (Activity::Active, None, 3),
        (Activity::Inactive, None, 1),
        (Activity::Any, Some(true), 3),
        (Activity::Active, Some(true), 2),
        (Activity::Inactive, Some(false), 0),
    ];
    for (activity, is_verified, expected) in cases {
        let filter = UserFilter::default().activity(activity).is_verified(is_verified);
        assert_eq!(users.count(&filter).await.expect("read"), expected);
        let rows = users.list(&filter, &PageRequest::default()).await.expect("read").items;
        assert_eq!(rows.len() as u64, expected);
        let is_active =
            |u: &User| activity == Activity::Any || u.is_active == (activity == Activity::Active);
        assert!(rows.iter().all(is_active));
        assert!(rows.iter().all(|u| is_verified.is_none_or(|v| v == u.is_verified)));
    }
}

async fn searched_by_the_words_of_name_and_address(handle: &impl Handle) {
    let users = handle.users();
    let named = |email: &str, first: &str, last: &str| {
        NewUser::new(email, hash()).name(first, last).username(format!("{first}_{last}"))
    };
    for (email, first, last) in [
        ("ada@example.com", "Ada", "Lovelace"),
        ("grace@example.com", "Grace", "Hopper"),
        ("100%@example.org", "Per", "Cent"),
    ] {
        users.create(&named(email, first, last)).await.expect("created");
    }
    user(handle, "nameless@example.com").await;
    let found = async |text: &str| {
        let page = users.search(text, &PageRequest::default()).await.expect("read");
        let mut found: Vec<String> = page.items.into_iter().map(|user| user.email).collect();
        found.sort();
        found
    };
    assert_eq!(found("LOVE ada").await, ["ada@example.com"]);
    assert_eq!(found("hopper example.com").await, ["grace@example.com"]);
    assert_eq!(found("nameless").await, ["nameless@example.com"]);
    // Signs of a pattern are signs of a text.
    assert_eq!(found("%").await, ["100%@example.org"]);
    assert_eq!(found("a_a").await, [""; 0]);
    assert_eq!(found("ada hopper").await, [""; 0]);
    assert_eq!(found(" ").await.len(), 4);
    let first = users.search("example", &PageRequest::first(3)).await.expect("read");
    let rest = PageRequest::after(3, first.next.expect("a next page"));
    let rest = users.search("example", &rest).await.expect("read");
    assert_eq!((first.items.len(), rest.items.len(), rest.next), (3, 1, None));
    for wrong in ["\0".to_owned(), "x".repeat(256)] {
        let refused = handle.attempt(users.search(&wrong, &PageRequest::default())).await;
        assert!(
            matches!(&refused, Err(Error::Invalid { field, .. }) if field == "text"),
            "{refused:?}"
        );
    }
    let streamed: Vec<User> =
        users.stream(&UserFilter::default()).try_collect().await.expect("read");
    assert_eq!(streamed.len(), 4);
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

#[test]
fn a_password_hash_never_leaves_by_serde_or_debug() {
    let new = NewUser::new("ada@example.com", hash());
    let shown = format!("{new:?} {}", serde_json::to_string(&new).expect("JSON"));
    assert!(!shown.contains("RdescudvJCs"), "{shown}");
}

/// A part of a program holds the trait object, not the database.
#[tokio::test]
async fn the_trait_is_dyn_compatible() {
    let db = TestDatabase::new().await.expect("a database");
    let users: Arc<dyn UserRepository> = db.users_arc();
    let made = users.create(&NewUser::new("ada@example.com", hash())).await.expect("created");
    assert_eq!(users.find(made.id).await.expect("read"), Some(made));
}

//! B6: of every method that writes and returns what it wrote, where that cannot be read: an error says that it was
//! written, with the id, or nothing was written.

use std::collections::{BTreeMap, BTreeSet};

use crate::api::*;
use tokio_postgres::Client;

use super::other_program;
use crate::cancellation::every_method::{Given, Start, calls};
use crate::support::{database, parsed, somebody};

/// Whatever is written cannot be read back, and is noted in the transaction that wrote it.
const SPOIL: &str = "
    CREATE TABLE touched (id uuid);
    CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
    BEGIN
        INSERT INTO touched VALUES (NEW.id);
        IF TG_TABLE_NAME = 'market_data_cache' THEN
            NEW.expires_at := 'infinity';
        ELSIF TG_TABLE_NAME = 'options_data' THEN
            NEW.bid := 'NaN';
        ELSE
            NEW.created_at := 'infinity';
        END IF;
        IF TG_TABLE_NAME = 'users' THEN
            NEW.preferences := '{';
        END IF;
        RETURN NEW;
    END $$;
    DO $$ DECLARE name text; BEGIN
        FOREACH name IN ARRAY ARRAY['users', 'portfolios', 'positions', 'analysis_results', 'market_data_cache',
            'corporate_actions', 'price_history', 'options_data']
        LOOP EXECUTE format('CREATE TRIGGER zz_spoil BEFORE INSERT OR UPDATE ON %I
            FOR EACH ROW EXECUTE FUNCTION spoil()', name); END LOOP;
    END $$";

/// What is there can be read again, and nothing is noted.
const MEND: &str = "
    UPDATE users SET created_at = '2024-01-01Z', preferences = NULL WHERE created_at = 'infinity';
    UPDATE portfolios SET created_at = '2024-01-01Z' WHERE created_at = 'infinity';
    UPDATE positions SET created_at = '2024-01-01Z' WHERE created_at = 'infinity';
    UPDATE analysis_results SET created_at = '2024-01-01Z' WHERE created_at = 'infinity';
    UPDATE market_data_cache SET expires_at = now() + interval '1 h' WHERE expires_at = 'infinity';
    UPDATE corporate_actions SET created_at = '2024-01-01Z' WHERE created_at = 'infinity';
    UPDATE price_history SET created_at = '2024-01-01Z' WHERE created_at = 'infinity';
    UPDATE options_data SET bid = NULL WHERE bid = 'NaN';
    DELETE FROM touched";

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

/// One statement that commits by itself.
const SINGLE: [&str; 31] = [
    "analyses.create",
    "analyses.update",
    "corporate_actions.create",
    "corporate_actions.update",
    "market_cache.create",
    "market_cache.put",
    "market_cache.put_with",
    "market_cache.refresh",
    "market_cache.update",
    "options.create",
    "options.update",
    "portfolios.activate",
    "portfolios.create",
    "portfolios.deactivate",
    "portfolios.update",
    "positions.create",
    "positions.move_to",
    "positions.remove",
    "positions.update",
    "positions.upsert",
    "prices.create",
    "prices.update",
    "users.activate",
    "users.create",
    "users.deactivate",
    "users.merge_preferences",
    "users.record_login",
    "users.update",
    "users.update_profile",
    "users.verify",
    // Written by another name in this test: see `more`.
    "users.update_profile of an address",
];

/// Transactions.
const BATCHES: [&str; 9] = [
    "analyses.create_many",
    "corporate_actions.create_many",
    "market_cache.create_many",
    "options.create_many",
    "portfolios.create_many",
    "portfolios.duplicate",
    "positions.create_many",
    "prices.create_many",
    "users.create_many",
];

/// Calls that change rows which are there, where the others name such as are not.
fn more() -> [(&'static str, Start); 3] {
    [
        ("positions.remove", |repos, given| {
            Box::pin(async move {
                repos.positions().remove(given.portfolio.id, given.position.id).await.map(drop)
            })
        }),
        ("positions.move_to", |repos, given| {
            Box::pin(async move {
                let (from, to) = (given.portfolio.id, given.other_portfolio.id);
                let moved = repos.positions().move_to(from, given.position.id, to).await;
                // And back, for the next handle.
                if let Err(Error::WrittenUnreadable { .. }) = &moved {
                    let _ = repos.positions().move_to(to, given.position.id, from).await;
                }
                moved.map(drop)
            })
        }),
        ("users.update_profile of an address", |repos, given| {
            Box::pin(async move {
                let patch = ProfilePatch::default().email("lovelace@example.com");
                repos.users().update_profile(given.user.id, &patch).await.map(drop)
            })
        }),
    ]
}

async fn touched(other: &Client) -> BTreeSet<String> {
    let rows = other.query("SELECT id::text FROM touched", &[]).await.expect("notes");
    rows.iter().map(|row| row.get(0)).collect()
}

#[derive(Debug, PartialEq, Clone, Copy)]
enum Told {
    Written,
    NotWritten,
}

/// What an error says of the row, which must be so.
async fn told(name: &str, done: &Result<()>, other: &Client) -> Option<Told> {
    let written = touched(other).await;
    match done {
        Err(error @ Error::WrittenUnreadable { table, key, column, reason }) => {
            assert!(written.contains(key), "{name}: {key} of {written:?}");
            assert!(error.to_string().contains(key.as_str()) && !reason.is_empty(), "{name}");
            assert!(!table.contains('?') && !column.contains('?'), "{name}: {table}.{column}");
            Some(Told::Written)
        }
        Err(Error::Item { source, .. }) if matches!(**source, Error::Corrupt { .. }) => {
            assert_eq!(written, BTreeSet::new(), "{name}");
            Some(Told::NotWritten)
        }
        Err(Error::Corrupt { table, key, column, .. }) => {
            assert_eq!(written, BTreeSet::new(), "{name}");
            assert!(
                ![table, key, column].iter().any(|part| part.contains('?')),
                "{name}: {done:?}"
            );
            Some(Told::NotWritten)
        }
        _ => None,
    }
}

#[tokio::test]
async fn b6_what_cannot_be_read_back_was_written_or_not_as_the_error_says() {
    let db = database(3).await;
    let given = Given::new(&db).await;
    let other = other_program(&db).await;
    other.batch_execute(SPOIL).await.expect("triggers");
    let all: Vec<(&str, Start)> = calls().into_iter().chain(more()).collect();
    let (mut pool, mut tenant, mut unit) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for (name, start) in all {
        other.batch_execute(MEND).await.expect(name);
        let done = start(db.repositories(), &given).await;
        pool.extend(told(name, &done, &other).await.map(|told| (name, told)));

        other.batch_execute(MEND).await.expect(name);
        let scope = db.as_user(given.user.id);
        let done = start(scope.repositories(), &given).await;
        tenant.extend(told(name, &done, &other).await.map(|told| (name, told)));

        other.batch_execute(MEND).await.expect(name);
        let work = db.begin().await.expect("a unit");
        let done = start(work.repositories(), &given).await;
        if done.is_err() {
            // Whether it can be committed or not, nothing of it stays.
            let _ = work.commit().await;
        }
        unit.extend(told(name, &done, &other).await.map(|told| (name, told)));
    }
    let names = |of: &BTreeMap<&'static str, Told>, told| -> Vec<&str> {
        of.iter().filter(|(_, t)| **t == told).map(|(name, _)| *name).collect()
    };
    let sorted = |names: &[&'static str]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&pool, Told::Written), sorted(&SINGLE));
    assert_eq!(names(&pool, Told::NotWritten), sorted(&BATCHES));
    for of in [&tenant, &unit] {
        assert_eq!(names(of, Told::Written), [""; 0]);
    }
    assert_eq!(names(&unit, Told::NotWritten), sorted(&[&SINGLE[..], &BATCHES].concat()));
    assert!(tenant.len() > 12, "{tenant:?}");
}

/// The example: one good row and one that ends beyond what can be read.
#[tokio::test]
async fn b6_a_batch_with_one_row_that_cannot_be_read_back_is_not_stored() {
    let db = database(2).await;
    let other = other_program(&db).await;
    let trigger = "
        CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN NEW.stale_until := 'infinity'; RETURN NEW; END $$;
        CREATE TRIGGER zz_spoil BEFORE INSERT ON analysis_results FOR EACH ROW WHEN (NEW.ticker = 'A')
            EXECUTE FUNCTION spoil()";
    other.batch_execute(trigger).await.expect("a trigger");
    let hour = std::time::Duration::from_secs(3600);
    let good = NewAnalysis::new(parsed("B"), AnalysisType::Value);
    let bad = NewAnalysis::new(parsed("A"), AnalysisType::Value).ttl(hour);
    match db.analyses().create_many(&[good, bad.clone()]).await {
        Err(Error::Item { index, source }) => {
            assert_eq!(index, 1);
            assert!(
                matches!(&*source, Error::Corrupt { table, key, column, .. } if table == "analysis_results"
                    && *key == bad.id.to_string() && column == "stale_until"),
                "{source:?}"
            );
        }
        done => panic!("{done:?}"),
    }
    assert_eq!(db.analyses().count(&AnalysisFilter::default()).await.expect("read"), 0);
    // Alone it is stored, and taken away like any other.
    let error = db.analyses().create(&bad).await.expect_err("unreadable");
    assert!(matches!(&error, Error::WrittenUnreadable { key, .. } if *key == bad.id.to_string()));
    let page = db.analyses().list(&AnalysisFilter::default(), &PageRequest::first(10)).await;
    let page = page.expect("a page");
    assert_eq!((page.items.len(), page.unreadable.len()), (0, 1));
    let selector = AnalysisSelector { ticker: Some(parsed("A")), ..AnalysisSelector::default() };
    assert_eq!(db.analyses().invalidate(&selector).await.expect("invalidated"), 1);
    let swept = db.analyses().sweep_expired(10, std::time::Duration::ZERO).await.expect("swept");
    assert_eq!(swept.deleted, 1);
    drop(other);
}

/// In a unit of work such a call aborts the transaction; a savepoint bounds that, as with an error of the server.
#[tokio::test]
async fn b6_a_savepoint_takes_back_what_cannot_be_read_back() {
    let db = database(2).await;
    let other = other_program(&db).await;
    other.batch_execute(SPOIL).await.expect("triggers");
    let unit = db.begin().await.expect("a unit");
    let tried: Result<()> =
        unit.savepoint(async |unit| unit.users().create(&somebody()).await.map(drop)).await;
    assert!(matches!(&tried, Err(Error::Corrupt { .. })), "{tried:?}");
    assert_eq!(unit.users().count(&UserFilter::default()).await.expect("it goes on"), 0);
    assert!(matches!(unit.users().create(&somebody()).await, Err(Error::Corrupt { .. })));
    assert!(matches!(unit.users().count(&UserFilter::default()).await, Err(Error::Ended { .. })));
    assert!(unit.commit().await.is_err());
    assert_eq!(db.users().count(&UserFilter::default()).await.expect("read"), 0);
}

/// What is merged into or reckoned with is looked at before it is used: an error of the server would blame an argument, and
/// end the transaction.
#[tokio::test]
async fn b6_what_cannot_be_read_is_not_built_upon() {
    let db = database(3).await;
    let given = Given::new(&db).await;
    let id = given.user.id;
    let changes = Document::parse(r#"{"a": 1}"#).expect("JSON");
    let (entry, key) = (&given.entry, given.entry.key());
    let other = other_program(&db).await;
    let deep = "[".repeat(500) + &"]".repeat(500);
    let corrupt = |result: Result<()>| match result {
        Err(Error::Corrupt { table, key, column, reason }) => (table, key, column, reason),
        other => panic!("{other:?}"),
    };
    for stored in ["not json", "", deep.as_str()] {
        let spoil = format!("UPDATE users SET preferences = '{stored}' WHERE id = '{id}'");
        other.batch_execute(&spoil).await.expect("spoilt");
        let expected = corrupt(db.users().preferences(id).await.map(drop));
        assert_eq!((&*expected.0, &*expected.1), ("users", &*id.to_string()));
        assert_eq!(expected.2, "preferences");
        let (scope, unit) = (db.as_user(id), db.begin().await.expect("a unit"));
        for users in [db.users(), scope.users(), unit.users()] {
            let merged = users.merge_preferences(id, &changes).await.map(drop);
            assert_eq!(corrupt(merged), expected, "{stored:.20}");
        }
        let kept: String =
            other.query_one("SELECT preferences FROM users", &[]).await.expect("read").get(0);
        assert_eq!(kept, stored);
        assert_eq!(unit.users().count(&UserFilter::default()).await.expect("it goes on"), 1);
    }

    let unit = db.begin().await.expect("a unit");
    for stored in ["infinity", "-infinity", "294000-01-01Z"] {
        let spoil = format!(
            "UPDATE market_data_cache SET expires_at = '{stored}' WHERE id = '{}'",
            entry.id
        );
        other.batch_execute(&spoil).await.expect("spoilt");
        for cache in [db.market_cache(), unit.market_cache()] {
            let refreshed = cache.refresh(&key, HOUR).await.map(drop);
            let (table, row, column, _) = corrupt(refreshed);
            assert_eq!((&*table, &*column), ("market_data_cache", "expires_at"), "{stored}");
            assert_eq!(row, entry.id.to_string());
        }
        assert_eq!(unit.users().count(&UserFilter::default()).await.expect("it goes on"), 1);
    }
    let unknown = CacheKey::new(&parsed("NONE"), DataType::NEWS);
    let none = unit.market_cache().refresh(&unknown, HOUR).await;
    assert!(matches!(none, Err(Error::NotFound { .. })), "{none:?}");
    drop(unit);
    other.batch_execute("UPDATE market_data_cache SET expires_at = now()").await.expect("mended");
    db.market_cache().refresh(&key, HOUR).await.expect("refreshed");
}

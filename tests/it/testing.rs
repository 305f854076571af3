//! Test databases: isolated, in parallel, and gone afterwards.

use std::collections::HashSet;

use buffetbot_db::Repositories;
use buffetbot_db::embedded::{EmbeddedOptions, EmbeddedServer};
use buffetbot_db::testing::{TestDatabase, fixtures};

use crate::embedded::{Program, Scratch, eventually, query, sql, start};

/// The test databases of the server of `url`.
const NAMES: &str =
    "SELECT datname FROM pg_database WHERE datname LIKE 'bdb\\_test\\_%' ORDER BY 1";

async fn exists(url: &str, name: &str) -> bool {
    let found = format!("SELECT 1 FROM pg_database WHERE datname = '{name}'");
    !query(url, &found).await.unwrap().is_empty()
}

#[tokio::test]
async fn is_migrated_and_its_own() {
    let one = TestDatabase::new().await.unwrap();
    let two = TestDatabase::new().await.unwrap();
    assert_eq!(one.pending().await.unwrap(), [""; 0]);
    query(one.url(), "CREATE TABLE only_here ()").await.unwrap();
    let tables = "SELECT to_regclass('users') IS NOT NULL, to_regclass('only_here')";
    assert_eq!(query(two.url(), tables).await.unwrap(), ["t"]);
    let error = query(two.url(), "TABLE only_here").await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42P01");
    assert_ne!(one.name(), two.name());
}

#[tokio::test]
async fn an_empty_one_has_no_tables() {
    let db = TestDatabase::empty().await.unwrap();
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(query(db.url(), count).await.unwrap(), ["0"]);
    assert!(!db.migrate().await.unwrap().is_empty());
    assert_ne!(query(db.url(), count).await.unwrap(), ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once() {
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            tokio::spawn(async {
                let db = TestDatabase::new().await.unwrap();
                query(db.url(), "CREATE TABLE mine ()").await.unwrap();
                assert_eq!(db.pending().await.unwrap(), [""; 0]);
                db.name().to_owned()
            })
        })
        .collect();
    let mut names = HashSet::new();
    for task in tasks {
        assert!(names.insert(task.await.unwrap()));
    }
}

#[tokio::test]
async fn is_dropped_with_connections_and_transactions_open() {
    let other = TestDatabase::empty().await.unwrap();
    let db = TestDatabase::new().await.unwrap();
    let name = db.name().to_owned();
    let uow = db.begin().await.unwrap();
    uow.connection().await.unwrap();
    let clone: buffetbot_db::Database = (*db).clone();
    assert!(exists(other.url(), &name).await);
    drop(db);
    assert!(!exists(other.url(), &name).await);
    assert!(clone.pending().await.is_err());
}

#[tokio::test]
async fn is_dropped_by_a_panic() {
    let other = TestDatabase::empty().await.unwrap();
    let (told, name) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async {
        let db = TestDatabase::new().await.unwrap();
        told.send(db.name().to_owned()).unwrap();
        panic!("as a test does");
    });
    assert!(task.await.unwrap_err().is_panic());
    assert!(!exists(other.url(), &name.await.unwrap()).await);
}

#[test]
fn outlives_the_runtime_it_was_made_on() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime().block_on(TestDatabase::new()).unwrap();
    let second = runtime().block_on(TestDatabase::new()).unwrap();
    assert_eq!(sql(first.url(), "SELECT 1").unwrap(), ["1"]);
    drop(second);
    assert_eq!(sql(first.url(), "SELECT 1").unwrap(), ["1"]);
}

#[tokio::test]
async fn fixtures_satisfy_every_rule() {
    let db = TestDatabase::new().await.unwrap();
    let uow = db.begin().await.unwrap();
    let ada = fixtures::user(&uow).await.unwrap();
    let bob = fixtures::user(&uow).await.unwrap();
    assert_ne!(ada.email, bob.email);
    let portfolio = fixtures::portfolio(&uow, ada.id).await.unwrap();
    fixtures::portfolio(&uow, ada.id).await.unwrap();
    assert_eq!(portfolio.user_id, ada.id);
    uow.commit().await.unwrap();

    let friday = "2024-03-01".parse().unwrap();
    let (aapl, msft) = ("AAPL".parse().unwrap(), "MSFT".parse().unwrap());
    let bars = fixtures::bars(&aapl, friday, 300).unwrap();
    assert_eq!(bars, fixtures::bars(&aapl, friday, 300).unwrap());
    let others = fixtures::bars(&msft, friday, 300).unwrap();
    assert!(bars.iter().zip(&others).any(|(one, other)| one.close != other.close));
    assert_eq!(bars[1].date.date().to_string(), "2024-03-04");
    let report = db.prices().upsert_many(&bars).await.unwrap();
    assert_eq!((report.inserted, report.rejected.len()), (300, 0));
}

/// A server for `TEST_DATABASE_URL`, with a role that may do no more than it must.
fn own_server() -> (EmbeddedServer, String, String) {
    let server = start(&EmbeddedOptions::ephemeral());
    let admin = server.url("postgres");
    sql(&admin, "CREATE ROLE tester LOGIN CREATEDB").unwrap();
    let url = admin.replacen("postgres@", "tester@", 1);
    (server, admin, url)
}

fn tester(url: &str, scratch: &Scratch) -> Program {
    Program::new("database", "drop", scratch, |command| {
        command.env("TEST_DATABASE_URL", url);
    })
}

#[test]
fn what_a_killed_program_left_goes_with_the_next_and_living_ones_stay() {
    let scratch = Scratch::new();
    let (_server, admin, url) = own_server();
    let mut living = tester(&url, &scratch);
    let theirs = living.ready().unwrap();
    let mut dying = tester(&url, &scratch);
    let left = dying.ready().unwrap();
    dying.kill();
    let mut names = vec![left.version, theirs.version.clone()];
    names.sort();
    assert_eq!(sql(&admin, NAMES).unwrap(), names);
    // The server notices the death a moment later.
    eventually("the dead program's is dropped, the living one's is not", || {
        let mut next = tester(&url, &scratch);
        let ready = next.ready().unwrap();
        let mut names = vec![ready.version, theirs.version.clone()];
        names.sort();
        let found = sql(&admin, NAMES).unwrap();
        assert!(found.contains(&theirs.version));
        found == names
    });
    assert_eq!(sql(&theirs.url, "SELECT count(*) FROM users").unwrap(), ["0"]);
}

#[test]
fn one_that_nobody_waited_for_is_dropped() {
    let scratch = Scratch::new();
    let (_server, admin, url) = own_server();
    let mut program = Program::new("abandoned-databases", "drop", &scratch, |command| {
        command.env("TEST_DATABASE_URL", url);
    });
    let ready = program.ready().unwrap();
    assert_eq!(sql(&admin, NAMES).unwrap(), [ready.version]);
}

#[test]
fn programs_that_start_at_once_run_the_migrations_once() {
    let scratch = Scratch::new();
    let (_server, admin, url) = own_server();
    let mut programs: Vec<_> = (0..4).map(|_| tester(&url, &scratch)).collect();
    for program in &mut programs {
        let ready = program.ready().unwrap();
        assert_eq!(sql(&ready.url, "SELECT count(*) FROM users").unwrap(), ["0"]);
    }
    let templates = "SELECT count(*) FROM pg_database WHERE datname LIKE 'bdb\\_%' \
                     AND datname NOT LIKE 'bdb\\_test\\_%'";
    assert_eq!(sql(&admin, templates).unwrap(), ["1"]);
}

#[test]
fn a_killed_program_leaves_no_server() {
    let scratch = Scratch::new();
    let mut program = Program::new("database", "drop", &scratch, |command| {
        command.env_remove("TEST_DATABASE_URL");
    });
    let ready = program.ready().unwrap();
    assert_eq!(sql(&ready.url, "SELECT count(*) FROM users").unwrap(), ["0"]);
    program.kill();
    eventually("nothing is left", || scratch.entries().is_empty());
}

#[test]
fn an_unusable_url_is_named_and_not_shown() {
    let scratch = Scratch::new();
    for (url, expected) in [
        ("mysql://u:s3cret@h/d", "TEST_DATABASE_URL"),
        ("postgres://u:s3cret@127.0.0.1:1/d", "unavailable"),
    ] {
        let error = tester(url, &scratch).ready().err().unwrap();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}

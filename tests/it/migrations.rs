//! Migrations: as files, through the crate, up and down and up again, with data and at once.

mod data;

use std::collections::BTreeSet;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::{Config, Database};

use crate::catalog::{connect, difference, dump};
use crate::support::repository;

/// One migration as it lies in the repository.
struct Migration {
    /// Its folder, which is its name in the crate too.
    directory: String,
    version: String,
    name: String,
    up: String,
    down: String,
}

/// All migrations, in their order.
fn files() -> Vec<Migration> {
    let folder = repository("migrations");
    let mut migrations: Vec<Migration> = std::fs::read_dir(&folder)
        .expect("the folder of migrations")
        .map(|entry| entry.expect("an entry of the folder").path())
        .map(|path| {
            let directory = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let (version, name) = directory.split_once('_').expect("<timestamp>_<verb>_<noun>");
            let read = |file: &str| {
                std::fs::read_to_string(path.join(file))
                    .unwrap_or_else(|e| panic!("{directory}/{file}: {e}"))
            };
            Migration {
                directory: directory.to_owned(),
                version: version.to_owned(),
                name: name.to_owned(),
                up: read("up.sql"),
                down: read("down.sql"),
            }
        })
        .collect();
    migrations.sort_by(|a, b| a.version.cmp(&b.version));
    migrations
}

/// The names that the crate gives them.
fn names(migrations: &[Migration]) -> Vec<String> {
    migrations.iter().map(|migration| migration.directory.clone()).collect()
}

#[test]
fn each_migration_has_a_time_a_verb_a_noun_and_both_ways() {
    let mut seen = BTreeSet::new();
    for Migration { version, name, up, down, .. } in files() {
        assert!(version.len() == 14 && version.bytes().all(|b| b.is_ascii_digit()), "{version}");
        assert!(name.split('_').count() >= 2, "{name} is a verb and a noun");
        assert!(seen.insert(version), "{name} has the version of another");
        for sql in [up, down] {
            let statement = sql.lines().any(|line| !line.is_empty() && !line.starts_with("--"));
            assert!(statement, "{name} does something in both directions");
        }
    }
}

#[tokio::test]
async fn the_crate_applies_each_migration_once_in_order() {
    let db = TestDatabase::empty().await.expect("an empty database");
    let all = names(&files());
    assert_eq!(db.pending().await.expect("pending"), all);
    assert_eq!(db.migrate().await.expect("migrate"), all);
    assert!(db.pending().await.expect("pending").is_empty());
    assert!(db.migrate().await.expect("migrate again").is_empty());
}

#[tokio::test]
async fn rollback_undoes_the_last_ones_and_no_more_than_there_are() {
    let db = TestDatabase::new().await.expect("a migrated database");
    let mut all = names(&files());
    assert!(db.rollback(0).await.expect("rollback of none").is_empty());
    let kept = all.len() - 3;
    let mut undone = db.rollback(3).await.expect("rollback");
    undone.reverse();
    assert_eq!(undone, all[kept..], "latest first");
    assert_eq!(db.pending().await.expect("pending"), all[kept..]);

    let mut rest = db.rollback(1000).await.expect("rollback of all");
    rest.reverse();
    all.truncate(kept);
    assert_eq!(rest, all);
    assert!(db.rollback(1).await.expect("nothing left").is_empty());
    let left = dump(&connect(&db).await).await;
    assert!(left.is_empty(), "left behind: {left:?}");
}

#[tokio::test]
async fn each_step_down_and_up_again_changes_nothing_also_as_plain_sql() {
    let db = TestDatabase::empty().await.expect("an empty database");
    let client = connect(&db).await;
    let migrations = files();
    let mut stages = vec![dump(&client).await];
    for Migration { name, up, .. } in &migrations {
        client.batch_execute(up).await.unwrap_or_else(|e| panic!("{name}/up.sql: {e:?}"));
        let stage = dump(&client).await;
        let before = stages.last().expect("a first stage");
        assert_ne!(&stage, before, "{name} changes something");
        stages.push(stage);
    }
    for (number, Migration { name, up, down, .. }) in migrations.iter().enumerate().rev() {
        for (sql, direction, stage) in
            [(down, "down", number), (up, "up", number + 1), (down, "down", number)]
        {
            client
                .batch_execute(sql)
                .await
                .unwrap_or_else(|e| panic!("{name}/{direction}.sql: {e:?}"));
            let wrong = difference(&stages[stage], &dump(&client).await);
            assert!(wrong.is_empty(), "after {name}/{direction}.sql:\n{wrong}");
        }
    }

    let migrated = TestDatabase::new().await.expect("a migrated database");
    let full = stages.last().expect("a last stage");
    let wrong = difference(full, &dump(&connect(&migrated).await).await);
    assert!(wrong.is_empty(), "the crate and the plain SQL differ:\n{wrong}");
}

#[test]
fn four_programs_migrating_at_once_all_succeed_and_each_migration_runs_once() {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outer = runtime();
    let db = outer.block_on(TestDatabase::empty()).expect("an empty database");
    // A thread and a current-thread runtime each: what four programs share is the server alone.
    let applied: Vec<Vec<String>> = std::thread::scope(|scope| {
        let programs: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    runtime().block_on(async {
                        let own =
                            Database::connect(Config::new(db.url()).expect("the test's URL")).await;
                        own.expect("connect").migrate().await.expect("migrate")
                    })
                })
            })
            .collect();
        programs.into_iter().map(|program| program.join().expect("no panic")).collect()
    });
    let mut together: Vec<String> = applied.into_iter().flatten().collect();
    together.sort();
    assert_eq!(together, names(&files()));
    outer.block_on(async {
        let migrated = TestDatabase::new().await.expect("a migrated database");
        let (one, other) = (connect(&migrated).await, connect(&db).await);
        let wrong = difference(&dump(&one).await, &dump(&other).await);
        assert!(wrong.is_empty(), "{wrong}");
    });
}

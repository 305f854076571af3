//! What lending costs: nothing for those who do not lend, one round trip for those who do.

use std::time::Duration;

use buffetbot_db::testing::TestDatabase;
use buffetbot_db::users::{User, UserFilter};

use super::furnished;
use crate::support::log::Log;
use crate::support::{database_with, execute, number};

/// A pool of one that pings nobody, and finds no statement slow on a machine that is.
async fn one() -> (TestDatabase, User) {
    let hour = Duration::from_secs(3_600);
    let db = database_with(|c| c.pool_size(1).ping_after(hour).slow_query(None));
    furnished(db.await).await
}

/// Messages that were answered, the pool's own included.
fn sent(log: &Log) -> Vec<String> {
    let text = log.text();
    text.lines().filter(|l| l.contains("buffetbot_db::query")).map(str::to_owned).collect()
}

/// How many messages `work` takes; what a connection needs before it is lent again counts, too.
macro_rules! messages {
    ($db:expr, $work:expr) => {{
        let (log, _guard) = Log::start();
        $work;
        // The next caller waits for it.
        let next = $db.users().count(&UserFilter::default()).await.unwrap();
        assert!(next > 0);
        let sent = sent(&log);
        let sent: Vec<_> = sent.into_iter().filter(|line| !line.contains("NOTIFY")).collect();
        assert!(!sent.is_empty());
        sent.len() - 1
    }};
}

#[tokio::test]
async fn who_does_not_lend_pays_nothing() {
    let (db, user) = one().await;
    let scope = db.as_user(user.id);
    scope.users().find(user.id).await.unwrap();
    assert_eq!(messages!(db, db.users().find(user.id).await.unwrap()), 1);
    assert_eq!(messages!(db, db.users().verify(user.id).await.unwrap()), 1);
    assert_eq!(messages!(db, scope.users().find(user.id).await.unwrap()), 2, "begin and read");
    let unit = messages!(db, {
        let unit = db.begin().await.unwrap();
        unit.users().find(user.id).await.unwrap();
        unit.savepoint(async |unit| unit.users().verify(user.id).await).await.unwrap();
        unit.commit().await.unwrap();
    });
    assert_eq!(unit, 6);
    let unit = messages!(db, {
        let unit = scope.begin().await.unwrap();
        unit.users().find(user.id).await.unwrap();
        unit.rollback().await.unwrap();
    });
    assert_eq!(unit, 3);
    // Nor does who is lent a connection and does nothing with it.
    let unused = messages!(db, {
        drop(db.connection().await.unwrap());
        drop(db.pool().get().await.unwrap());
        let unit = db.begin().await.unwrap();
        drop(unit.connection().await.unwrap());
        unit.users().find(user.id).await.unwrap();
        unit.commit().await.unwrap();
    });
    assert_eq!(unused, 3);
}

#[tokio::test]
async fn who_lends_pays_one_round_trip_on_return() {
    let (db, _) = one().await;
    for own in [1, 5] {
        let lent = messages!(db, {
            let connection = db.connection().await.unwrap();
            for _ in 0..own {
                number(&connection, "SELECT 1::bigint AS n").await.unwrap();
            }
        });
        assert_eq!(lent, own + 1);
    }
    // Also where an error has aborted a transaction.
    let aborted = messages!(db, {
        let connection = db.connection().await.unwrap();
        execute(&connection, "BEGIN").await.unwrap();
        execute(&connection, "SELECT 1 / 0").await.unwrap_err();
    });
    assert_eq!(aborted, 3);
}

#[tokio::test]
async fn a_unit_that_lends_pays_one_round_trip_before_its_next_statement() {
    let (db, user) = one().await;
    // The role is looked at once.
    db.as_user(user.id).users().find(user.id).await.unwrap();
    for scoped in [false, true] {
        let begin = async || match scoped {
            true => db.as_user(user.id).begin().await,
            false => db.begin().await,
        };
        let lent = messages!(db, {
            let unit = begin().await.unwrap();
            number(&unit.connection().await.unwrap(), "SELECT 1::bigint AS n").await.unwrap();
            for _ in 0..4 {
                unit.users().find(user.id).await.unwrap();
            }
            unit.commit().await.unwrap();
        });
        // Begin, one's own, what was noticed, four, commit; the return is cleaned behind it.
        assert_eq!(lent, 1 + 1 + 1 + 4 + 1 + 1, "{scoped}");
        // A connection that is held costs no more than its statements.
        let held = messages!(db, {
            let unit = begin().await.unwrap();
            let connection = unit.connection().await.unwrap();
            number(&connection, "SELECT 1::bigint AS n").await.unwrap();
            for _ in 0..4 {
                unit.users().find(user.id).await.unwrap();
            }
            drop(connection);
            unit.commit().await.unwrap();
        });
        assert_eq!(held, lent, "{scoped}");
    }
}

#[tokio::test]
async fn nothing_is_logged_as_a_warning_of_a_clean_return() {
    let (db, _) = one().await;
    let (log, _guard) = Log::start();
    for sql in ["SELECT 1", "SET search_path = nowhere", "BEGIN", "SELECT 1 / 0"] {
        let _ = execute(&db.connection().await.unwrap(), sql).await;
    }
    db.users().count(&UserFilter::default()).await.unwrap();
    let text = log.text();
    // The level; the driver passes notices of the server on, as information.
    assert!(!text.contains(" WARN "), "{text}");
}

//! Behind a pooler in transaction mode: connections are lent in transactions, and the pooler's next client finds
//! nothing of them.

use buffetbot_db::users::UserFilter;
use buffetbot_db::{Config, Database, Error, Isolation, TransactionOptions};

use crate::pgbouncer::behind;
use crate::support::{batch, raw, somebody};

/// What a borrower may leave, and a query whose value is true where it is there.
const LEFT: [(&str, &str); 12] = [
    ("SET statement_timeout = 54321", "current_setting('statement_timeout') = '54321ms'"),
    ("SET buffetbot.user_id = 'x'", "current_setting('buffetbot.user_id', true) = 'x'"),
    ("SET TIME ZONE 'Asia/Kathmandu'", "current_setting('TimeZone') LIKE '%Kathmandu'"),
    ("SET enable_seqscan = off", "current_setting('enable_seqscan') = 'off'"),
    ("CREATE TEMP TABLE users (id uuid)", "to_regclass('pg_temp.users') IS NOT NULL"),
    ("SELECT pg_advisory_lock(7)", "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"),
    ("LISTEN kept", "EXISTS (SELECT FROM pg_listening_channels())"),
    ("DECLARE kept CURSOR WITH HOLD FOR SELECT 1", "EXISTS (SELECT FROM pg_cursors)"),
    ("PREPARE kept AS SELECT 1", "EXISTS (SELECT FROM pg_prepared_statements)"),
    ("PREPARE \"odd 'name\" AS SELECT 1", "EXISTS (SELECT FROM pg_prepared_statements)"),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "current_setting('default_transaction_read_only') = 'on'",
    ),
    ("SET plan_cache_mode = force_generic_plan", "current_setting('plan_cache_mode') <> 'auto'"),
];

#[derive(Clone, Copy, Debug)]
enum End {
    Commit,
    Rollback,
    Drop,
    Failed,
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn nothing_that_a_unit_leaves_reaches_another_client_of_the_pooler() {
    let behind = behind(1).await;
    let user = behind.db.users().create(&somebody()).await.unwrap();
    let other = raw(&behind.pooler_url()).await;
    for end in [End::Commit, End::Rollback, End::Drop, End::Failed] {
        for read_only in [false, true] {
            for (sql, there) in LEFT {
                let options = TransactionOptions::default().read_only(read_only);
                let unit = behind.db.begin_with(options).await.unwrap();
                let connection = unit.connection().await.unwrap();
                match batch(&connection, sql).await {
                    Ok(()) => {}
                    // Not everything can be left by a transaction that only reads.
                    Err(_) if read_only => continue,
                    Err(e) => panic!("{sql}: {e}"),
                }
                if let End::Failed = end {
                    batch(&connection, "SELECT 1 / 0").await.unwrap_err();
                }
                drop(connection);
                if !matches!(end, End::Failed) {
                    let page = buffetbot_db::types::PageRequest::first(10);
                    let seen = unit.users().list(&UserFilter::default(), &page).await.unwrap();
                    assert_eq!(seen.items.len(), 1, "{sql}: the real table");
                    assert!(unit.users().find(user.id).await.unwrap().is_some());
                }
                match end {
                    End::Commit => unit.commit().await.unwrap_or_else(|e| panic!("{sql}: {e}")),
                    End::Rollback => unit.rollback().await.unwrap(),
                    End::Drop | End::Failed => drop(unit),
                }
                // The same server, after all that was sent to it.
                let sql_there = format!("SELECT ({there})::text");
                let row = other.simple_query(&sql_there).await.unwrap();
                let left = row.iter().find_map(|m| match m {
                    tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                });
                assert_ne!(left, Some("true"), "{end:?} {read_only} {sql}");
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn a_role_changed_by_own_sql_is_noticed_and_reaches_nobody() {
    let behind = behind(1).await;
    let other = raw(&behind.pooler_url()).await;
    for sql in [
        "SET ROLE pg_monitor",
        "SET SESSION AUTHORIZATION pg_monitor",
        "SET search_path = nowhere",
        "COMMIT",
        "COMMIT; BEGIN",
        "ROLLBACK",
    ] {
        for commit in [false, true] {
            let unit = behind.db.begin().await.unwrap();
            batch(&unit.connection().await.unwrap(), sql).await.unwrap();
            let said = match commit {
                true => unit.commit().await,
                false => unit.users().create(&somebody()).await.map(|_| ()),
            };
            assert!(
                matches!(&said, Err(Error::Ended { reason }) if reason.contains("SQL")),
                "{sql}: {said:?}"
            );
            let sql = "SELECT current_user || ' ' || session_user || ' ' || current_setting('search_path')";
            let row = other.simple_query(sql).await.unwrap();
            let state = row.iter().find_map(|m| match m {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(state.as_deref(), Some("postgres postgres \"$user\", public"), "{sql}");
        }
    }
    assert_eq!(behind.db.users().count(&UserFilter::default()).await.unwrap(), 0);
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn constraints_are_checked_in_the_role_that_wrote() {
    let behind = behind(1).await;
    let direct = raw(&behind.server.url()).await;
    direct
        .batch_execute(
            "CREATE TABLE seen (who text);
             CREATE TABLE late (n int);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN INSERT INTO seen VALUES (current_user); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER note AFTER INSERT ON late
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
             GRANT ALL ON seen, late TO PUBLIC",
        )
        .await
        .unwrap();
    behind.db.create_roles().await.unwrap();
    let user = behind.db.users().create(&somebody()).await.unwrap();
    let unit = behind.db.as_user(user.id).begin().await.unwrap();
    batch(&unit.connection().await.unwrap(), "INSERT INTO late VALUES (1)").await.unwrap();
    unit.commit().await.unwrap();
    let who: String = direct.query_one("SELECT who FROM seen", &[]).await.unwrap().get(0);
    assert_eq!(who, "buffetbot_app");
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn every_isolation_begins_and_ends() {
    let behind = behind(1).await;
    for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead, Isolation::Serializable]
    {
        let options = TransactionOptions::default().isolation(isolation).read_only(false);
        let unit = behind.db.begin_with(options).await.unwrap();
        let connection = unit.connection().await.unwrap();
        // Before anything is read: the lock counts only then.
        batch(&connection, "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").await.unwrap();
        drop(connection);
        unit.users().create(&somebody()).await.unwrap();
        unit.commit().await.unwrap();
    }
    assert_eq!(behind.db.users().count(&UserFilter::default()).await.unwrap(), 3);
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn outside_of_a_transaction_nothing_is_lent() {
    let behind = behind(1).await;
    for error in [
        behind.db.connection().await.map(|_| ()).unwrap_err(),
        behind.db.pool().get().await.map(|_| ()).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Config { reason, .. } if reason.contains("begin")),
            "{error:?}"
        );
    }
    // What the crate itself does needs none.
    assert!(behind.db.pending().await.unwrap().is_empty());
    behind.db.doctor().await.unwrap();
    behind.db.price_partitions().list().await.unwrap();
}
#[tokio::test]
async fn a_newer_pooler_is_told_by_a_setting() {
    let db = crate::support::database(1).await;
    let config = Config::new(db.url()).unwrap().transaction_pooler(true).pool_size(1);
    let other = Database::connect(config.pool_max_overflow(0)).await.unwrap();
    assert!(matches!(other.connection().await.map(|_| ()), Err(Error::Config { .. })));
    let user = other.users().create(&somebody()).await.unwrap();
    let unit = other.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    batch(&connection, "SET enable_seqscan = off; CREATE TEMP TABLE users (id uuid)")
        .await
        .unwrap();
    drop(connection);
    assert!(unit.users().find(user.id).await.unwrap().is_some());
    unit.commit().await.unwrap();
    let unit = other.begin().await.unwrap();
    let sql = "SELECT (current_setting('enable_seqscan') = 'off' OR to_regclass('pg_temp.users') IS NOT NULL)::int::bigint AS n";
    let left = crate::support::number(&unit.connection().await.unwrap(), sql).await.unwrap();
    assert_eq!(left, 0);
}

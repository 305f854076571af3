//! `PgConnection`: Diesel on it, its statement cache, COPY, what it tells an observer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use buffetbot_db::Error;
use buffetbot_db::config::StatementMode;
use buffetbot_db::postgres::{PgConnection, sqlstate};
use buffetbot_db::types::UserId;
use bytes::Bytes;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bytea, Integer, Text};
use diesel_async::{AsyncConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::TryStreamExt;

use crate::support::{Number, active, batch, database, database_with, number, pid, raw, somebody};

diesel::table! {
    notes (id) { id -> BigInt, body -> Text, }
}

const NOTES: &str = "CREATE TABLE notes (id bigint PRIMARY KEY, body text NOT NULL)";

/// Every kind of statement that diesel-async's own connection would prepare anew on each run.
async fn one_of_each(connection: &PgConnection, id: i64) {
    let conn = &mut &*connection;
    let rows = [notes::id.eq(id), notes::id.eq(id + 1)].map(|id| (id, notes::body.eq("first")));
    let insert = diesel::insert_into(notes::table).values(rows.to_vec());
    assert_eq!(insert.execute(conn).await.unwrap(), 2);
    let update = diesel::update(notes::table.find(id)).set(notes::body.eq("second"));
    assert_eq!(update.execute(conn).await.unwrap(), 1);
    let upsert = diesel::insert_into(notes::table)
        .values((notes::id.eq(id), notes::body.eq("third")))
        .on_conflict(notes::id)
        .do_update()
        .set(notes::body.eq(diesel::upsert::excluded(notes::body)))
        .returning(notes::body);
    assert_eq!(upsert.get_result::<String>(conn).await.unwrap(), "third");
    let by_text = diesel::sql_query("SELECT $1 AS n").bind::<BigInt, _>(id);
    assert_eq!(by_text.get_result::<Number>(conn).await.unwrap().n, id);
    let delete = diesel::delete(notes::table.filter(notes::id.between(id, id + 1)));
    assert_eq!(delete.execute(conn).await.unwrap(), 2);
}

#[tokio::test]
async fn statements_are_prepared_once_whatever_they_are() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, NOTES).await.unwrap();
    one_of_each(&connection, 0).await;
    let prepared = connection.prepared_statements();
    assert_eq!(prepared, 5);
    for id in 1..20 {
        one_of_each(&connection, id).await;
    }
    assert_eq!(connection.prepared_statements(), prepared);
}

#[tokio::test]
async fn repositories_prepare_once_per_connection() {
    let db = database(1).await;
    let mut user = db.users().create(&somebody()).await.unwrap();
    let work = async |id: UserId| {
        db.users().find(id).await.unwrap();
        db.users().verify(id).await.unwrap()
    };
    user = work(user.id).await;
    let prepared = db.connection().await.unwrap().prepared_statements();
    for _ in 0..10 {
        user = work(user.id).await;
    }
    assert_eq!(db.connection().await.unwrap().prepared_statements(), prepared);
}

#[tokio::test]
async fn the_statement_cache_is_bounded_and_forgets_the_least_used() {
    let db = database_with(|c| c.pool_size(1).statement_cache(4)).await;
    let connection = db.connection().await.unwrap();
    let often = "SELECT 0::bigint AS n";
    for i in 1..40 {
        number(&connection, often).await.unwrap();
        number(&connection, &format!("SELECT {i}::bigint AS n")).await.unwrap();
    }
    assert_eq!(connection.cached_statements(), 4);
    assert_eq!(connection.prepared_statements(), 40, "the statement in use stays");
    // What the cache forgot is closed on the server too; the asking statement is a fifth.
    let on_server = "SELECT count(*) AS n FROM pg_prepared_statements";
    let held = number(&connection, on_server).await.unwrap();
    assert!(held <= 5, "{held} statements on the server");
}

#[tokio::test]
async fn one_text_with_other_bind_types_is_another_statement() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let conn = &mut connection.as_diesel();
    let sql = "SELECT length($1::text)::bigint AS n";
    for _ in 0..2 {
        let n: Number =
            diesel::sql_query(sql).bind::<BigInt, _>(12_345).get_result(conn).await.unwrap();
        assert_eq!(n.n, 5);
        let n: Number =
            diesel::sql_query(sql).bind::<Integer, _>(7).get_result(conn).await.unwrap();
        assert_eq!(n.n, 1);
        let n: Number =
            diesel::sql_query(sql).bind::<Text, _>("abc").get_result(conn).await.unwrap();
        assert_eq!(n.n, 3);
    }
}

#[tokio::test]
async fn values_of_every_shape_come_back_as_sent() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let conn = &mut connection.as_diesel();
    let bytes: Vec<u8> = (0..=255).collect();
    let query = diesel::select((
        bytes.clone().into_sql::<Bytea>(),
        "ünïcödé \u{1F680}".into_sql::<Text>(),
        None::<i64>.into_sql::<diesel::sql_types::Nullable<BigInt>>(),
        vec![Some(1i32), None]
            .into_sql::<diesel::sql_types::Array<diesel::sql_types::Nullable<Integer>>>(),
    ));
    let got: (Vec<u8>, String, Option<i64>, Vec<Option<i32>>) =
        query.get_result(conn).await.unwrap();
    assert_eq!(got, (bytes, "ünïcödé \u{1F680}".into(), None, vec![Some(1), None]));
}

#[tokio::test]
async fn a_type_known_by_name_only_needs_no_lookup() {
    #[derive(diesel::sql_types::SqlType, diesel::query_builder::QueryId)]
    #[diesel(postgres_type(name = "mood"))]
    struct MoodType;
    #[derive(Debug, diesel::expression::AsExpression)]
    #[diesel(sql_type = MoodType)]
    struct Good;
    impl diesel::serialize::ToSql<MoodType, diesel::pg::Pg> for Good {
        fn to_sql<'b>(
            &'b self,
            out: &mut diesel::serialize::Output<'b, '_, diesel::pg::Pg>,
        ) -> diesel::serialize::Result {
            std::io::Write::write_all(out, b"good")?;
            Ok(diesel::serialize::IsNull::No)
        }
    }
    for mode in [StatementMode::Prepared, StatementMode::OneTrip] {
        let db = database_with(|c| c.pool_size(1).statement_mode(mode)).await;
        let unit = db.begin().await.unwrap();
        let connection = unit.connection().await.unwrap();
        batch(&connection, "CREATE TYPE mood AS ENUM ('good', 'bad')").await.unwrap();
        let sql = "SELECT length($1::mood::text)::bigint AS n";
        for _ in 0..2 {
            let query = diesel::sql_query(sql).bind::<MoodType, _>(Good);
            let n: Number = query.get_result(&mut connection.as_diesel()).await.unwrap();
            assert_eq!(n.n, 4, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn more_binds_than_the_protocol_counts_are_refused_and_harm_nothing() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let before = pid(&connection).await;
    let ids: Vec<i64> = (0..98_000).collect();
    let mut query = diesel::sql_query("SELECT 1::bigint AS n").into_boxed();
    for id in ids {
        query = query.bind::<BigInt, _>(id);
    }
    let error: Error = query.execute(&mut connection.as_diesel()).await.unwrap_err().into();
    assert!(
        matches!(&error, Error::Invalid { field, reason }
        if field == "query" && reason.contains("98000") && reason.contains("65535")),
        "{error:?}"
    );
    assert!(!connection.is_discarded());
    assert_eq!(pid(&connection).await, before);
}

#[tokio::test]
async fn a_plan_made_stale_by_a_migration_is_healed_outside_of_a_transaction() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, "CREATE TABLE sizes (n int); INSERT INTO sizes VALUES (7)").await.unwrap();
    let conn = &mut connection.as_diesel();
    // A row's type is part of the plan; as_bigint keeps the query decodable on both sides.
    let all = "SELECT *, n::bigint AS m FROM sizes";
    let change = "ALTER TABLE sizes ALTER n TYPE bigint";
    assert_eq!(diesel::sql_query(all).execute(conn).await.unwrap(), 1);
    batch(&connection, change).await.unwrap();
    assert_eq!(diesel::sql_query(all).execute(conn).await.unwrap(), 1, "execute");
    assert_eq!(diesel::sql_query(all).load::<Number>(conn).await.unwrap(), [Number { n: 7 }]);
    batch(&connection, "ALTER TABLE sizes ALTER n TYPE numeric").await.unwrap();
    batch(&connection, "ALTER TABLE sizes ALTER n TYPE int; ALTER TABLE sizes ADD x int")
        .await
        .unwrap();
    batch(&connection, change).await.unwrap();
    assert_eq!(
        diesel::sql_query(all).load::<Number>(conn).await.unwrap(),
        [Number { n: 7 }],
        "load"
    );
    assert!(!connection.is_discarded());
}

#[tokio::test]
async fn a_statement_that_the_server_forgot_is_prepared_again() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let sql = "SELECT 5::bigint AS n";
    number(&connection, sql).await.unwrap();
    batch(&connection, "DEALLOCATE ALL").await.unwrap();
    assert_eq!(number(&connection, sql).await.unwrap(), 5);
}

#[tokio::test]
async fn the_observer_sees_each_statement_with_its_rows_and_whole_time() {
    type Seen = (String, u64, Duration, Option<String>);
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    let sink = seen.clone();
    let observer = Arc::new(move |q: &buffetbot_db::config::QueryReport<'_>| {
        let code = q.sqlstate.map(str::to_owned);
        sink.lock().unwrap().push((q.sql.to_owned(), q.rows, q.elapsed, code));
    });
    let db = database_with(|c| c.pool_size(1).observer(observer)).await;
    let connection = db.connection().await.unwrap();
    let conn = &mut connection.as_diesel();
    // The rows come slowly: a time taken at the first of them would be too short.
    let slow = "SELECT g::bigint AS n FROM generate_series(1, 300) g, LATERAL (
                    SELECT pg_sleep(CASE WHEN g > 290 THEN 0.01 ELSE 0 END)) s";
    let rows: Vec<Number> = diesel::sql_query(slow).load(conn).await.unwrap();
    assert_eq!(rows.len(), 300);
    let sql = "SELECT 1 / $1";
    diesel::sql_query(sql).bind::<Integer, _>(0).execute(conn).await.unwrap_err();
    let seen = seen.lock().unwrap();
    let report = |text: &str| seen.iter().find(|(sql, ..)| sql == text).cloned().unwrap();
    let (_, rows, elapsed, code) = report(slow);
    assert_eq!((rows, code), (300, None));
    assert!(elapsed >= Duration::from_millis(100), "{elapsed:?}");
    assert_eq!(report(sql).3.as_deref(), Some("22012"));
}

#[tokio::test]
async fn copy_goes_in_and_out_in_one_transaction() {
    let db = database(1).await;
    let setup = db.connection().await.unwrap();
    batch(&setup, NOTES).await.unwrap();
    drop(setup);
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    let mut copy = connection.copy_in("COPY notes FROM STDIN").await.unwrap();
    // Pieces need not end where rows do.
    for piece in ["1\ton", "e\n2\ttwo\n3", "\tthree\n"] {
        copy.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 3);
    let out = connection.copy_out("COPY (SELECT body FROM notes ORDER BY id) TO STDOUT").await;
    let pieces: Vec<Bytes> = out.unwrap().try_collect().await.unwrap();
    assert_eq!(pieces.concat(), b"one\ntwo\nthree\n");
    assert!(!connection.is_discarded(), "a copy read to its end leaves the connection clean");
    drop(connection);
    unit.commit().await.unwrap();
    let connection = db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM notes").await.unwrap(), 3);
}

#[tokio::test]
async fn a_copy_of_bad_data_says_so_and_spares_the_connection() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    batch(&connection, NOTES).await.unwrap();
    let mut copy = connection.copy_in("COPY notes FROM STDIN").await.unwrap();
    // Far more than fits into buffers after the bad row: sending goes on while the server refuses.
    let mut sent = copy.send(Bytes::from_static(b"secretword\tx\n")).await;
    let chunk = Bytes::from("1\tpadding padding padding\n".repeat(4_000));
    for _ in 0..50 {
        if sent.is_ok() {
            sent = copy.send(chunk.clone()).await;
        }
    }
    let error = match sent {
        Ok(()) => copy.finish().await.unwrap_err(),
        Err(e) => e,
    };
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secretword"), "{error:?}");
    assert!(!connection.is_discarded());
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM notes").await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_copy_is_a_typed_error() {
    let db = database(1).await;
    let connection = db.connection().await.unwrap();
    let error = connection.copy_out("COPY nowhere TO STDOUT").await.err().unwrap();
    assert!(matches!(&error, Error::Database { sqlstate, .. } if sqlstate == "42P01"), "{error:?}");
    let error = connection.copy_in("COPY FROM FROM STDIN").await.err().unwrap();
    assert!(matches!(&error, Error::Database { sqlstate, .. } if sqlstate == "42601"), "{error:?}");
    assert_eq!(number(&connection, "SELECT 1::bigint AS n").await.unwrap(), 1);
    // The driver's ending of a copy that never began would shift all later answers by one.
    let error = connection.copy_in("COPY nowhere FROM STDIN").await.err().unwrap();
    assert!(matches!(&error, Error::Database { sqlstate, .. } if sqlstate == "42P01"), "{error:?}");
    assert!(connection.is_discarded());
    drop(connection);
    let connection = db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT 2::bigint AS n").await.unwrap(), 2);
}

#[tokio::test]
async fn diesel_async_transactions_commit_nothing_that_an_error_aborted() {
    let db = database(1).await;
    let mut connection = db.pool().get().await.unwrap();
    let before = pid(&connection).await;
    connection.batch_execute(NOTES).await.unwrap();
    let insert =
        |id: i64| diesel::insert_into(notes::table).values((notes::id.eq(id), notes::body.eq("x")));
    // The error is swallowed: the closure says Ok, the server has aborted.
    let result = connection
        .transaction::<_, diesel::result::Error, _>(async |conn| {
            insert(1).execute(conn).await?;
            let _ = diesel::sql_query("SELECT 1 / 0").execute(conn).await;
            Ok(())
        })
        .await;
    let error = result.unwrap_err();
    assert_eq!(sqlstate(&error), Some("25P02"), "{error:?}");
    // The same connection, still held, is in no transaction, and the next one counts.
    let next = connection
        .transaction::<_, diesel::result::Error, _>(async |conn| insert(2).execute(conn).await)
        .await;
    assert_eq!(next.unwrap(), 1);
    drop(connection);
    let connection = db.connection().await.unwrap();
    assert_eq!(pid(&connection).await, before, "nothing was wrong with the connection");
    assert_eq!(number(&connection, "SELECT sum(id)::bigint AS n FROM notes").await.unwrap(), 2);
}

#[tokio::test]
async fn nested_diesel_async_transactions_are_savepoints() {
    let db = database(1).await;
    let mut connection = db.pool().get().await.unwrap();
    connection.batch_execute(NOTES).await.unwrap();
    let insert =
        |id: i64| diesel::insert_into(notes::table).values((notes::id.eq(id), notes::body.eq("x")));
    let result = connection
        .transaction::<_, diesel::result::Error, _>(async |conn| {
            insert(1).execute(conn).await?;
            let inner = conn
                .transaction::<(), diesel::result::Error, _>(async |conn| {
                    insert(2).execute(conn).await?;
                    insert(1).execute(conn).await?;
                    Ok(())
                })
                .await;
            assert_eq!(sqlstate(&inner.unwrap_err()), Some("23505"));
            insert(4).execute(conn).await
        })
        .await;
    assert_eq!(result.unwrap(), 1);
    assert_eq!(number(&connection, "SELECT sum(id)::bigint AS n FROM notes").await.unwrap(), 5);
}

#[tokio::test]
async fn a_diesel_async_transaction_dropped_between_statements_ends_with_the_connection() {
    let db = database(1).await;
    let setup = db.connection().await.unwrap();
    batch(&setup, NOTES).await.unwrap();
    drop(setup);
    let mut connection = db.pool().get().await.unwrap();
    {
        let (reached, wait) = tokio::sync::oneshot::channel();
        let transaction = connection.transaction::<(), diesel::result::Error, _>(async |conn| {
            conn.batch_execute("INSERT INTO notes VALUES (1, 'x')").await?;
            let _ = reached.send(());
            std::future::pending().await
        });
        tokio::select! {
            _ = transaction => unreachable!("it waits for ever"),
            _ = wait => {}
        }
    }
    drop(connection);
    let connection = db.connection().await.unwrap();
    assert_eq!(number(&connection, "SELECT count(*) AS n FROM notes").await.unwrap(), 0);
    let observer = raw(db.url()).await;
    drop(connection);
    assert_eq!(active(&observer).await, 0, "no transaction is left open");
}

#[tokio::test]
async fn establish_understands_the_same_urls_as_config() {
    let db = database(1).await;
    let url = format!("{}&sslmode=disable", db.url());
    let connection = PgConnection::establish(&url).await.unwrap();
    assert_eq!(number(&connection, "SELECT 3::bigint AS n").await.unwrap(), 3);
    let timeout =
        "SELECT (extract(epoch FROM current_setting('statement_timeout')::interval))::bigint AS n";
    assert!(number(&connection, timeout).await.unwrap() > 0, "limits are set at connect");
    let error = PgConnection::establish("postgres://u:hidden@h:port/d").await.err().unwrap();
    assert!(!format!("{error} {error:?}").contains("hidden"), "{error:?}");
}

#[test]
fn a_connection_works_on_a_current_thread_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = database(2).await;
        let user = db.users().create(&somebody()).await.unwrap();
        let unit = db.begin().await.unwrap();
        let (a, b) =
            tokio::try_join!(unit.users().find(user.id), unit.users().find(user.id)).unwrap();
        assert_eq!(a, b);
        unit.commit().await.unwrap();
    });
}

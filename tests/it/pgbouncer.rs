//! Behind PgBouncer in transaction mode, where one client's statements reach different servers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use buffetbot_db::config::StatementMode;
use buffetbot_db::users::{UserFilter, UserPatch};
use buffetbot_db::{Config, Database, Error};
use bytes::Bytes;
use futures_util::TryStreamExt;

use crate::support::pooler::Pooler;
use crate::support::server::{ServerOptions, TcpServer};
use crate::support::{active, eventually, number, pid, raw, somebody};

const TRUST: &str = "host all all 127.0.0.1/32 trust\n";

pub struct Behind {
    pub db: Arc<Database>,
    pub server: TcpServer,
    pooler: Pooler,
}

impl Behind {
    pub fn pooler_url(&self) -> String {
        self.pooler.url("postgres")
    }
}

/// A pool of ten clients on so many servers, migrated.
pub async fn behind(servers: u32) -> Behind {
    let options = |_: &_| ServerOptions { hba: Some(TRUST.into()), ..ServerOptions::default() };
    let server = TcpServer::start_with(options).await;
    // Migrations go to the server itself, as session state needs.
    let direct = Config::new(&server.url()).unwrap().pool_size(2);
    Database::connect(direct).await.unwrap().migrate().await.unwrap();
    let pooler = Pooler::start(&server, servers).await;
    let config = Config::new(&pooler.url("postgres")).unwrap();
    let config = config.statement_mode(StatementMode::OneTrip).pool_size(10).pool_max_overflow(0);
    let db = Arc::new(Database::connect(config).await.unwrap());
    Behind { db, server, pooler }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn repositories_work_from_many_clients_on_few_servers() {
    let behind = behind(2).await;
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let db = behind.db.clone();
            tokio::spawn(async move {
                let mut servers = BTreeSet::new();
                for _ in 0..15 {
                    let user = db.users().create(&somebody()).await?;
                    let patch = UserPatch::default().first_name("Ada");
                    let changed = db.users().update(user.id, &patch).await?;
                    assert_eq!(changed.first_name.as_deref(), Some("Ada"));
                    assert_eq!(db.users().find(user.id).await?, Some(changed));
                    let unit = db.begin().await?;
                    servers.insert(pid(&*unit.connection().await?).await);
                    unit.commit().await?;
                }
                Ok::<_, Error>(servers)
            })
        })
        .collect();
    let mut servers = BTreeSet::new();
    for task in tasks {
        servers.extend(task.await.unwrap().unwrap());
    }
    assert_eq!(servers.len(), 2, "clients were spread over the servers");
    assert_eq!(behind.db.users().count(&UserFilter::default()).await.unwrap(), 150);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn transactions_batches_and_copies_work() {
    let behind = behind(2).await;
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let db = behind.db.clone();
            tokio::spawn(async move {
                for _ in 0..5 {
                    let many: Vec<_> = (0..20).map(|_| somebody()).collect();
                    db.users().create_many(&many).await?;
                    db.transaction(async |unit| {
                        let one = unit.users().create(&somebody()).await?;
                        let refused =
                            unit.savepoint(async |unit| unit.users().create(&one_more(&one)).await);
                        assert!(matches!(refused.await, Err(Error::Conflict { .. })));
                        let (a, b) = tokio::try_join!(
                            unit.users().find(one.id),
                            unit.users().verify(one.id)
                        )?;
                        assert_eq!(a.unwrap().id, b.id);
                        let connection = unit.connection().await?;
                        crate::support::batch(
                            &connection,
                            "CREATE TEMP TABLE words (n bigint) ON COMMIT DROP",
                        )
                        .await?;
                        let mut copy = connection.copy_in("COPY words FROM STDIN").await?;
                        copy.send(Bytes::from_static(b"1\n2\n")).await?;
                        assert_eq!(copy.finish().await?, 2);
                        let out: Vec<Bytes> = connection
                            .copy_out("COPY words TO STDOUT")
                            .await?
                            .try_collect()
                            .await?;
                        assert_eq!(out.concat(), b"1\n2\n");
                        Ok::<_, Error>(())
                    })
                    .await?;
                }
                Ok::<_, Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let everybody = behind.db.users().count(&UserFilter::default()).await.unwrap();
    assert_eq!(everybody, 6 * 5 * 21);
}

fn one_more(user: &buffetbot_db::users::User) -> buffetbot_db::users::NewUser {
    buffetbot_db::users::NewUser::new(user.email.clone(), crate::support::hash())
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn a_copy_outside_of_a_transaction_is_refused_before_it_can_go_wrong() {
    let behind = behind(2).await;
    let unit = behind.db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    crate::support::batch(&connection, "COMMIT").await.unwrap();
    for error in [
        connection.copy_in("COPY users FROM STDIN").await.map(|_| ()).unwrap_err(),
        connection.copy_out("COPY users TO STDOUT").await.map(|_| ()).unwrap_err(),
    ] {
        assert!(
            matches!(&error, Error::Invalid { reason, .. } if reason.contains("transaction")),
            "{error:?}"
        );
    }
    assert_eq!(number(&connection, "SELECT 1::bigint AS n").await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn a_dropped_statement_is_cancelled_through_the_pooler() {
    let behind = behind(2).await;
    let observer = raw(&behind.server.url()).await;
    let call = async {
        let unit = behind.db.begin().await.unwrap();
        let connection = unit.connection().await.unwrap();
        number(&connection, "SELECT 1::bigint AS n FROM pg_sleep(600)").await
    };
    let busy = eventually("the server is at work", async || active(&observer).await > 0);
    tokio::select! {
        biased;
        done = call => panic!("{done:?}"),
        () = busy => {}
    }
    eventually("the server stops", async || active(&observer).await == 0).await;
    assert!(behind.db.users().create(&somebody()).await.is_ok());
}

#[tokio::test]
#[ignore = "needs PgBouncer: apt-get install pgbouncer"]
async fn nothing_of_a_session_is_left_on_the_servers() {
    let behind = behind(2).await;
    for _ in 0..5 {
        let user = behind.db.users().create(&somebody()).await.unwrap();
        behind.db.users().create_many(&[somebody(), somebody()]).await.unwrap();
        behind.db.users().delete(user.id).await.unwrap();
        let unit = behind.db.begin().await.unwrap();
        let connection = unit.connection().await.unwrap();
        let out = connection.copy_out("COPY users TO STDOUT").await.unwrap();
        out.try_collect::<Vec<Bytes>>().await.unwrap();
        drop(connection);
        unit.commit().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Asked on both servers: at once, so that neither can answer for both.
    let sql = "SELECT count(*) AS n FROM pg_prepared_statements, pg_sleep(0.2)";
    let (one, other) = (behind.db.begin().await.unwrap(), behind.db.begin().await.unwrap());
    let (a, b) = (one.connection().await.unwrap(), other.connection().await.unwrap());
    let left = tokio::try_join!(number(&a, sql), number(&b, sql)).unwrap();
    assert_eq!(left, (0, 0));
}

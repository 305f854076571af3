//! Servers that are wrong, silent, gone or killed: what callers are told, and that all is well again
//! when the server is.

mod table;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use buffetbot_db::{Config, Database, Error};
use tokio::net::TcpListener;

use crate::support::process::run;
use crate::support::server::{PASSWORD, ServerOptions, TcpServer};
use crate::support::{GENEROUS, execute, number, pid, pool_pid, raw};

fn reason(error: &Error) -> &str {
    match error {
        Error::Unavailable { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

fn config(url: &str) -> Config {
    Config::new(url).unwrap().pool_size(2).pool_max_overflow(0)
}

/// The error of connecting, at once and through a pool that connects when first asked, and how long
/// the latter took.
async fn refusals(config: Config) -> ([Error; 2], Duration) {
    let at_once = Database::connect(config.clone()).await.unwrap_err();
    let lazy = Database::connect_lazy(config).unwrap();
    let started = Instant::now();
    let pooled = lazy.connection().await.err().unwrap();
    for error in [&at_once, &pooled] {
        assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error:?}");
    }
    ([at_once, pooled], started.elapsed())
}

#[tokio::test]
async fn what_trying_again_cannot_help_is_told_at_once() {
    let server = TcpServer::start().await;
    // The pool's limit is far off: whoever waits for it fails this test.
    let config = |url: String| config(&url).pool_timeout(GENEROUS * 2);
    let (errors, took) = refusals(config(server.url_of("postgres", "wrong", "postgres"))).await;
    for error in &errors {
        assert!(reason(error).contains("28P01"), "{error:?}");
        assert!(reason(error).contains("password authentication failed"), "{error:?}");
    }
    assert!(took < GENEROUS, "{took:?}");
    let (errors, took) = refusals(config(server.url_of("postgres", PASSWORD, "nowhere"))).await;
    for error in &errors {
        assert!(reason(error).contains("3D000") && reason(error).contains("nowhere"), "{error:?}");
    }
    assert!(took < GENEROUS, "{took:?}");
    let (errors, _) = refusals(config(server.url_of("nobody", PASSWORD, "postgres"))).await;
    assert!(errors.iter().all(|e| reason(e).contains("28P01")), "{errors:?}");
    let db = Database::connect(config(server.url())).await.unwrap();
    assert!(pool_pid(&db).await > 0, "the right password works");
}

#[tokio::test]
async fn a_missing_password_is_told() {
    let server = TcpServer::start().await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", server.port);
    let (errors, _) = refusals(config(&url).pool_timeout(Duration::from_millis(500))).await;
    assert!(errors.iter().all(|e| reason(e).contains("password missing")), "{errors:?}");
}

#[tokio::test]
async fn a_refused_connection_is_told_after_the_timeout_with_its_cause() {
    let port = crate::support::process::free_port();
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres");
    let limit = Duration::from_millis(500);
    let (errors, took) = refusals(config(&url).pool_timeout(limit)).await;
    assert!(errors.iter().all(|e| reason(e).contains("refused")), "{errors:?}");
    assert!(took >= limit, "the pool keeps trying for that long: {took:?}");
}

#[tokio::test]
async fn an_unknown_host_is_told() {
    let url = format!("postgres://postgres:{PASSWORD}@no-such-host.invalid/postgres");
    let (errors, _) = refusals(config(&url).pool_timeout(Duration::from_millis(300))).await;
    for error in &errors {
        assert!(matches!(error, Error::Unavailable { .. } | Error::Busy { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("postgres://postgres:{PASSWORD}@127.0.0.1:{port}/postgres");
    let config = config(&url);
    let impatient = config.clone().connect_timeout(Duration::from_millis(100));
    let (errors, _) = refusals(impatient.pool_timeout(Duration::from_millis(600))).await;
    for error in &errors {
        assert!(reason(error).contains("no answer to connecting within 100ms"), "{error:?}");
    }
    // Two hung attempts do not block a pool of two for ever: when the server answers, all is well.
    let config = config.connect_timeout(Duration::from_secs(2)).pool_timeout(GENEROUS * 2);
    let db = Arc::new(Database::connect_lazy(config).unwrap());
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let db = db.clone();
            tokio::spawn(async move { pool_pid(&db).await })
        })
        .collect();
    let mut hung = Vec::new();
    while hung.len() < 3 {
        hung.push(silent.accept().await.unwrap().0);
    }
    // From here on the listener hands each connection to a real server.
    let server = TcpServer::start().await;
    let target = server.port;
    tokio::spawn(async move {
        while let Ok((mut inbound, _)) = silent.accept().await {
            tokio::spawn(async move {
                let mut outbound = tokio::net::TcpStream::connect(("127.0.0.1", target)).await?;
                tokio::io::copy_bidirectional(&mut inbound, &mut outbound).await
            });
        }
    });
    for waiter in waiters {
        assert!(tokio::time::timeout(GENEROUS, waiter).await.unwrap().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_password_changed_under_a_running_pool_does_not_stop_it() {
    let server = TcpServer::start().await;
    let db = Database::connect(config(&server.url()).pool_timeout(GENEROUS)).await.unwrap();
    let held = db.connection().await.unwrap();
    execute(&held, "ALTER ROLE postgres PASSWORD 'another'").await.unwrap();
    // A second connection can no longer be made, but the first comes back.
    let mut waiting = Box::pin(db.connection());
    let refused = tokio::time::timeout(Duration::from_millis(400), waiting.as_mut()).await;
    assert!(refused.is_err(), "it waits for the one that works");
    drop(held);
    let connection = tokio::time::timeout(GENEROUS, waiting).await.unwrap().unwrap();
    assert_eq!(number(&connection, "SELECT 1::bigint AS n").await.unwrap(), 1);
}

#[tokio::test]
async fn too_many_connections_for_the_server_is_a_wait_and_not_an_end() {
    let server = TcpServer::start_with(|_| ServerOptions {
        settings: vec!["max_connections=4".into(), "superuser_reserved_connections=0".into()],
        hba: None,
        ..ServerOptions::default()
    })
    .await;
    let others = [raw(&server.url()).await, raw(&server.url()).await, raw(&server.url()).await];
    let db = Database::connect_lazy(config(&server.url()).pool_timeout(GENEROUS)).unwrap();
    let held = db.connection().await.unwrap();
    let waiting = tokio::spawn({
        let db = db.clone();
        async move { pool_pid(&db).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    let [first, _second, _third] = others;
    drop(first);
    assert!(tokio::time::timeout(GENEROUS, waiting).await.unwrap().unwrap() > 0);
    drop(held);
}

#[tokio::test]
async fn b12_a_commit_without_an_answer_is_unknown() {
    let server = TcpServer::start().await;
    let db = Database::connect(config(&server.url())).await.unwrap();
    let unit = db.begin().await.unwrap();
    let connection = unit.connection().await.unwrap();
    execute(&connection, "CREATE TABLE t (id int)").await.unwrap();
    let backend = pid(&connection).await;
    drop(connection);
    run(Command::new("kill").arg("-9").arg(backend.to_string()));
    let error = unit.commit().await.unwrap_err();
    // The driver may have seen the end before the COMMIT was sent.
    assert!(
        matches!(&error, Error::Unavailable { .. } | Error::OutcomeUnknown { receipt: None, .. }),
        "{error:?}"
    );
}

/// Of several hosts the one that can write, wherever it stands.
#[tokio::test]
async fn the_host_that_can_write_is_found() {
    let reading = |_: &_| ServerOptions {
        settings: vec!["default_transaction_read_only=on".into()],
        ..ServerOptions::default()
    };
    let (standby, primary) = (TcpServer::start_with(reading).await, TcpServer::start().await);
    let hosts = |a: u16, b: u16| {
        let both = format!("127.0.0.1:{a},127.0.0.1:{b}/");
        let url = standby.url().replace(&format!("127.0.0.1:{}/", standby.port), &both);
        config(&format!("{url}?target_session_attrs=read-write"))
    };
    for config in [hosts(standby.port, primary.port), hosts(primary.port, standby.port)] {
        let db = Database::connect(config).await.unwrap();
        let connection = db.connection().await.unwrap();
        let port = number(&connection, "SELECT inet_server_port()::BIGINT AS n").await.unwrap();
        assert_eq!(port, i64::from(primary.port));
    }
}

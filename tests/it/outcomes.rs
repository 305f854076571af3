//! Writes and COMMITs that are not answered: what nobody can know is said so, and found out by a receipt where it
//! can be.

mod companions;
mod crashes;
mod every_error;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::api::*;
use tokio_postgres::Client;

use crate::support::proxy::{Cut, Network, Proxy};
use crate::support::server::TcpServer;
use crate::support::{GENEROUS, batch, eventually, execute, pid, raw, somebody};

/// A server with the tables, a network in front of it, and a pool of one behind that.
struct Bench {
    server: TcpServer,
    proxy: Proxy,
    db: Database,
    observer: Client,
}

impl Bench {
    async fn start() -> Self {
        Self::with(|config| config).await
    }

    async fn with(configure: impl FnOnce(Config) -> Config) -> Self {
        let server = TcpServer::start().await;
        let proxy = Proxy::start(server.port).await;
        let there = format!(":{}/", proxy.port);
        let url = server.url().replace(&format!(":{}/", server.port), &there);
        let config = Config::new(&url).unwrap().pool_size(1).pool_max_overflow(0);
        let db = Database::connect(configure(config)).await.unwrap();
        db.migrate().await.unwrap();
        let observer = raw(&server.url()).await;
        Bench { server, proxy, db, observer }
    }

    /// Users that are stored.
    async fn users(&self) -> i64 {
        count(&self.observer).await
    }

    /// The next piece of this text ends its connection.
    fn cut(&self, text: &'static str, cut: Cut) {
        self.proxy.is_now(Network::Cut(text, cut));
    }

    /// A transaction that has written and is to have a receipt.
    async fn written(&self) -> UnitOfWork {
        let options = TransactionOptions::default().receipt(true);
        let unit = self.db.begin_with(options).await.unwrap();
        unit.users().create(&somebody()).await.unwrap();
        unit
    }

    /// The receipt of a transaction whose COMMIT ended so.
    async fn committed(&self, cut: Cut) -> Receipt {
        let unit = self.written().await;
        self.cut("; COMMIT", cut);
        receipt_of(unit.commit().await.unwrap_err())
    }
}

async fn count(observer: &Client) -> i64 {
    observer.query_one("SELECT count(*) FROM users", &[]).await.unwrap().get(0)
}

fn receipt_of(error: Error) -> Receipt {
    let Error::OutcomeUnknown { receipt: Some(receipt), .. } = error else { panic!("{error:?}") };
    receipt
}

fn is_unknown(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { receipt: None, .. })
}

fn is_unavailable(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. })
}

#[tokio::test]
async fn b12_a_write_without_an_answer_is_unknown_and_what_was_not_sent_is_not() {
    let bench = Bench::start().await;
    let users = bench.db.users();
    // Cut off while it is prepared: it has not run.
    bench.cut("INSERT", Cut::Under);
    let error = users.create(&somebody()).await.unwrap_err();
    assert!(is_unavailable(&error), "{error:?}");
    assert_eq!(bench.users().await, 0);
    for (cut, stored) in [(Cut::Before, 0), (Cut::Behind, 1)] {
        // Prepared on the connection of now.
        let user = users.create(&somebody()).await.unwrap();
        assert!(users.find(user.id).await.unwrap().is_some());
        let before = bench.users().await;
        bench.cut("", cut);
        let error = users.create(&somebody()).await.unwrap_err();
        assert!(is_unknown(&error), "{cut:?}: {error:?}");
        assert_eq!(bench.users().await, before + stored);
    }
    // What reads writes nothing.
    let user = users.create(&somebody()).await.unwrap();
    for cut in [Cut::Before, Cut::Behind] {
        users.find(user.id).await.unwrap();
        bench.cut("", cut);
        let error = users.find(user.id).await.unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
        users.list(&UserFilter::default(), &PageRequest::first(3)).await.unwrap();
        bench.cut("", cut);
        let error = users.count(&UserFilter::default()).await.unwrap_err();
        assert!(is_unavailable(&error), "{error:?}");
    }
    bench.proxy.is_now(Network::Down);
    let error = users.create(&somebody()).await.unwrap_err();
    assert!(is_unavailable(&error) || matches!(error, Error::Busy { .. }), "{error:?}");
}

#[tokio::test]
async fn b12_a_function_may_write_and_so_may_a_borrower() {
    let bench = Bench::start().await;
    batch(
        &bench.db.connection().await.unwrap(),
        "CREATE TABLE t (id int);
         CREATE FUNCTION book() RETURNS bigint LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING 2::bigint'",
    )
    .await
    .unwrap();
    for (sql, unknown) in [
        ("SELECT book() AS n", true),
        ("WITH new AS (INSERT INTO t VALUES (3) RETURNING id) SELECT count(*) AS n FROM new", true),
        ("INSERT INTO t VALUES (4)", true),
        ("SELECT count(*) AS n FROM t", false),
    ] {
        for simple in [true, false] {
            let connection = bench.db.connection().await.unwrap();
            execute(&connection, sql).await.unwrap();
            bench.cut("", Cut::Behind);
            let result = match simple {
                true => batch(&connection, sql).await,
                false => execute(&connection, sql).await.map(drop),
            };
            let error = result.unwrap_err();
            assert_eq!(is_unknown(&error), unknown, "{sql}: {error:?}");
            assert_eq!(is_unavailable(&error), !unknown, "{sql}: {error:?}");
            // The second answer is that of a connection that is known to be gone.
            let error = execute(&connection, sql).await.unwrap_err();
            assert!(is_unavailable(&error), "{sql}: {error:?}");
        }
    }
    // Signing up is a function.
    bench.db.accounts().register(&somebody()).await.unwrap();
    bench.cut("", Cut::Behind);
    let error = bench.db.accounts().register(&somebody()).await.unwrap_err();
    assert!(is_unknown(&error), "{error:?}");
    assert_eq!(bench.users().await, 2);
}

#[tokio::test]
async fn b12_inside_a_transaction_only_the_commit_is_unknown() {
    let bench = Bench::start().await;
    bench.db.users().create(&somebody()).await.unwrap();
    let unit = bench.db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    bench.cut("", Cut::Behind);
    let error = unit.users().create(&somebody()).await.unwrap_err();
    assert!(is_unavailable(&error), "{error:?}");
    assert!(unit.commit().await.is_err());
    assert_eq!(bench.users().await, 1, "nothing of it");
    for (cut, stored) in [(Cut::Before, 0), (Cut::Behind, 1)] {
        let before = bench.users().await;
        let unit = bench.db.begin().await.unwrap();
        unit.users().create(&somebody()).await.unwrap();
        bench.cut("; COMMIT", cut);
        let error = unit.commit().await.unwrap_err();
        assert!(is_unknown(&error), "{error:?}");
        assert_eq!(bench.users().await, before + stored);
        // A batch is a transaction of its own.
        let many: Vec<_> = (0..3_000).map(|_| somebody()).collect();
        let before = bench.users().await;
        bench.cut("; COMMIT", cut);
        let error = bench.db.users().create_many(&many).await.unwrap_err();
        assert!(is_unknown(&error), "{error:?}");
        assert_eq!(bench.users().await, before + stored * 3_000);
    }
    // What has only read has nothing to be known.
    let unit = bench.db.begin().await.unwrap();
    unit.users().count(&UserFilter::default()).await.unwrap();
    bench.cut("; COMMIT", Cut::Behind);
    let error = unit.commit().await.unwrap_err();
    assert!(is_unavailable(&error), "{error:?}");
}

#[tokio::test]
async fn b12_a_users_write_is_unknown_too() {
    let bench = Bench::start().await;
    bench.db.create_roles().await.unwrap();
    let owner = bench.db.users().create(&somebody()).await.unwrap();
    let mine = bench.db.as_user(owner.id);
    let new = |name: &str| NewPortfolio::new(owner.id, name, RiskTolerance::Moderate);
    mine.portfolios().create(&new("One")).await.unwrap();
    bench.cut("; COMMIT", Cut::Behind);
    let error = mine.portfolios().create(&new("Two")).await.unwrap_err();
    assert!(is_unknown(&error), "{error:?}");
    bench.cut("BEGIN", Cut::Before);
    let error = mine.portfolios().create(&new("Three")).await.unwrap_err();
    assert!(is_unavailable(&error), "{error:?}");
    assert_eq!(mine.portfolios().count(&PortfolioFilter::default()).await.unwrap(), 2);
}

#[tokio::test]
async fn b12_a_silent_server_leaves_a_write_unknown() {
    let bench = Bench::with(|config| config.answer_timeout(Duration::from_millis(500))).await;
    bench.db.users().create(&somebody()).await.unwrap();
    let locker = raw(&bench.server.url()).await;
    locker.batch_execute("BEGIN; LOCK TABLE users").await.unwrap();
    let error = bench.db.users().create(&somebody()).await.unwrap_err();
    assert!(is_unknown(&error), "{error:?}");
    let unit = bench.db.begin().await.unwrap();
    let error = unit.users().create(&somebody()).await.unwrap_err();
    assert!(is_unavailable(&error), "{error:?}");
    let error = unit.users().create(&somebody()).await.unwrap_err();
    assert!(
        matches!(error, Error::Ended { reason } if reason.contains("did not answer")),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_receipt_comes_with_the_first_write() {
    let bench = Bench::start().await;
    let unit = bench.db.begin().await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    assert_eq!(unit.receipt().await, None, "nobody asked for it");
    drop(unit);
    let options = TransactionOptions::default().receipt(true);
    let unit = bench.db.begin_with(options).await.unwrap();
    unit.users().count(&UserFilter::default()).await.unwrap();
    assert_eq!(unit.receipt().await, None, "it has only read");
    let id = "SELECT coalesce(pg_current_xact_id_if_assigned()::text::bigint, 0) AS n";
    let assigned = async |unit: &UnitOfWork| {
        crate::support::number(&unit.connection().await.unwrap(), id).await.unwrap()
    };
    assert_eq!(assigned(&unit).await, 0);
    unit.users().create(&somebody()).await.unwrap();
    let receipt = unit.receipt().await.expect("it has written");
    let fields: Vec<_> = receipt.to_string().split('.').map(str::to_owned).collect();
    assert_eq!(fields[3], assigned(&unit).await.to_string());
    assert_eq!(receipt.to_string().parse::<Receipt>().unwrap(), receipt);
    unit.users().create(&somebody()).await.unwrap();
    assert_eq!(unit.receipt().await, Some(receipt));
    unit.commit().await.unwrap();
    assert_eq!(bench.db.outcome(&receipt).await.unwrap(), Outcome::Committed);
    // After an error that a savepoint undid, and in a batch.
    let unit = bench.db.begin_with(options).await.unwrap();
    let failed = unit
        .savepoint(async |unit: &UnitOfWork| {
            batch(&*unit.connection().await?, "SELECT 1/0; INSERT INTO users VALUES (1)").await
        })
        .await;
    assert!(failed.is_err());
    unit.users().create_many(&[somebody(), somebody()]).await.unwrap();
    let receipt = unit.receipt().await.expect("it has written");
    unit.rollback().await.unwrap();
    assert_eq!(bench.db.outcome(&receipt).await.unwrap(), Outcome::Aborted);
}

#[tokio::test]
async fn b12_a_receipt_tells_the_outcome() {
    let bench = Bench::start().await;
    for (cut, expected, stored) in [
        (Cut::Behind, Outcome::Committed, 1),
        (Cut::Before, Outcome::Aborted, 0),
        // The server does not know that nobody is there any more, until it is asked.
        (Cut::Held, Outcome::Aborted, 0),
    ] {
        let before = bench.users().await;
        let receipt = bench.committed(cut).await;
        for _ in 0..2 {
            assert_eq!(bench.db.outcome(&receipt).await.unwrap(), expected, "{cut:?}");
        }
        assert_eq!(bench.users().await, before + stored, "{cut:?}");
    }
    let open = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let open: i64 = bench.observer.query_one(open, &[]).await.unwrap().get(0);
    assert_eq!(open, 0, "its backend was ended");
}

#[tokio::test]
async fn b12_a_transaction_resolves_its_commit_by_itself() {
    let bench = Bench::start().await;
    let options = TransactionOptions::default().resolve_within(GENEROUS);
    for (cut, runs) in [(Cut::Behind, 1), (Cut::Before, 2), (Cut::Held, 2)] {
        let (before, user, run) = (bench.users().await, somebody(), AtomicU32::new(0));
        bench.cut("; COMMIT", cut);
        let made = bench
            .db
            .transaction_with(options, async |unit| {
                run.fetch_add(1, Ordering::Relaxed);
                unit.users().create(&user).await
            })
            .await;
        assert_eq!(made.unwrap().id, user.id);
        assert_eq!((run.into_inner(), bench.users().await), (runs, before + 1), "{cut:?}");
    }
    // One that is ended by hand says what it found.
    for (cut, committed) in [(Cut::Behind, true), (Cut::Before, false)] {
        let unit = bench.db.begin_with(options).await.unwrap();
        unit.users().create(&somebody()).await.unwrap();
        bench.cut("; COMMIT", cut);
        let done = unit.commit().await;
        assert_eq!(done.is_ok(), committed, "{done:?}");
        assert!(done.is_ok() || is_unavailable(done.as_ref().unwrap_err()), "{done:?}");
    }
    // Where nobody answers it says so in time, and the receipt is good later.
    let short = Duration::from_millis(300);
    let options = options.resolve_within(short);
    let unit = bench.db.begin_with(options).await.unwrap();
    unit.users().create(&somebody()).await.unwrap();
    let commits = tokio::spawn(unit.commit());
    bench.proxy.is_now(Network::Down);
    let done = tokio::time::timeout(GENEROUS, commits).await.unwrap().unwrap();
    bench.proxy.is_now(Network::Passes);
    // Whether the COMMIT was on its way when the network went is chance.
    if let Err(Error::OutcomeUnknown { receipt, .. }) = done {
        let outcome = bench.db.outcome(&receipt.expect("it was asked for")).await.unwrap();
        assert!(matches!(outcome, Outcome::Committed | Outcome::Aborted), "{outcome:?}");
    }
}

/// A COMMIT that takes its time: the old backend is ended, and it is over either way.
#[tokio::test]
async fn b12_a_commit_under_way_is_ended() {
    let bench = Bench::start().await;
    let slow = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(600); RETURN NULL; END $$;
                CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON users
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait()";
    bench.observer.batch_execute(slow).await.unwrap();
    let unit = bench.written().await;
    let victim = pid(&unit.connection().await.unwrap()).await as i32;
    bench.cut("; COMMIT", Cut::Under);
    let receipt = receipt_of(unit.commit().await.unwrap_err());
    assert_eq!(bench.db.outcome(&receipt).await.unwrap(), Outcome::Aborted);
    let runs = "SELECT FROM pg_stat_activity WHERE pid = $1";
    eventually("it is gone", async || {
        bench.observer.query(runs, &[&victim]).await.unwrap().is_empty()
    })
    .await;
    assert_eq!(bench.users().await, 0);
}

#[tokio::test]
async fn another_server_knows_nothing() {
    let bench = Bench::start().await;
    let receipt = bench.committed(Cut::Behind).await;
    let other = crate::support::database(1).await;
    let outcome = other.outcome(&receipt).await.unwrap();
    assert!(matches!(outcome, Outcome::Unknowable { .. }), "{outcome:?}");
    // Nor does this one of what it has never done.
    let text = receipt.to_string();
    let mut fields: Vec<_> = text.split('.').collect();
    fields[3] = "999999999";
    let future: Receipt = fields.join(".").parse().unwrap();
    let outcome = bench.db.outcome(&future).await.unwrap();
    assert!(matches!(outcome, Outcome::Unknowable { .. }), "{outcome:?}");
}

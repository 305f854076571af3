//! Faults under load, one after another, as a table: what callers saw, how soon all was well again, and that
//! no acknowledged write was lost and no connection is stuck.
//!
//! `cargo test --test it faults::table -- --nocapture` prints it.

mod cases;
mod hosts;
mod outcomes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::api::*;
use futures_util::StreamExt;
use tokio_postgres::Client;

use crate::support::process::{give, is_root, run};
use crate::support::proxy::{Network, Proxy};
use crate::support::server::{ServerOptions, TcpServer};
use crate::support::{GENEROUS, batch, eventually, parsed, raw};

const WRITERS: usize = 6;
/// How long is waited where nothing comes.
const SHORT: Duration = Duration::from_secs(1);

/// What a fault did.
struct Row {
    fault: &'static str,
    seen: BTreeMap<String, usize>,
    recovered: Duration,
    lost: usize,
    stuck: i64,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seen: Vec<&str> = self.seen.keys().map(String::as_str).collect();
        let seen = if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") };
        let (fault, recovered) = (self.fault, self.recovered.as_millis());
        write!(f, "| {fault} | {seen} | {recovered} ms | {} | {} |", self.lost, self.stuck)
    }
}

/// The kind of an error, as its variant's name, with what it names.
fn kind(error: &Error) -> String {
    let text = format!("{error:?}");
    let name = text.split([' ', '(', '{']).next().unwrap_or_default();
    match error {
        Error::Timeout { limit } => format!("{name} ({limit})"),
        Error::Busy { resource, .. } => format!("{name} ({resource})"),
        Error::Database { sqlstate, .. } => format!("{name} ({sqlstate})"),
        _ => name.to_owned(),
    }
}

/// Tasks that write without a pause, and a ledger of what they were told is done.
struct Load {
    db: Database,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    errors: Arc<Mutex<BTreeMap<String, usize>>>,
    tasks: Vec<tokio::task::JoinHandle<BTreeSet<String>>>,
}

impl Load {
    fn start(db: &Database) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let errors = Arc::new(Mutex::new(BTreeMap::new()));
        let tasks = (0..WRITERS).map(|_| {
            let (db, stop) = (db.clone(), stop.clone());
            let (done, errors) = (done.clone(), errors.clone());
            tokio::spawn(async move {
                let mut written = BTreeSet::new();
                while !stop.load(Ordering::Relaxed) {
                    let ticker = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
                    match write(&db, &ticker, written.len() % 2 == 0).await {
                        Ok(()) => {
                            written.insert(ticker);
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => {
                            *errors.lock().unwrap().entry(kind(&error)).or_default() += 1;
                            tokio::time::sleep(Duration::from_millis(5)).await;
                        }
                    }
                }
                written
            })
        });
        let tasks = tasks.collect();
        Load { db: db.clone(), stop, done, errors, tasks }
    }

    async fn works(&self) {
        let before = self.done.load(Ordering::Relaxed);
        let works = async || self.done.load(Ordering::Relaxed) > before + 30;
        eventually("writes are done", works).await;
    }

    async fn errors_come(&self) {
        eventually("callers are told", async || !self.errors.lock().unwrap().is_empty()).await;
    }

    /// Ends it; `healed` is when the fault was over.
    async fn row(self, fault: &'static str, healed: Instant, server: &TcpServer) -> Row {
        let before = self.done.load(Ordering::Relaxed);
        eventually("writes are done again", async || self.done.load(Ordering::Relaxed) > before)
            .await;
        let recovered = healed.elapsed();
        self.works().await;
        self.stop.store(true, Ordering::Relaxed);
        let mut acknowledged = BTreeSet::new();
        for task in self.tasks {
            let written = tokio::time::timeout(GENEROUS, task).await.expect("nobody is stuck");
            acknowledged.extend(written.unwrap());
        }
        let observer = raw(&server.url()).await;
        let stored = observer.query("SELECT ticker FROM price_history", &[]).await.unwrap();
        let stored: BTreeSet<String> = stored.iter().map(|row| row.get(0)).collect();
        let stuck = stuck(&self.db, &observer).await;
        let seen = std::mem::take(&mut *self.errors.lock().unwrap());
        Row { fault, seen, recovered, lost: acknowledged.difference(&stored).count(), stuck }
    }
}

async fn write(db: &Database, ticker: &str, in_transaction: bool) -> Result<()> {
    let bar =
        NewPriceBar::new(parsed(ticker), parsed::<chrono::NaiveDate>("2024-01-02"), parsed("1"));
    if in_transaction {
        db.transaction(async |uow| uow.prices().create(&bar).await.map(drop)).await
    } else {
        db.prices().create(&bar).await.map(drop)
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

/// Connections in use, and statements or transactions that are open on the server, after some time.
async fn stuck(db: &Database, observer: &Client) -> i64 {
    let open = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND pid <> pg_backend_pid() AND state <> 'idle' AND application_name = 'buffetbot-db'";
    let started = Instant::now();
    loop {
        let on_server: i64 = observer.query_one(open, &[]).await.unwrap().get(0);
        let stuck = on_server + db.pool().state().in_use as i64;
        if stuck == 0 || started.elapsed() > PATIENCE {
            return stuck;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One server behind a network, and the table so far.
struct Bench {
    server: TcpServer,
    rows: Vec<String>,
}

impl Bench {
    async fn start() -> Self {
        let options = |_: &_| ServerOptions {
            settings: vec!["max_connections=30".into(), "deadlock_timeout=50ms".into()],
            ..ServerOptions::default()
        };
        let server = TcpServer::start_with(options).await;
        let setup = Database::connect(Bench::config(&server.url())).await.unwrap();
        setup.migrate().await.unwrap();
        setup.create_roles().await.unwrap();
        Bench { server, rows: Vec::new() }
    }

    fn url(&self, port: u16) -> String {
        self.server.url().replace(&format!(":{}/", self.server.port), &format!(":{port}/"))
    }

    /// Limits that nothing reaches on a machine that is merely busy.
    fn config(url: &str) -> Config {
        Config::new(url)
            .unwrap()
            .pool_size(4)
            .pool_max_overflow(0)
            .pool_timeout(Duration::from_secs(20))
            .connect_timeout(Duration::from_secs(10))
            .answer_timeout(Duration::from_secs(20))
            // By which the server ends what a client that it cannot reach has left open.
            .idle_in_transaction_timeout(SHORT)
    }

    /// Such as soon end the wait for what never comes.
    fn impatient(url: &str) -> Config {
        Self::config(url)
            .pool_timeout(2 * SHORT)
            .connect_timeout(SHORT)
            .answer_timeout(SHORT)
            // After the client has given up: else it is chance which of the two is told.
            .idle_in_transaction_timeout(3 * SHORT)
    }

    async fn load(&self) -> Load {
        self.load_with(Self::config(&self.server.url())).await
    }

    async fn load_with(&self, config: Config) -> Load {
        let load = Load::start(&Database::connect(config).await.unwrap());
        load.works().await;
        load
    }

    async fn ends(&mut self, load: Load, fault: &'static str, healed: Instant, expected: &[&str]) {
        let row = load.row(fault, healed, &self.server).await;
        for seen in row.seen.keys() {
            assert!(expected.iter().any(|e| seen.starts_with(e)), "{fault}: {seen}");
        }
        assert!(expected.is_empty() || !row.seen.is_empty(), "{fault}: nobody was told");
        assert_eq!((row.lost, row.stuck), (0, 0), "{fault}: lost writes, stuck connections");
        assert!(row.recovered < GENEROUS, "{fault}: {:?}", row.recovered);
        self.rows.push(row.to_string());
    }

    /// The server is ended by a signal, and started again.
    async fn ended(&mut self, fault: &'static str, signal: &str) {
        let load = self.load().await;
        self.server.signal(signal);
        load.errors_come().await;
        self.server.run().await;
        self.ends(load, fault, Instant::now(), &["Unavailable", "OutcomeUnknown", "Busy"]).await;
    }

    /// The network does something for a while.
    async fn network(
        &mut self,
        fault: &'static str,
        bad: impl Fn(&Proxy) -> Network,
        expected: &[&str],
    ) {
        let proxy = Proxy::start(self.server.port).await;
        let swallows = matches!(bad(&proxy), Network::Swallows | Network::ForgotTo(_));
        let limits = if swallows { Self::impatient } else { Self::config };
        let load = self.load_with(limits(&self.url(proxy.port))).await;
        proxy.is_now(bad(&proxy));
        if expected.is_empty() {
            load.works().await;
        } else {
            load.errors_come().await;
        }
        let healed = Instant::now();
        if !matches!(bad(&proxy), Network::ForgotTo(_) | Network::ResetTo(_)) {
            proxy.is_now(Network::Passes);
        }
        self.ends(load, fault, healed, expected).await;
    }

    /// Statements of an administrator bring the fault on and end it.
    async fn told(
        &mut self,
        fault: &'static str,
        config: Config,
        bad: &str,
        good: &str,
        expected: &[&str],
    ) {
        let load = self.load_with(config).await;
        let admin = raw(&self.server.url()).await;
        admin.batch_execute("SELECT 1").await.unwrap();
        for statement in bad.split(';') {
            admin.batch_execute(statement).await.unwrap();
        }
        if expected.is_empty() {
            load.works().await;
        } else {
            load.errors_come().await;
        }
        for statement in good.split(';') {
            admin.batch_execute(statement).await.unwrap();
        }
        self.ends(load, fault, Instant::now(), expected).await;
    }

    fn print(&self) {
        println!(
            "\n| fault | what callers saw | well again after | lost writes | stuck connections |"
        );
        println!("|---|---|---|---|---|");
        for row in &self.rows {
            println!("{row}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[cfg_attr(not(all(target_os = "linux", target_arch = "x86_64")), ignore = "needs faketime")]
async fn every_fault_is_survived() {
    let mut bench = Bench::start().await;

    bench.ended("server killed (kill -9)", "KILL").await;
    bench.ended("immediate shutdown and restart", "QUIT").await;
    bench.ended("fast shutdown and restart", "INT").await;
    cases::killed_in_a_copy(&mut bench).await;
    outcomes::killed_at_commit(&mut bench).await;
    outcomes::cut_at_commit(&mut bench).await;
    let all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'buffetbot-db'";
    let config = Bench::config(&bench.server.url());
    bench
        .told(
            "every backend terminated",
            config.clone(),
            all,
            "SELECT 1",
            &["Unavailable", "OutcomeUnknown", "Busy"],
        )
        .await;

    bench
        .network(
            "connections reset",
            |proxy| Network::ResetTo(proxy.made()),
            &["Unavailable", "OutcomeUnknown"],
        )
        .await;
    bench
        .network(
            "network down: reset and refused",
            |_| Network::Down,
            &["Unavailable", "OutcomeUnknown", "Busy"],
        )
        .await;
    bench
        .network(
            "black hole: packets vanish",
            |_| Network::Swallows,
            &["Unavailable", "OutcomeUnknown", "Busy"],
        )
        .await;
    bench
        .network(
            "half-open: a NAT forgot the connections",
            |proxy| Network::ForgotTo(proxy.made()),
            &["Unavailable", "OutcomeUnknown", "Busy"],
        )
        .await;
    bench
        .network("slow network: 20 ms a packet", |_| Network::Slow(Duration::from_millis(20)), &[])
        .await;
    cases::second_host(&mut bench).await;
    cases::left_on_a_standby(&mut bench, all).await;

    cases::too_many(&mut bench, all).await;
    cases::pool_exhausted(&mut bench).await;
    let set = |on: &str| {
        format!("ALTER SYSTEM SET default_transaction_read_only = {on}; SELECT pg_reload_conf()")
    };
    bench
        .told(
            "read-only",
            config.clone(),
            &set("on"),
            &format!("SET transaction_read_only = off; {}", set("off")),
            &["ReadOnly"],
        )
        .await;
    let (lock, unlock) = ("BEGIN; LOCK TABLE price_history IN SHARE MODE", "ROLLBACK");
    let short = Duration::from_millis(300);
    bench
        .told(
            "statement timeout: a lock is held",
            config.clone().statement_timeout(short),
            lock,
            unlock,
            &["Timeout (statement_timeout)", "Busy (pooled"],
        )
        .await;
    bench
        .told(
            "lock timeout: a lock is held",
            config.clone().lock_timeout(short),
            lock,
            unlock,
            &["Busy"],
        )
        .await;
    let wider = "ALTER TABLE price_history ALTER COLUMN data_source TYPE VARCHAR(51)";
    let back = "ALTER TABLE price_history ALTER COLUMN data_source TYPE VARCHAR(50)";
    bench
        .told("a migration changes tables below cached plans", config.clone(), wider, back, &[])
        .await;
    cases::out_of_memory(&mut bench).await;
    cases::clock_jumps(&mut bench).await;
    cases::collisions(&mut bench).await;
    if is_root() {
        cases::disk_full(&mut bench).await;
        hosts::the_name_leads_elsewhere(&mut bench).await;
    }
    bench.print();
}

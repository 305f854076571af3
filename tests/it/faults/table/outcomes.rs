//! COMMITs that are not answered, of transactions that resolve what became of them: each answer is compared with what the
//! table holds.

use super::*;
use crate::support::proxy::Cut;

/// By which each transaction knows, or says that it cannot.
const STATED: Duration = Duration::from_secs(20);
const ROUNDS: usize = 5;

/// What each caller was told of the row that it wrote.
type Told = Vec<(String, Result<()>)>;

/// The server is killed when a COMMIT has just reached it.
pub async fn killed_at_commit(bench: &mut Bench) {
    let seen = unanswered(bench, "server killed exactly at COMMIT", Cut::Under, true).await;
    for kind in seen {
        let expected = ["Unavailable", "Busy", "OutcomeUnknown"];
        assert!(expected.iter().any(|e| kind.starts_with(e)), "{kind}");
    }
}

/// The network goes between a COMMIT and its answer, or just before it.
pub async fn cut_at_commit(bench: &mut Bench) {
    for (fault, cut) in [
        ("network cut between COMMIT and its answer", Cut::Behind),
        ("network cut before a COMMIT arrives, and the server does not hear of it", Cut::Held),
    ] {
        let seen = unanswered(bench, fault, cut, false).await;
        assert!(seen.is_empty(), "{fault}: all is resolved, and nobody sees it: {seen:?}");
    }
}

/// Brings it on a few times; returns the errors that callers saw.
async fn unanswered(bench: &mut Bench, fault: &'static str, cut: Cut, kill: bool) -> Vec<String> {
    let proxy = Proxy::start(bench.server.port).await;
    let config = Bench::config(&bench.url(proxy.port));
    let db = Database::connect(config.idle_in_transaction_timeout(GENEROUS)).await.unwrap();
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..WRITERS)
        .map(|_| tokio::spawn(write_until(stop.clone(), db.clone(), done.clone())))
        .collect();
    let works = async || {
        let before = done.load(Ordering::Relaxed);
        let works = async || done.load(Ordering::Relaxed) > before + WRITERS;
        eventually("writes are done", works).await;
    };
    let mut recovered = Duration::ZERO;
    for _ in 0..ROUNDS {
        works().await;
        proxy.is_now(Network::Cut("; COMMIT", cut));
        proxy.is_cut().await;
        if kill {
            bench.server.kill();
            bench.server.run().await;
        }
        let healed = Instant::now();
        works().await;
        recovered = recovered.max(healed.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let mut told = Told::new();
    for task in tasks {
        told.extend(tokio::time::timeout(GENEROUS, task).await.expect("nobody is stuck").unwrap());
    }
    let observer = raw(&bench.server.url()).await;
    let stored = observer.query("SELECT ticker FROM price_history", &[]).await.unwrap();
    let stored: BTreeSet<String> = stored.iter().map(|row| row.get(0)).collect();
    let (mut seen, mut wrong) = (BTreeMap::new(), 0);
    for (ticker, result) in told {
        let is_right = match (&result, stored.contains(&ticker)) {
            (Ok(()), is_stored) => is_stored,
            (Err(Error::OutcomeUnknown { receipt, .. }), is_stored) => {
                let receipt = receipt.as_ref().expect("it was asked for");
                match db.outcome(receipt).await.unwrap() {
                    Outcome::Committed => is_stored,
                    Outcome::Aborted => !is_stored,
                    Outcome::Unknowable { .. } => true,
                    other => panic!("{fault}: {other:?}"),
                }
            }
            (Err(_), is_stored) => !is_stored,
        };
        wrong += usize::from(!is_right);
        if let Err(error) = result {
            *seen.entry(kind(&error)).or_default() += 1;
        }
    }
    let stuck = stuck(&db, &observer).await;
    assert_eq!((wrong, stuck), (0, 0), "{fault}: wrong answers, stuck connections");
    let kinds = seen.keys().cloned().collect();
    bench.rows.push(Row { fault, seen, recovered, lost: wrong, stuck }.to_string());
    kinds
}

async fn write_until(stop: Arc<AtomicBool>, db: Database, done: Arc<AtomicUsize>) -> Told {
    let options = TransactionOptions::default().resolve_within(STATED);
    let mut told = Told::new();
    while !stop.load(Ordering::Relaxed) {
        let ticker = uuid::Uuid::new_v4().simple().to_string().to_uppercase();
        let day = parsed::<chrono::NaiveDate>("2024-01-02");
        let bar = NewPriceBar::new(parsed(&ticker), day, parsed("1"));
        let write = db.transaction_with(options, async |uow| {
            // Not twice, where an attempt was thought to be undone and was not.
            uow.prices().create(&bar).await.map(drop)
        });
        let result = tokio::time::timeout(2 * GENEROUS, write).await.expect("in time");
        match &result {
            Ok(()) => drop(done.fetch_add(1, Ordering::Relaxed)),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
        told.push((ticker, result));
    }
    told
}

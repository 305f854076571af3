//! Chains as snapshots.

use buffetbot_db::options::{ChainFilter, NewOptionQuote, OptionQuote, OptionQuoteFilter};
use buffetbot_db::store::UpsertReport;
use buffetbot_db::testing::TestDatabase;
use buffetbot_db::types::{OptionType, Price};
use chrono::{DateTime, Utc};

use super::{assert_invalid, at, chain, contract, day, noon, parsed, quote};
use crate::support::handle::Handle;

conformance! {
    the_same_snapshot_again_changes_nothing,
    a_corrected_snapshot_updates,
    items_of_another_chain_are_left_out,
    the_last_item_of_a_contract_counts,
    a_time_is_kept_to_the_microsecond,
    a_chain_is_as_it_was_known,
    a_chain_comes_in_order,
    filters_select_contracts,
    an_expiration_has_its_own_latest_snapshot,
    expirations_are_of_the_snapshot,
    a_contract_has_a_history,
    quotes_of_many_snapshots_are_merged_at_once,
}

fn counts(report: &UpsertReport) -> [u64; 5] {
    let UpsertReport { inserted, updated, unchanged, superseded, rejected, .. } = report;
    [*inserted, *updated, *unchanged, *superseded, rejected.len() as u64]
}

async fn put(handle: &impl Handle, time: DateTime<Utc>, quotes: &[NewOptionQuote]) -> [u64; 5] {
    let ticker = parsed("AAPL");
    counts(&handle.options().put_chain(&ticker, time, quotes).await.expect("stored"))
}

/// Expiration, type and strike.
fn brief(quotes: &[OptionQuote]) -> Vec<String> {
    let brief = |q: &OptionQuote| format!("{} {} {}", q.expiration(), q.option_type, q.strike);
    quotes.iter().map(brief).collect()
}

async fn the_same_snapshot_again_changes_nothing(handle: &impl Handle) {
    let options = handle.options();
    let mut quotes = chain("AAPL", &["2025-01-17", "2025-02-21"], 30);
    quotes.push(
        quote("AAPL250117C00090000")
            .bid_ask(parsed("1.0000000001"), parsed("2"))
            .greeks(parsed("0.5"), parsed("1"), parsed("-2"), parsed("3"))
            .implied_volatility(parsed("0.25")),
    );
    assert_eq!(put(handle, noon("01-02"), &quotes).await, [121, 0, 0, 0, 0]);
    let everything = ChainFilter::default();
    let before = options.latest_chain(&parsed("AAPL"), &everything).await.expect("read");
    quotes.reverse();
    assert_eq!(put(handle, noon("01-02"), &quotes).await, [0, 0, 121, 0, 0]);
    let after = options.latest_chain(&parsed("AAPL"), &everything).await.expect("read");
    assert_eq!(before, after);
    assert_eq!(put(handle, noon("01-03"), &quotes).await, [121, 0, 0, 0, 0]);
    assert_eq!(put(handle, noon("01-03"), &[]).await, [0; 5]);
}

async fn a_corrected_snapshot_updates(handle: &impl Handle) {
    let mut quotes = chain("AAPL", &["2025-01-17"], 5);
    put(handle, noon("01-02"), &quotes).await;
    quotes[3] = quotes[3].clone().bid_ask(parsed("7"), parsed("8"));
    quotes[4].last = None;
    assert_eq!(put(handle, noon("01-02"), &quotes).await, [0, 2, 8, 0, 0]);
    let puts = ChainFilter::default().option_type(OptionType::Put);
    let stored = handle.options().latest_chain(&parsed("AAPL"), &puts).await.expect("read");
    assert_eq!(stored[3].bid, Some(parsed("7")));
    assert_eq!((&stored[4].last, &stored[0].last), (&None, &Some(parsed("1.5"))));
}

async fn items_of_another_chain_are_left_out(handle: &impl Handle) {
    let mut quotes = chain("AAPL", &["2025-01-17"], 3);
    quotes[0] = quote("MSFT250117C00100000");
    quotes[1] = quotes[1].clone().fetched_at(noon("01-03"));
    quotes[2] = quotes[2].clone().fetched_at(noon("01-02"));
    quotes[3] = quotes[3].clone().volume(-1);
    let options = handle.options();
    let ticker = parsed("AAPL");
    let report = options.put_chain(&ticker, noon("01-02"), &quotes).await.expect("stored");
    assert_eq!(report.inserted, 3);
    let rejected: Vec<_> = report.rejected.iter().map(|r| (r.index, &*r.field)).collect();
    assert_eq!(rejected, [(0, "ticker"), (1, "fetched_at"), (3, "volume")]);
    let never = DateTime::<Utc>::MAX_UTC;
    assert_invalid(options.put_chain(&ticker, never, &quotes).await, "fetched_at");
}

async fn the_last_item_of_a_contract_counts(handle: &impl Handle) {
    let one = || quote("AAPL250117C00100000");
    // With and without its own time it is the same contract of the same chain.
    let quotes = [one().volume(1), one().volume(2).fetched_at(noon("01-02")), one().volume(3)];
    assert_eq!(put(handle, noon("01-02"), &quotes).await, [1, 0, 0, 2, 0]);
    let ticker = parsed("AAPL");
    let stored = handle.options().latest_chain(&ticker, &ChainFilter::default()).await;
    assert_eq!(stored.expect("read")[0].volume, Some(3));
}

async fn a_time_is_kept_to_the_microsecond(handle: &impl Handle) {
    let options = handle.options();
    let time = at("2024-01-02T12:00:00.123456789Z");
    let quotes = chain("AAPL", &["2025-01-17"], 2);
    assert_eq!(put(handle, time, &quotes).await, [4, 0, 0, 0, 0]);
    assert_eq!(put(handle, time, &quotes).await, [0, 0, 4, 0, 0]);
    // Two times that are stored as one are one.
    let same = |nanos: &str| {
        quote("AAPL250117C00100000").fetched_at(at(&format!("2024-01-02T12:00:00.{nanos}Z")))
    };
    let report = options.upsert_many(&[same("123456001"), same("123456999")]).await;
    assert_eq!(counts(&report.expect("stored")), [0, 1, 0, 1, 0]);
    let chain = options.chain(&parsed("AAPL"), time, &ChainFilter::default()).await;
    assert_eq!(chain.expect("read").len(), 4);
}

async fn a_chain_is_as_it_was_known(handle: &impl Handle) {
    let options = handle.options();
    put(handle, noon("01-02"), &chain("AAPL", &["2025-01-17"], 1)).await;
    put(handle, noon("01-04"), &chain("AAPL", &["2025-01-17"], 2)).await;
    let other = chain("MSFT", &["2025-01-17"], 9);
    options.put_chain(&parsed("MSFT"), noon("01-03"), &other).await.expect("stored");
    let size = async |time| {
        let chain = options.chain(&parsed("AAPL"), time, &ChainFilter::default()).await;
        chain.expect("read").len()
    };
    assert_eq!(size(at("2024-01-02T11:59:59.999999Z")).await, 0);
    assert_eq!(size(noon("01-02")).await, 2);
    assert_eq!(size(at("2024-01-04T11:59:59.999999Z")).await, 2);
    assert_eq!(size(noon("01-04")).await, 4);
    assert_eq!(size(DateTime::<Utc>::MAX_UTC).await, 4);
    assert_eq!(size(DateTime::<Utc>::MIN_UTC).await, 0);
    let unknown = options.latest_chain(&parsed("ZZZ"), &ChainFilter::default()).await;
    assert_eq!(unknown.expect("read"), []);
}

async fn a_chain_comes_in_order(handle: &impl Handle) {
    put(handle, noon("01-02"), &chain("AAPL", &["2025-02-21", "2025-01-17"], 2)).await;
    let ticker = parsed("AAPL");
    let stored = handle.options().latest_chain(&ticker, &ChainFilter::default()).await;
    let expected = [
        "2025-01-17 call 100",
        "2025-01-17 call 101",
        "2025-01-17 put 100",
        "2025-01-17 put 101",
        "2025-02-21 call 100",
        "2025-02-21 call 101",
        "2025-02-21 put 100",
        "2025-02-21 put 101",
    ];
    assert_eq!(brief(&stored.expect("read")), expected);
}

async fn filters_select_contracts(handle: &impl Handle) {
    let options = handle.options();
    put(handle, noon("01-02"), &chain("AAPL", &["2025-01-17", "2025-02-21"], 10)).await;
    let all = ChainFilter::default;
    for (filter, expected) in [
        (all(), 40),
        (all().expiration(day("2025-02-21")), 20),
        (all().expiration(day("2025-02-22")), 0),
        (all().option_type(OptionType::Call), 20),
        (all().min_strike(parsed::<Price>("108")), 8),
        (all().max_strike(parsed::<Price>("100")), 4),
        (
            ChainFilter::default()
                .expiration(day("2025-01-17"))
                .option_type(OptionType::Put)
                .min_strike(parsed::<Price>("102.5"))
                .max_strike(parsed::<Price>("105")),
            3,
        ),
        (all().min_strike(parsed::<Price>("5")).max_strike(parsed::<Price>("4")), 0),
    ] {
        let latest = options.latest_chain(&parsed("AAPL"), &filter).await.expect("read");
        assert_eq!(latest.len(), expected, "{filter:?}");
        let known = options.chain(&parsed("AAPL"), noon("01-05"), &filter).await.expect("read");
        assert_eq!(known, latest);
    }
}

async fn an_expiration_has_its_own_latest_snapshot(handle: &impl Handle) {
    // Providers deliver expiration by expiration.
    put(handle, noon("01-02"), &chain("AAPL", &["2025-01-17"], 1)).await;
    put(handle, noon("01-03"), &chain("AAPL", &["2025-02-21"], 1)).await;
    let january = ChainFilter::default().expiration(day("2025-01-17"));
    let stored = handle.options().latest_chain(&parsed("AAPL"), &january).await.expect("read");
    assert_eq!(brief(&stored), ["2025-01-17 call 100", "2025-01-17 put 100"]);
    assert_eq!(stored[0].fetched_at, noon("01-02"));
}

async fn expirations_are_of_the_snapshot(handle: &impl Handle) {
    let options = handle.options();
    put(handle, noon("01-02"), &chain("AAPL", &["2025-02-21", "2025-01-17"], 3)).await;
    put(handle, noon("01-04"), &chain("AAPL", &["2025-03-21", "2025-02-21"], 3)).await;
    let expirations = async |time| {
        let days = options.expirations(&parsed("AAPL"), time).await.expect("read");
        days.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(expirations(noon("01-01")).await, [""; 0]);
    assert_eq!(expirations(noon("01-03")).await, ["2025-01-17", "2025-02-21"]);
    assert_eq!(expirations(noon("01-04")).await, ["2025-02-21", "2025-03-21"]);
}

async fn a_contract_has_a_history(handle: &impl Handle) {
    let options = handle.options();
    for date in ["01-04", "01-02", "01-03", "01-05"] {
        put(handle, noon(date), &chain("AAPL", &["2025-01-17"], 3)).await;
    }
    let of = contract("AAPL250117P00101000");
    let history = options.contract_history(&of, noon("01-03"), noon("01-04")).await;
    let history = history.expect("read");
    let times: Vec<_> = history.iter().map(|quote| quote.fetched_at).collect();
    assert_eq!(times, [noon("01-03"), noon("01-04")]);
    assert!(history.iter().all(|quote| quote.contract() == of));
    let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
    assert_eq!(options.contract_history(&of, first, last).await.expect("read").len(), 4);
    let unknown = contract("AAPL250117P00101500");
    assert_eq!(options.contract_history(&unknown, first, last).await.expect("read"), []);
}

async fn quotes_of_many_snapshots_are_merged_at_once(handle: &impl Handle) {
    let options = handle.options();
    let mut quotes = Vec::new();
    for (ticker, date) in [("MSFT", "01-02"), ("AAPL", "01-03"), ("AAPL", "01-02")] {
        let snapshot = chain(ticker, &["2025-01-17", "2025-02-21"], 600);
        quotes.extend(snapshot.into_iter().map(|quote| quote.fetched_at(noon(date))));
    }
    let report = options.upsert_many(&quotes).await.expect("stored");
    assert_eq!(counts(&report), [7_200, 0, 0, 0, 0]);
    let report = options.upsert_many(&quotes).await.expect("stored");
    assert_eq!(counts(&report), [0, 0, 7_200, 0, 0]);
    // Without a time, that of storing.
    let report = options.upsert_many(&chain("AAPL", &["2025-01-17"], 1)).await.expect("stored");
    assert_eq!(report.inserted, 2);
    let latest = options.latest_chain(&parsed("AAPL"), &ChainFilter::default()).await;
    assert_eq!(latest.expect("read").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeps_at_once_share_the_work() {
    let db = TestDatabase::new().await.expect("a database");
    let quotes = chain("AAPL", &["2025-01-17"], 1_000);
    db.options().put_chain(&parsed("AAPL"), noon("01-02"), &quotes).await.expect("stored");
    let sweepers: Vec<_> = (0..4)
        .map(|_| {
            let options = db.options_arc();
            tokio::spawn(async move {
                let mut swept = 0;
                loop {
                    let day = std::time::Duration::from_secs(24 * 60 * 60);
                    let retention = buffetbot_db::store::Retention::older_than(day);
                    match options.sweep(50, &retention).await.expect("no deadlock").deleted {
                        0 => return swept,
                        n => swept += n,
                    }
                }
            })
        })
        .collect();
    let mut swept = 0;
    for sweeper in sweepers {
        swept += sweeper.await.expect("no panic");
    }
    let left = db.options().count(&OptionQuoteFilter::default()).await.expect("read");
    assert_eq!((swept, left), (2_000, 0));
}

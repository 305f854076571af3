//! What a chain tells: of a made one with known answers, and of a real one.

use buffetbot_db::Error;
use buffetbot_db::import::{CsvOptions, options_from_csv};
use buffetbot_db::options::{ChainFilter, OptionChain, OptionQuote, SmilePoint, StrikeInterest};
use buffetbot_db::types::{OptionQuoteId, OptionType};
use chrono::NaiveDate;

use super::{contract, day, noon};
use crate::support::handle::Handle;
use crate::support::{parsed, repository};

conformance! {
    a_real_chain_tells_what_it_says,
    a_stored_chain_is_one,
}

/// A quote of 2024-11-05 with these numbers, where given.
fn quote(symbol: &str, delta: &str, volatility: &str, volume: i64, interest: i64) -> OptionQuote {
    let contract = contract(symbol);
    OptionQuote {
        id: OptionQuoteId::generate(),
        ticker: contract.ticker,
        option_type: contract.option_type,
        strike: contract.strike,
        expiration_date: contract.expiration.midnight_utc(),
        last: None,
        bid: None,
        ask: None,
        volume: (volume >= 0).then_some(volume),
        open_interest: (interest >= 0).then_some(interest),
        delta: (!delta.is_empty()).then(|| parsed(delta)),
        gamma: None,
        theta: None,
        vega: None,
        implied_volatility: (!volatility.is_empty()).then(|| parsed(volatility)),
        data_source: None,
        fetched_at: noon("11-05"),
    }
}

/// Calls and puts open in the real chain, and puts traded by calls traded.
const REAL_INTEREST: (u64, u64) = (90_046, 60_836);
const REAL_VOLUME_RATIO: f64 = 54_558.0 / 108_142.0;

const JANUARY: &str = "2025-01-17";
const FEBRUARY: &str = "2025-02-21";

/// Strikes 90, 100 and 110 in January, 100 in February.
fn made() -> OptionChain {
    let quotes = vec![
        quote("A250221C00100000", "0.5", "0.4", 1, 1),
        quote("A250117P00090000", "-0.2", "0.35", 40, 400),
        quote("A250117C00110000", "0.3", "0.22", 10, 100),
        quote("A250117C00090000", "0.8", "0.31", 20, 50),
        quote("A250117P00110000", "-0.7", "", -1, 30),
        quote("A250117C00100000", "", "0.25", 30, -1),
        quote("A250117P00100000", "-0.5", "0.27", 50, 200),
        quote("A250221P00100000", "", "0", 0, 0),
    ];
    OptionChain::new(quotes).expect("one snapshot")
}

fn strike(quote: Option<&OptionQuote>) -> Option<String> {
    quote.map(|quote| quote.strike.to_string())
}

#[test]
fn the_nearest_contracts_are_found() {
    let chain = made();
    let (january, february) = (day(JANUARY), day(FEBRUARY));
    assert_eq!(chain.expirations(), [january, february]);
    // 2025-02-03 is 17 days after the one and 18 before the other; -04 is as far from both.
    assert_eq!(chain.nearest_expiration(day("2025-02-03")), Some(january));
    assert_eq!(chain.nearest_expiration(day("2025-02-04")), Some(february));
    assert_eq!(chain.nearest_expiration(NaiveDate::MIN), Some(january));

    let near = |price: &str| chain.nearest_strike(january, &parsed(price)).map(|s| s.to_string());
    assert_eq!(near("94.999").as_deref(), Some("90"));
    assert_eq!(near("95").as_deref(), Some("90"), "of two the lower one");
    assert_eq!(near("95.001").as_deref(), Some("100"));
    assert_eq!(near("1000").as_deref(), Some("110"));
    assert_eq!(chain.nearest_strike(day("2030-01-01"), &parsed("100")), None);

    let (call, put) = (OptionType::Call, OptionType::Put);
    assert_eq!(strike(chain.nearest_delta(january, call, 0.5)).as_deref(), Some("110"));
    assert_eq!(strike(chain.nearest_delta(january, call, 0.56)).as_deref(), Some("90"));
    assert_eq!(strike(chain.nearest_delta(january, put, -0.25)).as_deref(), Some("90"));
    assert_eq!(strike(chain.nearest_delta(february, put, -0.5)), None, "without a delta");

    let money = chain.at_the_money(january, &parsed("101")).expect("contracts");
    assert_eq!(money.strike.to_string(), "100");
    let volatility = |quote: Option<&OptionQuote>| quote.and_then(|q| q.implied_volatility.clone());
    assert_eq!(volatility(money.call), Some(parsed("0.25")));
    assert_eq!(volatility(money.put), Some(parsed("0.27")));
}

#[test]
fn volatility_has_a_smile_and_a_term() {
    let chain = made();
    let spot = parsed("102");
    let smile = chain.smile(day(JANUARY), &spot);
    let point = |strike: &str, moneyness: f64, call, put| SmilePoint {
        strike: parsed(strike),
        moneyness,
        call,
        put,
    };
    let expected = [
        point("90", 90.0 / 102.0, Some(0.31), Some(0.35)),
        point("100", 100.0 / 102.0, Some(0.25), Some(0.27)),
        point("110", 110.0 / 102.0, Some(0.22), None),
    ];
    assert_eq!(smile, expected);
    let outside: Vec<f64> = smile.iter().map(SmilePoint::out_of_the_money).collect();
    assert_eq!(outside, [0.35, 0.27, 0.22]);
    let at = chain.smile(day(JANUARY), &parsed("100"))[1].out_of_the_money();
    assert!((at - 0.26).abs() < 1e-12);

    let term = chain.term_structure(&spot);
    assert_eq!(term.len(), 2);
    assert_eq!((term[0].expiration, term[0].days), (day(JANUARY), 73));
    // A fifth of the way from 0.26 to 0.22.
    assert!((term[0].implied_volatility - 0.252).abs() < 1e-12, "{term:?}");
    // A zero is no volatility; all strikes lie below the price.
    assert_eq!((term[1].days, term[1].implied_volatility), (108, 0.4));
    assert!(chain.smile(day("2030-01-01"), &spot).is_empty());
}

#[test]
fn interest_is_counted_by_strike() {
    let chain = made();
    let interest =
        |strike: &str, calls, puts| StrikeInterest { strike: parsed(strike), calls, puts };
    let january = chain.open_interest_by_strike(Some(day(JANUARY)));
    assert_eq!(
        january,
        [interest("90", 50, 400), interest("100", 0, 200), interest("110", 100, 30)]
    );
    let all = chain.open_interest_by_strike(None);
    assert_eq!(all[1], interest("100", 1, 200));
    let ratio = chain.put_call_ratio(Some(day(JANUARY)));
    assert_eq!((ratio.volume, ratio.open_interest), (Some(1.5), Some(4.2)));
    let ratio = chain.put_call_ratio(Some(day(FEBRUARY)));
    assert_eq!((ratio.volume, ratio.open_interest), (Some(0.0), Some(0.0)));
    let none = chain.put_call_ratio(Some(day("2030-01-01")));
    assert_eq!((none.volume, none.open_interest), (None, None));
}

#[test]
fn a_chain_is_one_snapshot() {
    let refused = |quotes: Vec<OptionQuote>| matches!(OptionChain::new(quotes), Err(Error::Invalid { field, .. }) if field == "quotes");
    let one = || quote("A250117C00100000", "", "", 0, 0);
    assert!(refused(vec![one(), one()]));
    assert!(refused(vec![one(), quote("B250117C00110000", "", "", 0, 0)]));
    let later =
        OptionQuote { fetched_at: noon("11-06"), ..quote("A250117P00100000", "", "", 0, 0) };
    assert!(refused(vec![one(), later]));
    let empty = OptionChain::new(Vec::new()).expect("nothing");
    assert!(empty.expirations().is_empty() && empty.term_structure(&parsed("1")).is_empty());
    assert!(empty.ticker().is_none() && empty.nearest_expiration(day(JANUARY)).is_none());
}

async fn a_real_chain_tells_what_it_says(handle: &impl Handle) {
    let path = repository("data/options/aapl_chain_2016-09-06.csv");
    options_from_csv(handle, path, CsvOptions::new()).await.expect("loaded");
    let quotes = handle.options().latest_chain(&parsed("AAPL"), &ChainFilter::default()).await;
    let chain = OptionChain::new(quotes.expect("read")).expect("a snapshot");
    let expiration = day("2016-09-09");
    assert_eq!(chain.expirations(), [expiration]);
    // Apple closed at 107.70 that day.
    let spot = parsed("107.7");
    let money = chain.at_the_money(expiration, &spot).expect("contracts");
    assert_eq!(money.strike.to_string(), "108");
    assert!(money.call.is_some() && money.put.is_some());
    // The file's own sums.
    let interest = chain.open_interest_by_strike(None);
    let sums = interest.iter().fold((0, 0), |(c, p), at| (c + at.calls, p + at.puts));
    assert_eq!(sums, REAL_INTEREST);
    let ratio = chain.put_call_ratio(None);
    let expected = REAL_INTEREST.1 as f64 / REAL_INTEREST.0 as f64;
    assert_eq!(ratio.open_interest, Some(expected));
    assert!((ratio.volume.expect("calls were traded") - REAL_VOLUME_RATIO).abs() < 1e-12);
    // Three days to go, a smile: far strikes are dearer than the money.
    let term = chain.term_structure(&spot);
    assert_eq!((term.len(), term[0].days), (1, 3));
    let smile = chain.smile(expiration, &spot);
    let outer = smile.iter().find(|p| p.strike == parsed("97")).expect("a strike");
    assert!(outer.out_of_the_money() > term[0].implied_volatility, "{outer:?} {term:?}");
    // Of a provider without Greeks there is no delta to look for.
    assert_eq!(chain.nearest_delta(expiration, OptionType::Call, 0.5), None);
}

async fn a_stored_chain_is_one(handle: &impl Handle) {
    let options = handle.options();
    let quotes = super::chain("AAPL", &[JANUARY, FEBRUARY], 3);
    for date in ["11-04", "11-05"] {
        options.put_chain(&parsed("AAPL"), noon(date), &quotes).await.expect("stored");
    }
    let known = options.chain(&parsed("AAPL"), noon("11-04"), &ChainFilter::default()).await;
    let chain = OptionChain::try_from(known.expect("read")).expect("a snapshot");
    assert_eq!((chain.quotes().len(), chain.fetched_at()), (12, Some(noon("11-04"))));
    let strikes: Vec<_> = chain.strikes(day(JANUARY)).iter().map(|s| s.to_string()).collect();
    assert_eq!(strikes, ["100", "101", "102"]);
}

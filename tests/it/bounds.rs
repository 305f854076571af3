//! Bounds that no column can hold: between two microseconds, and outside of the calendar.

use crate::api::*;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};

use crate::support::{database, parsed, user};

const HALF: TimeDelta = TimeDelta::nanoseconds(500);

fn at(text: &str) -> DateTime<Utc> {
    parsed(text)
}

fn day(text: &str) -> NaiveDate {
    parsed(text)
}

/// Times of rows: the driver would round those before 2000 to the other side.
const TIMES: [&str; 3] =
    ["2024-01-02T03:04:05.000006Z", "1999-12-31T23:59:59.999999Z", "1965-01-02T03:04:05.000006Z"];

#[tokio::test]
async fn c8_bounds_of_analyses_are_exact() {
    let db = database(1).await;
    for t in TIMES.map(at) {
        let new = NewAnalysis::new(parsed("AAPL"), AnalysisType::Value).calculated_at(t);
        let saved = db.analyses().create(&new).await.expect("saved");
        let count = async |from: Option<DateTime<Utc>>, before: Option<DateTime<Utc>>| {
            let filter = AnalysisFilter::default().calculated_from(from).calculated_before(before);
            db.analyses().count(&filter).await.expect("counted")
        };
        assert_eq!(count(Some(t), None).await, 1);
        assert_eq!(count(Some(t - HALF), None).await, 1);
        assert_eq!(count(Some(t + HALF), None).await, 0, "{t}: from");
        assert_eq!(count(None, Some(t)).await, 0);
        assert_eq!(count(None, Some(t - HALF)).await, 0, "{t}: before");
        assert_eq!(count(None, Some(t + HALF)).await, 1, "{t}: before");
        // The ends of chrono's range, which is wider than PostgreSQL's.
        assert_eq!(count(Some(DateTime::<Utc>::MIN_UTC), Some(DateTime::<Utc>::MAX_UTC)).await, 1);
        assert_eq!(count(Some(DateTime::<Utc>::MAX_UTC), None).await, 0);
        assert_eq!(count(None, Some(DateTime::<Utc>::MIN_UTC)).await, 0);
        db.analyses().delete(saved.id).await.expect("deleted");
    }
}

#[tokio::test]
async fn c8_bounds_of_snapshots_are_exact() {
    let db = database(1).await;
    let contract = parsed::<OccSymbol>("AAPL240621C00190000").into_contract();
    let ticker = contract.ticker.clone();
    for t in TIMES.map(at) {
        let quote = NewOptionQuote::new(contract.clone()).fetched_at(t);
        let saved = db.options().create(&quote).await.expect("created");
        let all = ChainFilter::default();
        for (bound, rows) in [(t, 1), (t + HALF, 1), (t - HALF, 0)] {
            let chain = db.options().chain(&ticker, bound, &all).await.expect("read");
            assert_eq!(chain.len(), rows, "{t}: at {bound:?}");
            let days = db.options().expirations(&ticker, bound).await.expect("read");
            assert_eq!(days.len(), rows, "{t}: at {bound:?}");
        }
        for (from, to, rows) in
            [(t, t, 1), (t - HALF, t + HALF, 1), (t + HALF, t + HALF, 0), (t - HALF, t - HALF, 0)]
        {
            let history = db.options().contract_history(&contract, from, to).await.expect("read");
            assert_eq!(history.len(), rows, "{t}: {from:?} to {to:?}");
            let filter = OptionQuoteFilter::default().from(from).to(to);
            let page = db.options().list(&filter, &PageRequest::default()).await.expect("read");
            assert_eq!(page.items.len(), rows, "{t}: {from:?} to {to:?}");
        }
        db.options().delete(saved.id).await.expect("deleted");
    }
}

#[tokio::test]
async fn c8_bounds_of_the_audit_log_and_of_revisions_are_exact() {
    let db = database(1).await;
    user(&*db, "ada@example.com").await;
    let entries = db.audit().list(&AuditFilter::default(), &PageRequest::default()).await;
    let t = entries.expect("read").items[0].recorded_at;
    let count = async |from, before| {
        let filter = AuditFilter::default().from(from).before(before);
        db.audit().count(&filter).await.expect("counted")
    };
    assert_eq!((count(Some(t), None).await, count(Some(t + HALF), None).await), (1, 0));
    assert_eq!((count(None, Some(t)).await, count(None, Some(t + HALF)).await), (0, 1));

    let bar = NewPriceBar::new(parsed("AAPL"), day("2024-01-02"), parsed("10"));
    let t = db.prices().create(&bar).await.expect("created").created_at;
    let (first, last) = (day("2024-01-01"), day("2024-01-31"));
    for (bound, rows) in [(t, 1), (t + HALF, 1), (t - HALF, 0)] {
        let bars = db.prices().range_as_of(&[parsed("AAPL")], first, last, bound).await;
        assert_eq!(bars.expect("read").len(), rows, "{bound:?}");
    }
}

#[tokio::test]
async fn c9_nothing_outside_of_the_calendar_means_nothing() {
    let db = database(1).await;
    let ticker: Ticker = parsed("AAPL");
    let ends = [day("0001-01-01"), day("9999-12-31")];
    for day in ends {
        // No way in takes bars of such days; another program may store them.
        let sql = format!(
            "INSERT INTO price_history (ticker, date, close_price) VALUES ('AAPL', '{day} 00:00:00Z', 10)"
        );
        let connection = db.connection().await.expect("a connection");
        crate::support::batch(&connection, &sql).await.expect("stored");
        drop(connection);
        let dividend = NewCorporateAction::dividend(ticker.clone(), day, parsed("1"));
        db.corporate_actions().create(&dividend).await.expect("created");
    }
    let prices = db.prices();
    let ymd = |y, m, d| NaiveDate::from_ymd_opt(y, m, d).expect("a date");
    let outside = [
        (ymd(10_000, 1, 1), ymd(10_000, 1, 1)),
        (ymd(10_000, 1, 1), NaiveDate::MAX),
        (NaiveDate::MAX, NaiveDate::MAX),
        (ymd(0, 12, 31), ymd(0, 12, 31)),
        (NaiveDate::MIN, ymd(0, 12, 31)),
        (NaiveDate::MIN, NaiveDate::MIN),
    ];
    let tickers = [ticker.clone()];
    for (from, to) in outside {
        assert_eq!(prices.range(&ticker, from, to).await.expect("read"), [], "{from} to {to}");
        assert!(prices.range_many(&tickers, from, to).await.expect("read").is_empty());
        let filter = PriceBarFilter::default().from(from).to(to);
        assert_eq!(prices.count(&filter).await.expect("counted"), 0, "{from} to {to}");
        let now = at("2100-01-01T00:00:00Z");
        assert!(prices.range_as_of(&tickers, from, to, now).await.expect("read").is_empty());
        let columns = prices.columns(&tickers, from, to).await.expect("read");
        assert!(columns.iter().all(|c| c.days.is_empty()), "{from} to {to}");
        let actions = db.corporate_actions().for_ticker(&ticker, from, to).await.expect("read");
        assert!(actions.is_empty(), "{from} to {to}");
        let filter = CorporateActionFilter::default().from(from).to(to);
        let page = db.corporate_actions().list(&filter, &PageRequest::default()).await;
        assert!(page.expect("read").items.is_empty(), "{from} to {to}");
        let gaps = prices.gaps(&ticker, from, to, &Weekdays).await.expect("read");
        assert_eq!((gaps.bars, gaps.missing.len()), (0, 0), "{from} to {to}");
        assert_eq!(prices.delete_range(&ticker, from, to).await.expect("ran"), 0, "{from} to {to}");
    }
    assert!(prices.nearest(&tickers, ymd(0, 12, 31), 0).await.expect("read").is_empty());
    assert!(prices.nearest(&tickers, ymd(10_000, 1, 1), 0).await.expect("read").is_empty());
    let _ = prices.nearest(&tickers, NaiveDate::MAX, u32::MAX).await;
    let _ = prices.nearest(&tickers, NaiveDate::MIN, u32::MAX).await;
    let all = prices.range(&ticker, NaiveDate::MIN, NaiveDate::MAX).await.expect("read");
    assert_eq!(all.iter().map(|bar| bar.date.date_naive()).collect::<Vec<_>>(), ends);
    assert_eq!(prices.delete_range(&ticker, NaiveDate::MIN, NaiveDate::MAX).await.expect("ran"), 2);
}

//! What a store of price bars does.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt, TryFutureExt};

use crate::error::{Result, unsupported};
use crate::prices::bars::{
    BarsDigest, Coverage, DeliveredBar, Gaps, IngestOptions, LatestBar, NewPriceBar, PriceBar,
    PriceBarFilter, PriceBarPatch, PriceRevision,
};
use crate::prices::calendar::TradingCalendar;
use crate::prices::reading::Series;
use crate::prices::series::{
    AdjustedSeries, Adjustment, AdjustmentCheck, Period, SeriesBar, resample,
};
use crate::store::{SweepReport, UpsertReport};
use crate::types::{BarId, Listed, Page, PageRequest, Ticker, stream_pages};

/// Price bars: one per ticker and trading day.
///
/// Days are the exchange's dates; a range includes both of its ends and is empty where it ends
/// before it begins. Open ends can be given as `NaiveDate::MIN` and `NaiveDate::MAX`.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait PriceRepository: Send + Sync {
    /// Stores a bar.
    ///
    /// # Errors
    /// `Conflict` when the ticker has a bar of that day, `Invalid` of a field; of `date` where the year is probably
    /// mistyped ([`RejectedKind::ImplausibleDay`](crate::store::RejectedKind::ImplausibleDay)), archived, or has no partition.
    async fn create(&self, bar: &NewPriceBar) -> Result<PriceBar> {
        unsupported("prices.create")
    }

    /// Stores all of these bars, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index.
    async fn create_many(&self, bars: &[NewPriceBar]) -> Result<Vec<PriceBar>> {
        unsupported("prices.create_many")
    }

    /// Brings the stored bars to what was delivered: new ones are inserted; stored ones with any other
    /// value take all values of the delivery, absent ones included, and keep id and `created_at`; of
    /// equal ones nothing is written. Of several items for one ticker and day the last one counts.
    ///
    /// An item that breaks a rule (such as a high below the low without the flag `is_suspect`) is
    /// reported and left out, with the reason and its [kind](crate::store::RejectedKind). So is one of a day that cannot be
    /// right, of an archived year, or of a year without a partition. All others are stored in one transaction,
    /// however many.
    ///
    /// # Errors
    /// `Item` of one that the database refuses for a rule of its own, such as a constraint that was added; those of the
    /// database. Nothing was written then.
    async fn upsert_many(&self, bars: &[NewPriceBar]) -> Result<UpsertReport> {
        self.upsert_many_with(bars, &IngestOptions::default()).await
    }

    /// As [`upsert_many`](Self::upsert_many), with options for suspicious bars.
    ///
    /// # Errors
    /// As [`upsert_many`](Self::upsert_many); `Item` with [`SuspectPolicy::Fail`](crate::prices::SuspectPolicy::Fail);
    /// `Invalid` of `max_jump`. Nothing was written then.
    async fn upsert_many_with(
        &self,
        bars: &[NewPriceBar],
        options: &IngestOptions,
    ) -> Result<UpsertReport> {
        unsupported("prices.upsert_many_with")
    }

    /// Brings the stored bars to what a stream delivers, of any length, in one transaction (in a unit of
    /// work, as part of it): as [`upsert_many`](Self::upsert_many), with 40,000 bars in memory at a time:
    /// one half is taken from the stream while the other is stored.
    /// Of several bars for one ticker and day the last one counts; one that replaces a bar of more
    /// than 20,000 items before is counted as updated. The report lists the first 10,000 rejected bars
    /// and counts the others.
    ///
    /// Items in the order of tickers or of days are stored fastest. The transaction is open while the
    /// stream is waited for: one that pauses for longer than
    /// [`Config::idle_in_transaction_timeout`](crate::Config::idle_in_transaction_timeout) ends it. Two
    /// streams with the same bars in different orders may deadlock, which is
    /// [`Retryable`](crate::Error::Retryable) for one of them.
    ///
    /// # Errors
    /// As [`upsert_many_with`](Self::upsert_many_with); the first error that the stream gives. Nothing
    /// was written then.
    async fn copy_in(
        &self,
        bars: BoxStream<'_, Result<DeliveredBar>>,
        options: &IngestOptions,
    ) -> Result<UpsertReport> {
        unsupported("prices.copy_in")
    }

    /// The bar of this id.
    async fn find(&self, id: BarId) -> Result<Option<PriceBar>> {
        unsupported("prices.find")
    }

    /// The ticker's bar of this day.
    async fn find_by_day(&self, ticker: &Ticker, day: NaiveDate) -> Result<Option<PriceBar>> {
        Ok(self.range(ticker, day, day).await?.into_iter().next())
    }

    /// The ticker's bars from one day to another, both included, by rising day.
    async fn range(
        &self,
        ticker: &Ticker,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Listed<PriceBar>> {
        self.range_many(std::slice::from_ref(ticker), from, to).await
    }

    /// As [`range`](Self::range), of several tickers in one round trip: by ticker, then by rising
    /// day. A ticker given twice is one.
    async fn range_many(
        &self,
        tickers: &[Ticker],
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Listed<PriceBar>>;

    /// As [`range_many`](Self::range_many), as columns of `f64` for computations: one series a ticker,
    /// by ticker in byte order; one without bars is left out. The server reads them in whatever order it
    /// finds cheapest.
    async fn columns(
        &self,
        tickers: &[Ticker],
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Listed<Series>> {
        let bars = self.range_many(tickers, from, to).await?;
        Ok(bars.map(|bars| Series::from_bars(&bars)))
    }

    /// As [`columns`](Self::columns), of one ticker; without bars the columns are empty.
    ///
    /// # Errors
    /// Those of the database; `Corrupt` of a bar that cannot be read.
    async fn series(&self, ticker: &Ticker, from: NaiveDate, to: NaiveDate) -> Result<Series> {
        let columns = self.columns(std::slice::from_ref(ticker), from, to).await?.complete()?;
        Ok(columns.into_iter().next().unwrap_or_else(|| Series::new(ticker.clone())))
    }

    /// As [`range_many`](Self::range_many), as a stream of any length: a few bars are in memory. It has a
    /// connection (in a unit of work, the shared one) until it ends; what is read is one state of the
    /// database. Dropped before its end it cancels the statement, which in a unit of work ends that too, as
    /// any cancelled statement does.
    ///
    /// The stream's items are errors as those of the other reads; one is its last.
    fn stream_range<'a>(
        &'a self,
        tickers: &[Ticker],
        from: NaiveDate,
        to: NaiveDate,
    ) -> BoxStream<'a, Result<PriceBar>> {
        let tickers = tickers.to_vec();
        let bars = async move { self.range_many(&tickers, from, to).await?.complete() };
        bars.map_ok(|bars| stream::iter(bars).map(Ok)).try_flatten_stream().boxed()
    }

    /// The latest bar of each ticker with the close before it, in the order of the tickers; one
    /// without bars is left out.
    async fn latest(&self, tickers: &[Ticker]) -> Result<Listed<LatestBar>> {
        unsupported("prices.latest")
    }

    /// As [`latest`](Self::latest), of one ticker; `None` where it has no bar.
    ///
    /// # Errors
    /// Those of the database; `Corrupt` of a bar that cannot be read.
    async fn latest_of(&self, ticker: &Ticker) -> Result<Option<LatestBar>> {
        let latest = self.latest(std::slice::from_ref(ticker)).await?.complete()?;
        Ok(latest.into_iter().next())
    }

    /// Each ticker's last bar of `day` or before, but of at most `tolerance_days` calendar days before: in
    /// the order of the tickers; one without such a bar is left out. What a price was "on" a holiday, say.
    async fn nearest(
        &self,
        tickers: &[Ticker],
        day: NaiveDate,
        tolerance_days: u32,
    ) -> Result<Listed<PriceBar>> {
        let from = day.checked_sub_days(Days::new(tolerance_days.into()));
        let bars = self.range_many(tickers, from.unwrap_or(NaiveDate::MIN), day).await?;
        Ok(bars.map(|bars| {
            let last = |ticker: &Ticker| bars.iter().rfind(|bar| bar.ticker == *ticker).cloned();
            tickers.iter().filter_map(last).collect()
        }))
    }

    /// What is stored of each ticker: first and last day, and how many bars; in the order of the tickers,
    /// one without bars is left out.
    async fn coverage(&self, tickers: &[Ticker]) -> Result<Listed<Coverage>> {
        unsupported("prices.coverage")
    }

    /// Which trading days of the calendar, from one day to another, both included, have no bar, and
    /// which bars are of other days. With `NaiveDate::MIN` it begins with the ticker's first bar, with
    /// `NaiveDate::MAX` it ends with the last one (of those in the range). Days alone are read, and all
    /// of them are in memory.
    async fn gaps(
        &self,
        ticker: &Ticker,
        from: NaiveDate,
        to: NaiveDate,
        calendar: &dyn TradingCalendar,
    ) -> Result<Gaps> {
        unsupported("prices.gaps")
    }

    /// The ticker's bars from one day to another, both included, brought together by weeks, months or
    /// other periods, rising: see [`Resampler`](crate::prices::Resampler). Of a period that the range cuts,
    /// it is the bars within. They are as delivered; of adjusted ones see [`resample`](crate::prices::series::resample).
    /// One day at a time is in memory, beside the result.
    ///
    /// # Errors
    /// Those of the database; `Corrupt` of a bar that cannot be read: its period would be wrong.
    async fn resample(
        &self,
        ticker: &Ticker,
        from: NaiveDate,
        to: NaiveDate,
        period: Period,
    ) -> Result<Vec<SeriesBar>> {
        let bars = self.range(ticker, from, to).await?.complete()?;
        let bars: Vec<SeriesBar> = bars.iter().map(SeriesBar::from).collect();
        Ok(resample(&bars, period))
    }

    /// A digest of all stored bars of the ticker: equal bars give the same, in whatever order they
    /// came and however their numbers are spelled; another bar, one less or any other delivered
    /// value gives another one. Reads every bar of the ticker.
    ///
    /// As a watermark of what is computed from bars ([`Inputs`](crate::analyses::Inputs)) it is to be read
    /// before them: a change between the two reads then makes the result outdated, at worst for
    /// nothing. Read after them, it would cover a change that the result has not seen.
    async fn digest(&self, ticker: &Ticker) -> Result<BarsDigest> {
        unsupported("prices.digest")
    }

    /// The ticker's bars from one day to another, both included, by rising day, adjusted for the splits (and
    /// dividends) with an ex-date up to `as_of`: as a chart drawn on that day shows them. The stored bars
    /// stay as delivered. See [`adjust`](crate::prices::series::adjust) for the formula; where actions cannot be applied
    /// the result says so. A bar that cannot be read is named beside the others, which do not depend on it.
    ///
    /// # Errors
    /// Those of the database; `Corrupt` of an action that cannot be read, or of the bar before a dividend that counts: the
    /// bars before it would be wrong.
    async fn adjusted(
        &self,
        ticker: &Ticker,
        from: NaiveDate,
        to: NaiveDate,
        as_of: NaiveDate,
        adjustment: Adjustment,
    ) -> Result<AdjustedSeries> {
        unsupported("prices.adjusted")
    }

    /// Compares the provider's adjusted closes with those that the stored splits and dividends give: an
    /// action that is missing, or wrong, shows as one step. `tolerance` is relative: 0.001 is a tenth of
    /// a percent. The provider's reference date need not be known: a factor that all of its adjusted
    /// closes share does not count as a difference. A bar that cannot be read is named, and not compared.
    ///
    /// # Errors
    /// `Invalid` of `tolerance`, which must be a number above zero; those of the database; `Corrupt` as
    /// [`adjusted`](Self::adjusted).
    async fn verify_adjustment(
        &self,
        ticker: &Ticker,
        from: NaiveDate,
        to: NaiveDate,
        tolerance: f64,
    ) -> Result<AdjustmentCheck> {
        unsupported("prices.verify_adjustment")
    }

    /// All tickers that have bars, in byte order. One index lookup for each ticker, whatever the number of bars.
    async fn tickers(&self) -> Result<Listed<Ticker>> {
        unsupported("prices.tickers")
    }

    /// Bars by falling day.
    async fn list(&self, filter: &PriceBarFilter, page: &PageRequest) -> Result<Page<PriceBar>> {
        unsupported("prices.list")
    }

    /// All bars of the filter, by falling day, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a PriceBarFilter) -> BoxStream<'a, Result<PriceBar>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// How many bars there are.
    async fn count(&self, filter: &PriceBarFilter) -> Result<u64> {
        unsupported("prices.count")
    }

    /// Whether the bar exists.
    async fn exists(&self, id: BarId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Applies the patch and returns the updated bar.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of a field, or of the constraint
    /// `price_history_coherent_unless_suspect` where the prices would contradict each other.
    async fn update(&self, id: BarId, patch: &PriceBarPatch) -> Result<PriceBar> {
        unsupported("prices.update")
    }

    /// Deletes the bar. Returns `false` if it did not exist.
    async fn delete(&self, id: BarId) -> Result<bool> {
        unsupported("prices.delete")
    }

    /// Deletes the ticker's bars from one day to another, both included; returns how many.
    async fn delete_range(&self, ticker: &Ticker, from: NaiveDate, to: NaiveDate) -> Result<u64> {
        unsupported("prices.delete_range")
    }

    /// As [`range_many`](Self::range_many), as it was known at `known_at` by the database's clock: without
    /// what was stored or corrected since, with what was corrected or deleted since. Only what was committed is known,
    /// also to a unit of work.
    ///
    /// The answer for a time that has come stays the same, whatever transactions end afterwards. A time that is asked for
    /// before any later one keeps a snapshot of its own, a knowledge point: one INSERT on a connection of its own, and where
    /// many ask for the present a wait of up to 0.2 seconds. A time that nobody asked about then is exact but for transactions
    /// that were under way: they count from the statement that stored the bar. Bars that were stored before the migration
    /// `know_by_transaction`, or come from an archive, count from `created_at` and `corrected_at`, and so do all after a
    /// restore into another cluster, whose transactions have other numbers.
    ///
    /// # Errors
    /// Those of a statement; `HistorySwept` of a time before the watermark of [`sweep_revisions`](Self::sweep_revisions);
    /// `Invalid` of `date` where a day is of an archived year; `ReadOnly` where the server accepts no writes and no point
    /// closes the time yet; `Busy` within a unit of work where the pool has no other connection.
    #[doc(alias = "as_of")]
    #[doc(alias = "point_in_time")]
    async fn range_as_of(
        &self,
        tickers: &[Ticker],
        from: NaiveDate,
        to: NaiveDate,
        known_at: DateTime<Utc>,
    ) -> Result<Listed<PriceBar>> {
        unsupported("prices.range_as_of")
    }

    /// Everything that was ever known of a ticker's day, oldest first, the present values last; what was
    /// known only within a transaction is not in it.
    async fn revisions(&self, ticker: &Ticker, day: NaiveDate) -> Result<Listed<PriceRevision>> {
        unsupported("prices.revisions")
    }

    /// Retention: forgets up to `limit` values that were corrected or deleted longer than `age` ago,
    /// oldest first. Reads as of an earlier time than the newest of them are refused then, as `HistorySwept`.
    async fn sweep_revisions(&self, limit: u32, age: Duration) -> Result<SweepReport> {
        unsupported("prices.sweep_revisions")
    }
}

//! Price bars.

mod adjusted;
mod coverage;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, Utc};
use diesel::dsl::exists;
use diesel::pg::Pg;
use diesel::prelude::{ExpressionMethods, QueryDsl, SelectableHelper};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};

use crate::prices::PriceRepository;
use crate::prices::reading::{Series, columns, digest, latest, revisions, streamed, walk};
use crate::prices::storing::{room, upsert};

use super::series;
use crate::error::{Entity, Error, Result};
use crate::prices::bars::{
    BarsDigest, Coverage, DeliveredBar, Gaps, IngestOptions, LatestBar, NewPriceBar, PriceBar,
    PriceBarFilter, PriceBarPatch, PriceRevision, check_day,
};
use crate::prices::calendar::TradingCalendar;
use crate::prices::series::{
    AdjustedSeries, Adjustment, AdjustmentCheck, Period, Resampler, SeriesBar,
};
use crate::schema::price_history;
use crate::store::{Session, SweepReport, UpsertReport, batch, newest_first, settled};
use crate::types::{BarId, Listed, Page, PageRequest, Ticker, TradingDay};

/// [`PriceRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgPrices {
    session: Session,
}

impl PgPrices {
    pub(crate) fn new(session: Session) -> Self {
        PgPrices { session }
    }
}

/// The rows of a filter, as a boxed query.
fn filtered(filter: &PriceBarFilter) -> price_history::BoxedQuery<'_, Pg> {
    let (from, to) = TradingDay::bounds(
        filter.from.unwrap_or(NaiveDate::MIN),
        filter.to.unwrap_or(NaiveDate::MAX),
    );
    let mut query = price_history::table.into_boxed();
    match (filter.tickers.as_deref(), walked(filter)) {
        (_, Some(ticker)) => query = query.filter(walk::is_of(ticker)),
        // One ticker alone lets the index give the order, too.
        (Some([ticker]), _) => query = query.filter(price_history::ticker.eq(ticker)),
        (Some(tickers), _) => query = query.filter(price_history::ticker.eq_any(tickers)),
        (None, _) => {}
    }
    if filter.from.is_some() {
        query = query.filter(price_history::date.ge(from));
    }
    if filter.to.is_some() {
        query = query.filter(price_history::date.lt(to));
    }
    if let Some(source) = filter.data_source.as_deref() {
        query = query.filter(price_history::data_source.eq(source));
    }
    if let Some(is_suspect) = filter.is_suspect {
        query = query.filter(price_history::is_suspect.eq(is_suspect));
    }
    query
}

/// The ticker of whose days a filter asks: such a query is to be in the order of a [walk].
fn walked(filter: &PriceBarFilter) -> Option<&Ticker> {
    match filter.tickers.as_deref() {
        Some([ticker]) if filter.from.is_some() || filter.to.is_some() => Some(ticker),
        _ => None,
    }
}

settled!(
    #[async_trait]
    impl PriceRepository for PgPrices {
        #[tracing::instrument(level = "debug", name = "prices.create", skip_all)]
        async fn create(&self, bar: &NewPriceBar) -> Result<PriceBar> {
            bar.validate()?;
            check_day(bar.date, room::Clock::new(&self.session).for_day(bar.date).await?)?;
            let values = (price_history::id.eq(BarId::generate()), bar);
            let insert = diesel::insert_into(price_history::table).values(values);
            match self.session.write_one(insert.returning(PriceBar::as_returning())).await {
                Err(error) => Err(room::explained(&self.session, error, |_| Some(bar.date)).await),
                stored => stored,
            }
        }

        #[tracing::instrument(level = "debug", name = "prices.create_many", skip_all)]
        async fn create_many(&self, bars: &[NewPriceBar]) -> Result<Vec<PriceBar>> {
            let mut clock = room::Clock::new(&self.session);
            for (index, bar) in bars.iter().enumerate() {
                let present_year = clock.for_day(bar.date).await?;
                let valid = bar.validate().and_then(|()| check_day(bar.date, present_year));
                valid.map_err(|e| e.at(index))?;
            }
            let stored = batch::insert_many(
                &self.session,
                bars,
                |bar| (bar.ticker.clone(), bar.date),
                |connection, rows| {
                    let rows: Vec<_> = rows
                        .into_iter()
                        .map(|bar| (price_history::id.eq(BarId::generate()), bar))
                        .collect();
                    let insert = diesel::insert_into(price_history::table).values(rows);
                    connection.write_all(insert.returning(PriceBar::as_returning())).boxed()
                },
            );
            match stored.await {
                Err(error) => {
                    let day = |index: Option<usize>| index.map(|index| bars[index].date);
                    Err(room::explained(&self.session, error, day).await)
                }
                stored => stored,
            }
        }

        #[tracing::instrument(level = "debug", name = "prices.upsert_many", skip_all)]
        async fn upsert_many(&self, bars: &[NewPriceBar]) -> Result<UpsertReport> {
            upsert::many(&self.session, bars, &IngestOptions::default()).await
        }

        #[tracing::instrument(level = "debug", name = "prices.upsert_many_with", skip_all)]
        async fn upsert_many_with(
            &self,
            bars: &[NewPriceBar],
            options: &IngestOptions,
        ) -> Result<UpsertReport> {
            upsert::many(&self.session, bars, options).await
        }

        #[tracing::instrument(level = "debug", name = "prices.copy_in", skip_all)]
        async fn copy_in(
            &self,
            bars: BoxStream<'_, Result<DeliveredBar>>,
            options: &IngestOptions,
        ) -> Result<UpsertReport> {
            upsert::stream(&self.session, bars, options).await
        }

        #[tracing::instrument(level = "debug", name = "prices.find", skip_all)]
        async fn find(&self, id: BarId) -> Result<Option<PriceBar>> {
            let query = price_history::table.find(id);
            self.session.fetch_optional(query.select(PriceBar::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "prices.find_by_day", skip_all)]
        async fn find_by_day(&self, ticker: &Ticker, day: NaiveDate) -> Result<Option<PriceBar>> {
            let query = walk::between(ticker, TradingDay::bounds(day, day)).limit(1);
            self.session.fetch_optional(query.select(PriceBar::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "prices.range", skip_all)]
        async fn range(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
        ) -> Result<Listed<PriceBar>> {
            let query = walk::between(ticker, TradingDay::bounds(from, to));
            self.session.fetch_list(query.select(PriceBar::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "prices.range_many", skip_all)]
        async fn range_many(
            &self,
            tickers: &[Ticker],
            from: NaiveDate,
            to: NaiveDate,
        ) -> Result<Listed<PriceBar>> {
            let Some(query) = walk::of_each(tickers, TradingDay::bounds(from, to)) else {
                return Ok(Listed::default());
            };
            let mut bars: Listed<PriceBar> = self.session.fetch_list(query).await?;
            // They are sorted already, by the way in which the server joins, but nothing promises it.
            bars.sort_unstable_by(|a, b| a.ticker.cmp(&b.ticker).then_with(|| a.date.cmp(&b.date)));
            Ok(bars)
        }

        #[tracing::instrument(level = "debug", name = "prices.columns", skip_all)]
        async fn columns(
            &self,
            tickers: &[Ticker],
            from: NaiveDate,
            to: NaiveDate,
        ) -> Result<Listed<Series>> {
            columns::read(&self.session, tickers, from, to).await
        }

        #[tracing::instrument(level = "debug", name = "prices.stream_range", skip_all)]
        fn stream_range<'a>(
            &'a self,
            tickers: &[Ticker],
            from: NaiveDate,
            to: NaiveDate,
        ) -> BoxStream<'a, Result<PriceBar>> {
            streamed::read(&self.session, tickers, TradingDay::bounds(from, to))
        }

        #[tracing::instrument(level = "debug", name = "prices.latest", skip_all)]
        async fn latest(&self, tickers: &[Ticker]) -> Result<Listed<LatestBar>> {
            latest::of(&self.session, tickers).await
        }

        #[tracing::instrument(level = "debug", name = "prices.nearest", skip_all)]
        async fn nearest(
            &self,
            tickers: &[Ticker],
            day: NaiveDate,
            tolerance_days: u32,
        ) -> Result<Listed<PriceBar>> {
            let from = day.checked_sub_days(Days::new(tolerance_days.into()));
            let days = TradingDay::bounds(from.unwrap_or(NaiveDate::MIN), day);
            coverage::nearest(&self.session, tickers, days).await
        }

        #[tracing::instrument(level = "debug", name = "prices.tickers", skip_all)]
        async fn tickers(&self) -> Result<Listed<Ticker>> {
            coverage::tickers(&self.session).await
        }

        #[tracing::instrument(level = "debug", name = "prices.coverage", skip_all)]
        async fn coverage(&self, tickers: &[Ticker]) -> Result<Listed<Coverage>> {
            coverage::of(&self.session, tickers).await
        }

        #[tracing::instrument(level = "debug", name = "prices.gaps", skip_all)]
        async fn gaps(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
            calendar: &dyn TradingCalendar,
        ) -> Result<Gaps> {
            coverage::gaps(&self.session, ticker, from, to, calendar).await
        }

        #[tracing::instrument(level = "debug", name = "prices.resample", skip_all)]
        async fn resample(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
            period: Period,
        ) -> Result<Vec<SeriesBar>> {
            let mut bars = streamed::read(
                &self.session,
                std::slice::from_ref(ticker),
                TradingDay::bounds(from, to),
            );
            let mut resampler = Resampler::new(period);
            let mut periods = Ok(Vec::new());
            // Read to the end, also where a bar cannot be read: a stream that is dropped before may cost a unit of work.
            while let Some(bar) = bars.next().await {
                match (&mut periods, bar) {
                    (Ok(periods), Ok(bar)) => {
                        periods.extend(resampler.push(&SeriesBar::from(&bar)))
                    }
                    (Ok(_), Err(error)) => periods = Err(error),
                    (Err(_), _) => {}
                }
            }
            periods.map(|mut periods| {
                periods.extend(resampler.finish());
                periods
            })
        }

        #[tracing::instrument(level = "debug", name = "prices.digest", skip_all)]
        async fn digest(&self, ticker: &Ticker) -> Result<BarsDigest> {
            digest::of(&self.session, ticker).await
        }

        #[tracing::instrument(level = "debug", name = "prices.adjusted", skip_all)]
        async fn adjusted(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
            as_of: NaiveDate,
            adjustment: Adjustment,
        ) -> Result<AdjustedSeries> {
            let (stored, actions) =
                adjusted::read(&self.session, ticker, (from, to), as_of, adjustment).await?;
            let bars: Vec<SeriesBar> = stored.iter().map(SeriesBar::from).collect();
            let adjusted = series::adjust(&bars, &actions, as_of, adjustment);
            Ok(AdjustedSeries { unreadable: stored.unreadable, ..adjusted })
        }

        #[tracing::instrument(level = "debug", name = "prices.verify_adjustment", skip_all)]
        async fn verify_adjustment(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
            tolerance: f64,
        ) -> Result<AdjustmentCheck> {
            series::check_tolerance(tolerance)?;
            let adjustment = Adjustment::SplitsAndDividends;
            let (stored, actions) =
                adjusted::read(&self.session, ticker, (from, to), to, adjustment).await?;
            let check = series::check(&stored, &actions, tolerance);
            Ok(AdjustmentCheck { unreadable: stored.unreadable, ..check })
        }

        #[tracing::instrument(level = "debug", name = "prices.list", skip_all)]
        async fn list(
            &self,
            filter: &PriceBarFilter,
            page: &PageRequest,
        ) -> Result<Page<PriceBar>> {
            let mut query =
                newest_first!(filtered(filter), page, price_history::date, price_history::id);
            if walked(filter).is_some() {
                query = query.order((
                    price_history::ticker.desc(),
                    price_history::date.desc(),
                    price_history::id.desc(),
                ));
            }
            self.session.fetch_page(query.select(PriceBar::as_select()), page, "date").await
        }

        #[tracing::instrument(level = "debug", name = "prices.count", skip_all)]
        async fn count(&self, filter: &PriceBarFilter) -> Result<u64> {
            let query = filtered(filter);
            let count: i64 = match walked(filter) {
                Some(_) => self.session.fetch_one(walk::counted(query)).await?,
                None => self.session.fetch_one(query.count()).await?,
            };
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "prices.exists", skip_all)]
        async fn exists(&self, id: BarId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(price_history::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "prices.update", skip_all)]
        async fn update(&self, id: BarId, patch: &PriceBarPatch) -> Result<PriceBar> {
            patch.validate()?;
            if *patch == PriceBarPatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(|| Error::not_found(Entity::PriceBar, id));
            }
            let update = diesel::update(price_history::table.find(id)).set(patch);
            let update = update.returning(PriceBar::as_returning());
            let changed = self.session.write_optional(update).await?;
            changed.ok_or_else(|| Error::not_found(Entity::PriceBar, id))
        }

        #[tracing::instrument(level = "debug", name = "prices.delete", skip_all)]
        async fn delete(&self, id: BarId) -> Result<bool> {
            Ok(self.session.execute(diesel::delete(price_history::table.find(id))).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "prices.delete_range", skip_all)]
        async fn delete_range(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
        ) -> Result<u64> {
            let (from, to) = TradingDay::bounds(from, to);
            let doomed = price_history::table
                .filter(price_history::ticker.eq(ticker))
                .filter(price_history::date.ge(from))
                .filter(price_history::date.lt(to));
            self.session.execute(diesel::delete(doomed)).await
        }

        #[tracing::instrument(level = "debug", name = "prices.range_as_of", skip_all)]
        async fn range_as_of(
            &self,
            tickers: &[Ticker],
            from: NaiveDate,
            to: NaiveDate,
            known_at: DateTime<Utc>,
        ) -> Result<Listed<PriceBar>> {
            revisions::range_as_of(&self.session, tickers, TradingDay::bounds(from, to), known_at)
                .await
        }

        #[tracing::instrument(level = "debug", name = "prices.revisions", skip_all)]
        async fn revisions(
            &self,
            ticker: &Ticker,
            day: NaiveDate,
        ) -> Result<Listed<PriceRevision>> {
            revisions::of_day(&self.session, ticker, TradingDay::bounds(day, day)).await
        }

        #[tracing::instrument(level = "debug", name = "prices.sweep_revisions", skip_all)]
        async fn sweep_revisions(&self, limit: u32, age: Duration) -> Result<SweepReport> {
            revisions::sweep(&self.session, limit, age).await
        }
    }
);

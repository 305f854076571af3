//! Option chains.

mod chain;
mod retention;
mod upsert;

use std::cmp::Ordering;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, SubsecRound, Utc};
use diesel::dsl::exists;
use diesel::pg::Pg;
use diesel::prelude::{ExpressionMethods, QueryDsl, SelectableHelper};
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::filter::{ChainFilter, OptionQuoteFilter};
use super::occ::OptionContract;
use super::quote::{NewOptionQuote, OptionQuote, OptionQuotePatch};
use crate::error::{Entity, Error, Result, unsupported};
use crate::schema::options_data;
use crate::store::{
    Plan, Retention, Session, SweepReport, UpsertReport, batch, newest_first, settled,
};
use crate::types::{
    Listed, OptionQuoteId, Page, PageRequest, Ticker, TradingDay, bound, stream_pages,
};

/// Option quotes: snapshots of chains. A snapshot is what is stored of one underlying with one time.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait OptionRepository: Send + Sync {
    /// Stores a quote.
    ///
    /// # Errors
    /// `Conflict` when the contract has a quote of that time, `Invalid` of a field.
    async fn create(&self, quote: &NewOptionQuote) -> Result<OptionQuote> {
        unsupported("options.create")
    }

    /// Stores all of these quotes, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index.
    async fn create_many(&self, quotes: &[NewOptionQuote]) -> Result<Vec<OptionQuote>> {
        unsupported("options.create_many")
    }

    /// Stores a snapshot of the options on `ticker`, taken at `fetched_at`. Again, it changes
    /// nothing: of a stored quote that equals the delivered one nothing is written, one with any
    /// other value takes all values of the delivery. Of several items for one contract the last one
    /// counts.
    ///
    /// An item that breaks a rule, is an option on something else or carries another time is
    /// reported and left out. All others are stored in one transaction, however many.
    ///
    /// # Errors
    /// `Invalid` of `fetched_at`; as [`upsert_many`](Self::upsert_many). Nothing was written then.
    async fn put_chain(
        &self,
        ticker: &Ticker,
        fetched_at: DateTime<Utc>,
        quotes: &[NewOptionQuote],
    ) -> Result<UpsertReport> {
        unsupported("options.put_chain")
    }

    /// As [`put_chain`](Self::put_chain), of any underlyings and times; an item without a time takes
    /// that of the transaction.
    ///
    /// # Errors
    /// `Item` of one that the database refuses for a rule of its own; those of the database. Nothing was written then.
    async fn upsert_many(&self, quotes: &[NewOptionQuote]) -> Result<UpsertReport> {
        unsupported("options.upsert_many")
    }

    /// The quote of this id.
    async fn find(&self, id: OptionQuoteId) -> Result<Option<OptionQuote>> {
        unsupported("options.find")
    }

    /// The chain of `ticker` as it was known at `at`: the latest snapshot taken then or before, by
    /// expiration, calls before puts, by rising strike. Empty if no snapshot exists. For
    /// strikes, deltas, volatilities and open contracts see [`OptionChain`](crate::options::OptionChain).
    async fn chain(
        &self,
        ticker: &Ticker,
        at: DateTime<Utc>,
        filter: &ChainFilter,
    ) -> Result<Listed<OptionQuote>>;

    /// The latest snapshot of `ticker`, in the order of [`chain`](Self::chain).
    async fn latest_chain(
        &self,
        ticker: &Ticker,
        filter: &ChainFilter,
    ) -> Result<Listed<OptionQuote>> {
        unsupported("options.latest_chain")
    }

    /// The days on which contracts of that [`chain`](Self::chain) end, rising. Of quotes that share an expiration which
    /// cannot be read one is named.
    async fn expirations(&self, ticker: &Ticker, at: DateTime<Utc>) -> Result<Listed<NaiveDate>> {
        unsupported("options.expirations")
    }

    /// The quotes of one contract in the snapshots from one time to another, both included, by
    /// rising time.
    async fn contract_history(
        &self,
        contract: &OptionContract,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Listed<OptionQuote>> {
        unsupported("options.contract_history")
    }

    /// Quotes, latest snapshot first.
    async fn list(
        &self,
        filter: &OptionQuoteFilter,
        page: &PageRequest,
    ) -> Result<Page<OptionQuote>> {
        unsupported("options.list")
    }

    /// All quotes of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a OptionQuoteFilter) -> BoxStream<'a, Result<OptionQuote>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// How many quotes there are.
    async fn count(&self, filter: &OptionQuoteFilter) -> Result<u64> {
        unsupported("options.count")
    }

    /// Whether the quote exists.
    async fn exists(&self, id: OptionQuoteId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Applies the patch and returns the updated quote.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` of a field.
    async fn update(&self, id: OptionQuoteId, patch: &OptionQuotePatch) -> Result<OptionQuote> {
        unsupported("options.update")
    }

    /// Deletes the quote. Returns `false` if it did not exist.
    async fn delete(&self, id: OptionQuoteId) -> Result<bool> {
        unsupported("options.delete")
    }

    /// Retention: deletes up to `limit` quotes of snapshots that are not to be kept; oldest first, or, where
    /// the last snapshot of each day is kept, by ticker and time, on the way to which one index entry is
    /// read of each old snapshot that stays. Sweepers at work at once share the quotes and do not wait for
    /// each other.
    async fn sweep(&self, limit: u32, retention: &Retention) -> Result<SweepReport> {
        unsupported("options.sweep")
    }
}

/// [`OptionRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgOptions {
    session: Session,
}

impl PgOptions {
    pub(crate) fn new(session: Session) -> Self {
        PgOptions { session }
    }
}

/// The order of the unique key within one snapshot; every batch is sent in the order of the key.
fn contract_order(a: &NewOptionQuote, b: &NewOptionQuote) -> Ordering {
    // By name: the database orders the texts, not the variants.
    let type_order = || a.option_type.as_str().cmp(b.option_type.as_str());
    a.ticker
        .cmp(&b.ticker)
        .then_with(type_order)
        .then_with(|| a.strike.cmp(&b.strike))
        .then_with(|| a.expiration.cmp(&b.expiration))
}

/// A time as the column keeps it: to the microsecond.
fn stored(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

/// The rows of a filter, as a boxed query.
fn filtered(filter: &OptionQuoteFilter) -> options_data::BoxedQuery<'_, Pg> {
    let mut query = options_data::table.into_boxed();
    match filter.tickers.as_deref() {
        // One ticker alone lets the index give the order, too.
        Some([ticker]) => query = query.filter(options_data::ticker.eq(ticker)),
        Some(tickers) => query = query.filter(options_data::ticker.eq_any(tickers)),
        None => {}
    }
    if let Some(option_type) = filter.option_type {
        query = query.filter(options_data::option_type.eq(option_type));
    }
    if let Some(day) = filter.expiration {
        let (from, to) = TradingDay::bounds(day, day);
        query = query.filter(options_data::expiration_date.ge(from));
        query = query.filter(options_data::expiration_date.lt(to));
    }
    if let Some(from) = filter.from {
        query = query.filter(options_data::fetch_timestamp.ge(bound::ceil(from)));
    }
    if let Some(to) = filter.to {
        query = query.filter(options_data::fetch_timestamp.le(bound::floor(to)));
    }
    query
}

settled!(
    #[async_trait]
    impl OptionRepository for PgOptions {
        #[tracing::instrument(level = "debug", name = "options.create", skip_all)]
        async fn create(&self, quote: &NewOptionQuote) -> Result<OptionQuote> {
            quote.validate()?;
            let values = (options_data::id.eq(OptionQuoteId::generate()), quote);
            let insert = diesel::insert_into(options_data::table).values(values);
            self.session.write_one(insert.returning(OptionQuote::as_returning())).await
        }

        #[tracing::instrument(level = "debug", name = "options.create_many", skip_all)]
        async fn create_many(&self, quotes: &[NewOptionQuote]) -> Result<Vec<OptionQuote>> {
            for (index, quote) in quotes.iter().enumerate() {
                quote.validate().map_err(|e| e.at(index))?;
            }
            batch::insert_many(
                &self.session,
                quotes,
                |quote| {
                    (
                        quote.ticker.clone(),
                        quote.option_type.as_str(),
                        quote.strike.clone(),
                        quote.expiration,
                        quote.fetched_at,
                    )
                },
                |connection, rows| {
                    let rows: Vec<_> = rows
                        .into_iter()
                        .map(|quote| (options_data::id.eq(OptionQuoteId::generate()), quote))
                        .collect();
                    let insert = diesel::insert_into(options_data::table).values(rows);
                    connection.write_all(insert.returning(OptionQuote::as_returning())).boxed()
                },
            )
            .await
        }

        #[tracing::instrument(level = "debug", name = "options.put_chain", skip_all)]
        async fn put_chain(
            &self,
            ticker: &Ticker,
            fetched_at: DateTime<Utc>,
            quotes: &[NewOptionQuote],
        ) -> Result<UpsertReport> {
            TradingDay::from(fetched_at).check("fetched_at")?;
            let check = |quote: &NewOptionQuote| {
                if quote.ticker != *ticker {
                    return Err(Error::invalid(
                        "ticker",
                        "an option on something else than the chain",
                    ));
                }
                if quote.fetched_at.is_some_and(|at| stored(at) != stored(fetched_at)) {
                    return Err(Error::invalid("fetched_at", "another time than the chain's"));
                }
                quote.validate()
            };
            Plan::new(quotes, check, contract_order)?
                .run(&self.session, |connection, quotes| {
                    upsert::merge(connection, quotes, Some(fetched_at))
                })
                .await
        }

        #[tracing::instrument(level = "debug", name = "options.upsert_many", skip_all)]
        async fn upsert_many(&self, quotes: &[NewOptionQuote]) -> Result<UpsertReport> {
            let key_order = |a: &NewOptionQuote, b: &NewOptionQuote| {
                let time = |quote: &NewOptionQuote| quote.fetched_at.map(stored);
                contract_order(a, b).then_with(|| time(a).cmp(&time(b)))
            };
            Plan::new(quotes, NewOptionQuote::validate, key_order)?
                .run(&self.session, |connection, quotes| upsert::merge(connection, quotes, None))
                .await
        }

        #[tracing::instrument(level = "debug", name = "options.find", skip_all)]
        async fn find(&self, id: OptionQuoteId) -> Result<Option<OptionQuote>> {
            let query = options_data::table.find(id);
            self.session.fetch_optional(query.select(OptionQuote::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "options.chain", skip_all)]
        async fn chain(
            &self,
            ticker: &Ticker,
            at: DateTime<Utc>,
            filter: &ChainFilter,
        ) -> Result<Listed<OptionQuote>> {
            chain::quotes(&self.session, ticker, Some(at), filter).await
        }

        #[tracing::instrument(level = "debug", name = "options.latest_chain", skip_all)]
        async fn latest_chain(
            &self,
            ticker: &Ticker,
            filter: &ChainFilter,
        ) -> Result<Listed<OptionQuote>> {
            chain::quotes(&self.session, ticker, None, filter).await
        }

        #[tracing::instrument(level = "debug", name = "options.expirations", skip_all)]
        async fn expirations(
            &self,
            ticker: &Ticker,
            at: DateTime<Utc>,
        ) -> Result<Listed<NaiveDate>> {
            let times = chain::expirations(&self.session, ticker, at).await?;
            Ok(times.map(|times| times.into_iter().map(|time| time.date_naive()).collect()))
        }

        #[tracing::instrument(level = "debug", name = "options.contract_history", skip_all)]
        async fn contract_history(
            &self,
            contract: &OptionContract,
            from: DateTime<Utc>,
            to: DateTime<Utc>,
        ) -> Result<Listed<OptionQuote>> {
            let query = options_data::table
                .filter(options_data::ticker.eq(&contract.ticker))
                .filter(options_data::option_type.eq(contract.option_type))
                .filter(options_data::strike_price.eq(&contract.strike))
                .filter(options_data::expiration_date.eq(contract.expiration))
                .filter(options_data::fetch_timestamp.ge(bound::ceil(from)))
                .filter(options_data::fetch_timestamp.le(bound::floor(to)))
                .order(options_data::fetch_timestamp);
            self.session.fetch_list(query.select(OptionQuote::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "options.list", skip_all)]
        async fn list(
            &self,
            filter: &OptionQuoteFilter,
            page: &PageRequest,
        ) -> Result<Page<OptionQuote>> {
            let query = filtered(filter);
            let query = newest_first!(query, page, options_data::fetch_timestamp, options_data::id);
            self.session
                .fetch_page(query.select(OptionQuote::as_select()), page, "fetch_timestamp")
                .await
        }

        #[tracing::instrument(level = "debug", name = "options.count", skip_all)]
        async fn count(&self, filter: &OptionQuoteFilter) -> Result<u64> {
            let count: i64 = self.session.fetch_one(filtered(filter).count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "options.exists", skip_all)]
        async fn exists(&self, id: OptionQuoteId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(options_data::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "options.update", skip_all)]
        async fn update(&self, id: OptionQuoteId, patch: &OptionQuotePatch) -> Result<OptionQuote> {
            patch.validate()?;
            if *patch == OptionQuotePatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(|| Error::not_found(Entity::OptionQuote, id));
            }
            let update = diesel::update(options_data::table.find(id)).set(patch);
            let update = update.returning(OptionQuote::as_returning());
            let changed = self.session.write_optional(update).await?;
            changed.ok_or_else(|| Error::not_found(Entity::OptionQuote, id))
        }

        #[tracing::instrument(level = "debug", name = "options.delete", skip_all)]
        async fn delete(&self, id: OptionQuoteId) -> Result<bool> {
            Ok(self.session.execute(diesel::delete(options_data::table.find(id))).await? > 0)
        }

        #[tracing::instrument(level = "debug", name = "options.sweep", skip_all)]
        async fn sweep(&self, limit: u32, retention: &Retention) -> Result<SweepReport> {
            retention::sweep(&self.session, limit, retention).await
        }
    }
);

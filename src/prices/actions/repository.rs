//! Splits and dividends.

use async_trait::async_trait;
use chrono::NaiveDate;
use diesel::dsl::exists;
use diesel::pg::Pg;
use diesel::prelude::{ExpressionMethods, QueryDsl, SelectableHelper};
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::action::{
    ActionChanges, ActionValues, CorporateAction, CorporateActionFilter, CorporateActionPatch,
    NewCorporateAction,
};
use super::upsert;
use crate::error::{Entity, Error, Result, unsupported};
use crate::schema::corporate_actions;
use crate::store::{Plan, Session, UpsertReport, batch, newest_first, settled};
use crate::types::{
    CorporateActionId, Listed, Page, PageRequest, Ticker, TradingDay, stream_pages,
};

/// Splits and dividends: of each kind at most one per ticker and ex-date. Prices are adjusted by them when
/// they are read ([`adjusted`](crate::prices::PriceRepository::adjusted)).
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait CorporateActionRepository: Send + Sync {
    /// Stores an action.
    ///
    /// # Errors
    /// `Conflict` when the ticker has one of that kind and day, `Invalid` of a field.
    async fn create(&self, action: &NewCorporateAction) -> Result<CorporateAction> {
        unsupported("corporate_actions.create")
    }

    /// Stores all of these actions, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index.
    async fn create_many(&self, actions: &[NewCorporateAction]) -> Result<Vec<CorporateAction>> {
        unsupported("corporate_actions.create_many")
    }

    /// Brings the stored actions to what was delivered: new ones are inserted, others take the values of
    /// the delivery and keep their ids; of equal ones nothing is written. Of several items with one key
    /// the last one counts. An item that breaks a rule is reported and left out.
    ///
    /// # Errors
    /// `Item` of one that the database refuses for a rule of its own; those of the database. Nothing was written then.
    async fn upsert_many(&self, actions: &[NewCorporateAction]) -> Result<UpsertReport> {
        unsupported("corporate_actions.upsert_many")
    }

    /// The action of this id.
    async fn find(&self, id: CorporateActionId) -> Result<Option<CorporateAction>> {
        unsupported("corporate_actions.find")
    }

    /// The ticker's actions with ex-dates from one day to another, both included, by rising day; of one
    /// day the dividend before the split.
    async fn for_ticker(
        &self,
        ticker: &Ticker,
        from: NaiveDate,
        to: NaiveDate,
    ) -> Result<Listed<CorporateAction>>;

    /// Actions by falling ex-date.
    async fn list(
        &self,
        filter: &CorporateActionFilter,
        page: &PageRequest,
    ) -> Result<Page<CorporateAction>> {
        unsupported("corporate_actions.list")
    }

    /// All actions of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(
        &'a self,
        filter: &'a CorporateActionFilter,
    ) -> BoxStream<'a, Result<CorporateAction>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// How many actions there are.
    async fn count(&self, filter: &CorporateActionFilter) -> Result<u64> {
        unsupported("corporate_actions.count")
    }

    /// Whether the action exists.
    async fn exists(&self, id: CorporateActionId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Applies the patch and returns the updated action.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the ticker has an action of the new kind on that day; `Invalid` of a
    /// field.
    async fn update(
        &self,
        id: CorporateActionId,
        patch: &CorporateActionPatch,
    ) -> Result<CorporateAction> {
        unsupported("corporate_actions.update")
    }

    /// Deletes the action. Returns `false` if it did not exist.
    async fn delete(&self, id: CorporateActionId) -> Result<bool> {
        unsupported("corporate_actions.delete")
    }
}

/// [`CorporateActionRepository`] on PostgreSQL.
#[derive(Clone)]
pub(crate) struct PgCorporateActions {
    session: Session,
}

impl PgCorporateActions {
    pub(crate) fn new(session: Session) -> Self {
        PgCorporateActions { session }
    }
}

/// The rows of a filter, as a boxed query.
fn filtered(filter: &CorporateActionFilter) -> corporate_actions::BoxedQuery<'_, Pg> {
    let mut query = corporate_actions::table.into_boxed();
    match filter.tickers.as_deref() {
        // One ticker alone lets the index give the order, too.
        Some([ticker]) => query = query.filter(corporate_actions::ticker.eq(ticker)),
        Some(tickers) => query = query.filter(corporate_actions::ticker.eq_any(tickers)),
        None => {}
    }
    if let Some(action_type) = filter.action_type {
        query = query.filter(corporate_actions::action_type.eq(action_type));
    }
    if let Some(from) = filter.from {
        let (from, _) = TradingDay::bounds(from, from);
        query = query.filter(corporate_actions::ex_date.ge(from));
    }
    if let Some(to) = filter.to {
        let (_, to) = TradingDay::bounds(to, to);
        query = query.filter(corporate_actions::ex_date.lt(to));
    }
    query
}

/// The columns of an action to be inserted.
macro_rules! inserted {
    ($action:expr) => {
        (
            corporate_actions::id.eq(CorporateActionId::generate()),
            corporate_actions::ticker.eq(&$action.ticker),
            corporate_actions::ex_date.eq(&$action.ex_date),
            corporate_actions::data_source.eq(&*$action.data_source),
            ActionValues::from(&$action.kind),
        )
    };
}

settled!(
    #[async_trait]
    impl CorporateActionRepository for PgCorporateActions {
        #[tracing::instrument(level = "debug", name = "corporate_actions.create", skip_all)]
        async fn create(&self, action: &NewCorporateAction) -> Result<CorporateAction> {
            action.validate()?;
            let insert = diesel::insert_into(corporate_actions::table).values(inserted!(action));
            self.session.write_one(insert.returning(CorporateAction::as_returning())).await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.create_many", skip_all)]
        async fn create_many(&self, new: &[NewCorporateAction]) -> Result<Vec<CorporateAction>> {
            for (index, action) in new.iter().enumerate() {
                action.validate().map_err(|e| e.at(index))?;
            }
            batch::insert_many(
                &self.session,
                new,
                |action| {
                    (action.ticker.clone(), action.ex_date, action.kind.action_type().as_str())
                },
                |connection, rows| {
                    let rows: Vec<_> = rows.into_iter().map(|action| inserted!(action)).collect();
                    let insert = diesel::insert_into(corporate_actions::table).values(rows);
                    connection.write_all(insert.returning(CorporateAction::as_returning())).boxed()
                },
            )
            .await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.upsert_many", skip_all)]
        async fn upsert_many(&self, new: &[NewCorporateAction]) -> Result<UpsertReport> {
            let key_order = |a: &NewCorporateAction, b: &NewCorporateAction| {
                let kind = |action: &NewCorporateAction| action.kind.action_type().as_str();
                a.ticker
                    .cmp(&b.ticker)
                    .then_with(|| a.ex_date.cmp(&b.ex_date))
                    .then_with(|| kind(a).cmp(kind(b)))
            };
            Plan::new(new, NewCorporateAction::validate, key_order)?
                .run(&self.session, upsert::merge)
                .await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.find", skip_all)]
        async fn find(&self, id: CorporateActionId) -> Result<Option<CorporateAction>> {
            let query = corporate_actions::table.find(id).select(CorporateAction::as_select());
            self.session.fetch_optional(query).await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.for_ticker", skip_all)]
        async fn for_ticker(
            &self,
            ticker: &Ticker,
            from: NaiveDate,
            to: NaiveDate,
        ) -> Result<Listed<CorporateAction>> {
            let (from, to) = TradingDay::bounds(from, to);
            let query = corporate_actions::table
                .filter(corporate_actions::ticker.eq(ticker))
                .filter(corporate_actions::ex_date.ge(from))
                .filter(corporate_actions::ex_date.lt(to))
                .order((corporate_actions::ex_date, corporate_actions::action_type));
            self.session.fetch_list(query.select(CorporateAction::as_select())).await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.list", skip_all)]
        async fn list(
            &self,
            filter: &CorporateActionFilter,
            page: &PageRequest,
        ) -> Result<Page<CorporateAction>> {
            let query = filtered(filter);
            let query =
                newest_first!(query, page, corporate_actions::ex_date, corporate_actions::id);
            self.session
                .fetch_page(query.select(CorporateAction::as_select()), page, "ex_date")
                .await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.count", skip_all)]
        async fn count(&self, filter: &CorporateActionFilter) -> Result<u64> {
            let count: i64 = self.session.fetch_one(filtered(filter).count()).await?;
            Ok(count.unsigned_abs())
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.exists", skip_all)]
        async fn exists(&self, id: CorporateActionId) -> Result<bool> {
            self.session.fetch_one(diesel::select(exists(corporate_actions::table.find(id)))).await
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.update", skip_all)]
        async fn update(
            &self,
            id: CorporateActionId,
            patch: &CorporateActionPatch,
        ) -> Result<CorporateAction> {
            patch.validate()?;
            let unknown = || Error::not_found(Entity::CorporateAction, id);
            if *patch == CorporateActionPatch::default() {
                let found = self.find(id).await?;
                return found.ok_or_else(unknown);
            }
            let update =
                diesel::update(corporate_actions::table.find(id)).set(ActionChanges::from(patch));
            let update = update.returning(CorporateAction::as_returning());
            let changed = self.session.write_optional(update).await?;
            changed.ok_or_else(unknown)
        }

        #[tracing::instrument(level = "debug", name = "corporate_actions.delete", skip_all)]
        async fn delete(&self, id: CorporateActionId) -> Result<bool> {
            Ok(self.session.execute(diesel::delete(corporate_actions::table.find(id))).await? > 0)
        }
    }
);

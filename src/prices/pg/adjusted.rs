//! What adjusting needs: bars, and the actions after them with the closes that they are measured by.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::{QueryDsl, QueryableByName, SelectableHelper};
use diesel::sql_types::{Bool, Nullable, Numeric, Text, Timestamptz, Uuid as SqlUuid};

use crate::error::Result;
use crate::prices::actions::{ActionKind, kind_of};
use crate::prices::bars::PriceBar;
use crate::prices::reading::walk;
use crate::prices::series::{Adjustment, PricedAction};
use crate::store::{Session, Tried, tables};
use crate::types::{
    BarId, CorporateActionId, CorporateActionType, DividendAmount, Listed, Price, SplitShares,
    Ticker, TradingDay,
};

/// One index probe for each dividend: the raw close before it. Dividends only where they count.
const ACTIONS: &str = "
    SELECT action.id, action.ex_date, action.action_type, action.split_from, action.split_to, action.amount,
        previous.id AS bar_id, previous.close_price
    FROM corporate_actions AS action
    LEFT JOIN LATERAL (
        SELECT id, close_price FROM price_history
        WHERE ticker = action.ticker AND date < action.ex_date
        ORDER BY date DESC LIMIT 1
    ) AS previous ON TRUE
    WHERE action.ticker = $1 AND action.ex_date >= $2 AND action.ex_date < $3
        AND ($4 OR action.action_type <> 'dividend')
    ORDER BY action.ex_date, action.action_type";

#[derive(QueryableByName)]
struct ActionRow {
    #[diesel(sql_type = SqlUuid)]
    id: CorporateActionId,
    #[diesel(sql_type = Timestamptz)]
    ex_date: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    action_type: CorporateActionType,
    #[diesel(sql_type = Nullable<Numeric>)]
    split_from: Option<SplitShares>,
    #[diesel(sql_type = Nullable<Numeric>)]
    split_to: Option<SplitShares>,
    #[diesel(sql_type = Nullable<Numeric>)]
    amount: Option<DividendAmount>,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    bar_id: Option<BarId>,
    #[diesel(sql_type = Nullable<Numeric>)]
    close_price: Option<Tried<Price>>,
}

impl ActionRow {
    /// # Errors
    /// `Corrupt` of the action, or of the bar before it: what an action does to the bars before it must be known.
    fn priced(self) -> Result<PricedAction> {
        let kind = kind_of(self.id, self.action_type, self.split_from, self.split_to, self.amount)?;
        let previous_close = match (&kind, self.bar_id, self.close_price) {
            (ActionKind::Dividend { .. }, Some(id), Some(close)) => {
                Some(close.of("price_history", id, "close_price")?)
            }
            _ => None,
        };
        Ok(PricedAction { ex_day: self.ex_date.date_naive(), kind, previous_close })
    }
}

/// The ticker's bars of these days, and its actions after the first of them, up to `as_of`, that count for the
/// adjustment: both statements at once, on one connection.
///
/// # Errors
/// Those of a statement; `Corrupt` of an action, or of the bar by which a dividend is measured.
pub(crate) async fn read(
    session: &Session,
    ticker: &Ticker,
    (first, last): (NaiveDate, NaiveDate),
    as_of: NaiveDate,
    adjustment: Adjustment,
) -> Result<(Listed<PriceBar>, Vec<PricedAction>)> {
    let bars = walk::between(ticker, TradingDay::bounds(first, last)).select(PriceBar::as_select());
    let (from, until) = TradingDay::bounds(first, as_of);
    let actions = diesel::sql_query(ACTIONS)
        .bind::<Text, _>(ticker)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(until)
        .bind::<Bool, _>(adjustment == Adjustment::SplitsAndDividends);
    let of_actions = session.about(&tables::CORPORATE_ACTIONS);
    let connection = session.connection().await?;
    // Both to their ends: an error of the one must not leave the other in flight.
    let (bars, actions) = tokio::join!(
        connection.fetch_each::<_, PriceBar, _>(bars),
        connection.fetch_all::<_, ActionRow, _>(actions),
    );
    let mut listed = Listed::default();
    bars?.into_iter().for_each(|bar| listed.take(bar));
    session.report(listed.unreadable.iter_mut());
    let actions = actions.map_err(|error| of_actions.named(error))?;
    let actions: Result<Vec<_>> = actions.into_iter().map(ActionRow::priced).collect();
    Ok((listed, actions?))
}

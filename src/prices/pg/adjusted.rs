//! What adjusting needs: bars, and the actions after them with the closes that they are measured by.

use chrono::{DateTime, NaiveDate, Utc};
use diesel::prelude::{QueryDsl, QueryableByName, SelectableHelper};
use diesel::sql_types::{Nullable, Numeric, Text, Timestamptz};

use super::between;
use crate::error::{Error, Result};
use crate::prices::actions::ActionKind;
use crate::prices::bars::PriceBar;
use crate::prices::series::PricedAction;
use crate::store::Session;
use crate::types::{CorporateActionType, DividendAmount, Price, SplitShares, Ticker, TradingDay};

/// One index probe for each dividend: the raw close before it.
const ACTIONS: &str = "
    SELECT action.ex_date, action.action_type, action.split_from, action.split_to, action.amount,
        previous.close_price
    FROM corporate_actions AS action
    LEFT JOIN LATERAL (
        SELECT close_price FROM price_history
        WHERE ticker = action.ticker AND date < action.ex_date
        ORDER BY date DESC LIMIT 1
    ) AS previous ON TRUE
    WHERE action.ticker = $1 AND action.ex_date >= $2 AND action.ex_date < $3
    ORDER BY action.ex_date, action.action_type";

#[derive(QueryableByName)]
struct ActionRow {
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
    #[diesel(sql_type = Nullable<Numeric>)]
    close_price: Option<Price>,
}

impl ActionRow {
    fn priced(self) -> Result<PricedAction> {
        let kind = match (self.action_type, self.split_from, self.split_to, self.amount) {
            (CorporateActionType::Split, Some(from), Some(to), _) => ActionKind::Split { from, to },
            (CorporateActionType::Dividend, _, _, Some(amount)) => ActionKind::Dividend { amount },
            _ => return Err(Error::invalid("action_type", "lacks the values of its kind")),
        };
        let previous_close = self.close_price;
        Ok(PricedAction { ex_day: self.ex_date.date_naive(), kind, previous_close })
    }
}

/// The ticker's bars of these days, and its actions after the first of them, up to `as_of`: both
/// statements at once, on one connection.
pub(crate) async fn read(
    session: &Session,
    ticker: &Ticker,
    (first, last): (NaiveDate, NaiveDate),
    as_of: NaiveDate,
) -> Result<(Vec<PriceBar>, Vec<PricedAction>)> {
    let (from, to) = TradingDay::bounds(first, last);
    let bars = between(ticker, from, to).select(PriceBar::as_select());
    let (from, until) = TradingDay::bounds(first, as_of);
    let actions = diesel::sql_query(ACTIONS)
        .bind::<Text, _>(ticker)
        .bind::<Timestamptz, _>(from)
        .bind::<Timestamptz, _>(until);
    let connection = session.connection().await?;
    let (bars, actions) = tokio::try_join!(
        connection.fetch_all::<_, PriceBar, _>(bars),
        connection.fetch_all::<_, ActionRow, _>(actions),
    )?;
    let actions: Result<Vec<_>> = actions.into_iter().map(ActionRow::priced).collect();
    Ok((bars, actions?))
}

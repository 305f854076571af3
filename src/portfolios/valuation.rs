//! What a portfolio is worth.

use bigdecimal::{BigDecimal, RoundingMode, Zero};
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::QueryableByName;
use diesel::sql_types;
use serde::{Deserialize, Serialize};

use super::position::cost_basis;
use crate::error::Unreadable;
use crate::store::Tried;
use crate::types::{BarId, Cost, Percentage, PortfolioId, PositionId, Price, Shares, Ticker};

/// A portfolio's positions at the prices of one point in time. Amounts are exact and in the currency of the
/// quotes, which are not converted: positions in several currencies have no meaningful totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Valuation {
    /// The portfolio.
    pub portfolio_id: PortfolioId,
    /// The moment whose prices were asked for.
    pub as_of: DateTime<Utc>,
    /// The share to be held in cash, in percent.
    pub target_cash_percentage: Option<Percentage>,
    /// Every position held that can be read, by ticker, with a price or not.
    pub positions: Vec<PositionValue>,
    /// Sum of the market values that are known.
    pub market_value: BigDecimal,
    /// Sum of the cost bases that are known, also of positions without a price.
    pub cost_basis: BigDecimal,
    /// Sum of the unrealised gains that are known.
    pub unrealised_gain: BigDecimal,
    /// Positions that are held and cannot be read, which the sums leave out, and bars that would give a price and cannot be
    /// read.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

/// One position at a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PositionValue {
    /// The position.
    pub position_id: PositionId,
    /// What is held.
    pub ticker: Ticker,
    /// How much of it.
    pub shares: Option<Shares>,
    /// Average price paid for one share.
    pub average_cost: Option<Cost>,
    /// The bar that the price is of; `None` where no bar begins at or before the moment, or where the latest that does cannot
    /// be read: [`Valuation::unreadable`] has its id then.
    pub bar: Option<PricedBar>,
    /// Shares times price.
    pub market_value: Option<BigDecimal>,
    /// Shares times average cost.
    pub cost_basis: Option<BigDecimal>,
    /// Market value less cost basis.
    pub unrealised_gain: Option<BigDecimal>,
    /// Market value in percent of the valuation's, rounded half to even to
    /// [`WEIGHT_SCALE`](Self::WEIGHT_SCALE) decimals. Cash is not stored and has no part in it.
    pub weight: Option<BigDecimal>,
    /// Target weight in percent.
    pub target: Option<Percentage>,
    /// Weight less target, in percentage points: above zero the portfolio holds too much of it.
    pub drift: Option<BigDecimal>,
}

/// The price of a position, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PricedBar {
    /// Start of the bar.
    pub date: DateTime<Utc>,
    /// Its close, as delivered.
    pub close: Price,
    /// Whether the bar contradicts itself (a high below its low, say) and should not be trusted.
    pub is_suspect: bool,
}

impl PositionValue {
    /// Decimals of a weight.
    pub const WEIGHT_SCALE: i64 = 6;
}

impl Valuation {
    /// Tickers of the positions without a price, in order.
    pub fn without_price(&self) -> impl Iterator<Item = &Ticker> {
        self.positions.iter().filter(|p| p.bar.is_none()).map(|p| &p.ticker)
    }

    /// The valuation of the rows of one portfolio; `None` without any.
    pub(crate) fn from_rows(rows: Vec<ValuationRow>) -> Option<Self> {
        let first = rows.first()?;
        let mut valuation = Valuation {
            portfolio_id: first.portfolio_id,
            as_of: first.as_of,
            target_cash_percentage: first.target_cash_percentage.clone(),
            positions: Vec::new(),
            market_value: BigDecimal::zero(),
            cost_basis: BigDecimal::zero(),
            unrealised_gain: BigDecimal::zero(),
            unreadable: Vec::new(),
        };
        for row in rows {
            match row.into_position(&mut valuation.unreadable) {
                Ok(position) => valuation.positions.extend(position),
                Err(unreadable) => valuation.unreadable.push(unreadable),
            }
        }
        for position in &valuation.positions {
            let sums = [
                (&mut valuation.market_value, &position.market_value),
                (&mut valuation.cost_basis, &position.cost_basis),
                (&mut valuation.unrealised_gain, &position.unrealised_gain),
            ];
            for (sum, part) in sums {
                *sum += part.as_ref().unwrap_or(&BigDecimal::zero());
            }
        }
        for position in &mut valuation.positions {
            position.weigh(&valuation.market_value);
        }
        Some(valuation)
    }
}

impl PositionValue {
    fn weigh(&mut self, total: &BigDecimal) {
        if total.is_zero() {
            return;
        }
        self.weight = self.market_value.as_ref().map(|value| {
            let percent = value * BigDecimal::from(100) / total;
            percent.with_scale_round(Self::WEIGHT_SCALE, RoundingMode::HalfEven)
        });
        self.drift = match (&self.weight, &self.target) {
            (Some(weight), Some(target)) => Some(weight - target.as_decimal()),
            _ => None,
        };
    }
}

/// A position and its bar; without positions one row of the portfolio alone. Only what is of the portfolio keeps the row
/// from being decoded.
#[derive(QueryableByName)]
#[diesel(check_for_backend(Pg))]
pub(crate) struct ValuationRow {
    #[diesel(sql_type = sql_types::Uuid)]
    portfolio_id: PortfolioId,
    #[diesel(sql_type = sql_types::Timestamptz)]
    as_of: DateTime<Utc>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Numeric>)]
    target_cash_percentage: Option<Percentage>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    position_id: Option<PositionId>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Text>)]
    ticker: Option<Tried<Ticker>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Numeric>)]
    shares: Option<Tried<Shares>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Numeric>)]
    average_cost: Option<Tried<Cost>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Numeric>)]
    allocation_percentage: Option<Tried<Percentage>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Uuid>)]
    bar_id: Option<BarId>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Timestamptz>)]
    date: Option<Tried<DateTime<Utc>>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Numeric>)]
    close_price: Option<Tried<Price>>,
    #[diesel(sql_type = sql_types::Nullable<sql_types::Bool>)]
    is_suspect: Option<bool>,
}

impl ValuationRow {
    /// The position, if there is one; its bar, where that cannot be read, is among `unreadable`.
    ///
    /// # Errors
    /// The position cannot be read.
    fn into_position(
        self,
        unreadable: &mut Vec<Unreadable>,
    ) -> Result<Option<PositionValue>, Unreadable> {
        let (Some(position_id), Some(ticker)) = (self.position_id, self.ticker) else {
            return Ok(None);
        };
        let key = position_id;
        let ticker = ticker.of("positions", key, "ticker")?;
        let shares = self.shares.map(|it| it.of("positions", key, "shares")).transpose()?;
        let average_cost = self.average_cost.map(|it| it.of("positions", key, "average_cost"));
        let average_cost = average_cost.transpose()?;
        let target = self.allocation_percentage;
        let target = target.map(|it| it.of("positions", key, "allocation_percentage"));
        let target = target.transpose()?;
        let bar = match (self.bar_id, self.date, self.close_price, self.is_suspect) {
            (Some(id), Some(date), Some(close), Some(is_suspect)) => {
                priced(id, date, close, is_suspect).map_err(|bar| unreadable.push(bar)).ok()
            }
            _ => None,
        };
        let value = |shares: &Shares, bar: &PricedBar| shares.as_decimal() * bar.close.as_decimal();
        let market_value = shares.as_ref().zip(bar.as_ref()).map(|(s, b)| value(s, b));
        let cost_basis = cost_basis(shares.as_ref(), average_cost.as_ref());
        let unrealised_gain = market_value.as_ref().zip(cost_basis.as_ref()).map(|(v, c)| v - c);
        Ok(Some(PositionValue {
            position_id,
            ticker,
            shares,
            average_cost,
            bar,
            market_value,
            cost_basis,
            unrealised_gain,
            weight: None,
            target,
            drift: None,
        }))
    }
}

fn priced(
    id: BarId,
    date: Tried<DateTime<Utc>>,
    close: Tried<Price>,
    is_suspect: bool,
) -> Result<PricedBar, Unreadable> {
    let date = date.of("price_history", id, "date")?;
    let close = close.of("price_history", id, "close_price")?;
    Ok(PricedBar { date, close, is_suspect })
}

//! Positions of a portfolio.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{AsChangeset, Insertable, Queryable, QueryableByName, Selectable};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::schema::positions;
use crate::store::{Clearable, patch};
use crate::types::{Cost, Percentage, PortfolioId, PositionId, Shares, Ticker, text};

/// A position, as stored: one per portfolio and ticker.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = positions, check_for_backend(Pg))]
pub struct Position {
    /// The position's id.
    pub id: PositionId,
    /// The portfolio that holds it.
    pub portfolio_id: PortfolioId,
    /// What is held.
    pub ticker: Ticker,
    /// How much of it; `None` where not known.
    pub shares: Option<Shares>,
    /// Average price paid for one share, in the currency of the quote; `None` where not known.
    pub average_cost: Option<Cost>,
    /// Target weight in the portfolio, in percent; `None` where there is no target.
    pub allocation_percentage: Option<Percentage>,
    /// Free text.
    pub notes: Option<String>,
    /// `false` once it is removed; adding its ticker again revives it.
    pub is_active: bool,
    /// When the ticker was first added.
    pub created_at: DateTime<Utc>,
    /// When the row last changed; kept by the database.
    pub updated_at: DateTime<Utc>,
}

impl Position {
    /// What was paid for it: shares times average cost, exactly; `None` where either is not known.
    pub fn cost_basis(&self) -> Option<BigDecimal> {
        cost_basis(self.shares.as_ref(), self.average_cost.as_ref())
    }
}

pub(super) fn cost_basis(shares: Option<&Shares>, cost: Option<&Cost>) -> Option<BigDecimal> {
    Some(shares?.as_decimal() * cost?.as_decimal())
}

/// A position to be added.
#[derive(Debug, Clone, PartialEq, Insertable, Serialize, Deserialize)]
#[diesel(table_name = positions)]
pub struct NewPosition {
    /// The id it will have, unless a removed position of the ticker is revived; made by
    /// [`NewPosition::new`].
    #[serde(default = "PositionId::generate")]
    pub id: PositionId,
    /// The portfolio that is to hold it.
    pub portfolio_id: PortfolioId,
    /// What is held.
    pub ticker: Ticker,
    /// How much of it; `None` where not known.
    pub shares: Option<Shares>,
    /// Average price paid for one share, in the currency of the quote.
    pub average_cost: Option<Cost>,
    /// Target weight in the portfolio, in percent.
    pub allocation_percentage: Option<Percentage>,
    /// Free text.
    pub notes: Option<String>,
}

impl NewPosition {
    /// A position of so many shares.
    pub fn new(
        portfolio_id: PortfolioId,
        ticker: Ticker,
        shares: impl Into<Option<Shares>>,
    ) -> Self {
        NewPosition {
            id: PositionId::generate(),
            portfolio_id,
            ticker,
            shares: shares.into(),
            average_cost: None,
            allocation_percentage: None,
            notes: None,
        }
    }

    /// With the average price paid for one share.
    pub fn average_cost(self, cost: Cost) -> Self {
        NewPosition { average_cost: Some(cost), ..self }
    }

    /// With a target weight in the portfolio.
    pub fn allocation(self, percentage: Percentage) -> Self {
        NewPosition { allocation_percentage: Some(percentage), ..self }
    }

    /// With a note.
    pub fn notes(self, notes: impl Into<String>) -> Self {
        NewPosition { notes: Some(notes.into()), ..self }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> Position {
        Position {
            id: self.id,
            portfolio_id: self.portfolio_id,
            ticker: self.ticker,
            shares: self.shares,
            average_cost: self.average_cost,
            allocation_percentage: self.allocation_percentage,
            notes: self.notes,
            is_active: true,
            created_at: at,
            updated_at: at,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        text::check_optional("notes", self.notes.as_deref(), text::UNLIMITED)
    }
}

/// A change of a position. Another portfolio is a matter of
/// [`move_to`](crate::portfolios::PositionRepository::move_to).
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = positions)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PositionPatch {
    /// A new symbol of the same security.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ticker: Option<Ticker>,
    /// Another number of shares, or not known.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub shares: Option<Option<Shares>>,
    /// Another average price paid for one share, or not known.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub average_cost: Option<Option<Cost>>,
    /// Another target weight in percent, or no target.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub allocation_percentage: Option<Option<Percentage>>,
    /// Another note, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub notes: Option<Option<String>>,
    /// Whether it is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
}

impl PositionPatch {
    /// With a new symbol of the same security.
    pub fn ticker(self, ticker: Ticker) -> Self {
        PositionPatch { ticker: Some(ticker), ..self }
    }

    /// With another number of shares; `None` clears it.
    pub fn shares(self, shares: impl Into<Clearable<Shares>>) -> Self {
        PositionPatch { shares: Some(shares.into().0), ..self }
    }

    /// With another average price paid for one share; `None` clears it.
    pub fn average_cost(self, average_cost: impl Into<Clearable<Cost>>) -> Self {
        PositionPatch { average_cost: Some(average_cost.into().0), ..self }
    }

    /// With another target weight in percent; `None` clears it.
    pub fn allocation_percentage(
        self,
        allocation_percentage: impl Into<Clearable<Percentage>>,
    ) -> Self {
        PositionPatch { allocation_percentage: Some(allocation_percentage.into().0), ..self }
    }

    /// With another note; `None` clears it.
    pub fn notes(self, notes: impl Into<Clearable<String>>) -> Self {
        PositionPatch { notes: Some(notes.into().0), ..self }
    }

    /// Sets whether it is held.
    pub fn is_active(self, is_active: bool) -> Self {
        PositionPatch { is_active: Some(is_active), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let notes = self.notes.as_ref().and_then(Option::as_deref);
        text::check_optional("notes", notes, text::UNLIMITED)
    }
}

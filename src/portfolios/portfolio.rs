//! Portfolios.

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{AsChangeset, Insertable, Queryable, QueryableByName, Selectable};
use diesel::sql_types;
use serde::{Deserialize, Serialize};

use super::position::Position;
use crate::error::{Result, Unreadable};
use crate::schema::portfolios;
use crate::store::{Clearable, patch};
use crate::types::{Activity, Count, Percentage, PortfolioId, RiskTolerance, UserId, text};

/// A portfolio, as stored.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = portfolios, check_for_backend(Pg))]
pub struct Portfolio {
    /// The portfolio's id.
    pub id: PortfolioId,
    /// The owner.
    pub user_id: UserId,
    /// Need not be unique.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How much risk the owner takes with it.
    pub risk_tolerance: RiskTolerance,
    /// `false` once it is deactivated (soft-deleted).
    pub is_active: bool,
    /// The share to be held in cash, in percent; `None` where there is no target.
    pub target_cash_percentage: Option<Percentage>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When the row last changed; kept by the database.
    pub updated_at: DateTime<Utc>,
}

/// A portfolio to be made.
#[derive(Debug, Clone, PartialEq, Insertable, Serialize, Deserialize)]
#[diesel(table_name = portfolios)]
pub struct NewPortfolio {
    /// The id it will have; made by [`NewPortfolio::new`].
    #[serde(default = "PortfolioId::generate")]
    pub id: PortfolioId,
    /// The owner.
    pub user_id: UserId,
    /// 1 to 255 characters.
    pub name: String,
    /// Free text.
    pub description: Option<String>,
    /// How much risk the owner takes with it.
    pub risk_tolerance: RiskTolerance,
    /// The share to be held in cash, in percent. `None` is the database's default, 5 percent;
    /// `Some(None)` means no target.
    #[serde(
        default,
        deserialize_with = "patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub target_cash_percentage: Option<Option<Percentage>>,
}

impl NewPortfolio {
    /// An active portfolio of this user.
    pub fn new(user_id: UserId, name: impl Into<String>, risk_tolerance: RiskTolerance) -> Self {
        NewPortfolio {
            id: PortfolioId::generate(),
            user_id,
            name: name.into(),
            description: None,
            risk_tolerance,
            target_cash_percentage: None,
        }
    }

    /// With a description.
    pub fn description(self, description: impl Into<String>) -> Self {
        NewPortfolio { description: Some(description.into()), ..self }
    }

    /// With a share to be held in cash, or with no target.
    pub fn target_cash(self, percentage: impl Into<Option<Percentage>>) -> Self {
        NewPortfolio { target_cash_percentage: Some(percentage.into()), ..self }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> Portfolio {
        let default = || Percentage::new(DEFAULT_CASH.into()).ok();
        Portfolio {
            id: self.id,
            user_id: self.user_id,
            name: self.name,
            description: self.description,
            risk_tolerance: self.risk_tolerance,
            is_active: true,
            target_cash_percentage: self.target_cash_percentage.unwrap_or_else(default),
            created_at: at,
            updated_at: at,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_portfolio_name(&self.name)?;
        text::check_optional("description", self.description.as_deref(), text::UNLIMITED)
    }
}

/// A change of a portfolio. Its owner does not change.
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = portfolios)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PortfolioPatch {
    /// A new name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A new description, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub description: Option<Option<String>>,
    /// Another tolerance of risk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub risk_tolerance: Option<RiskTolerance>,
    /// Whether it is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
    /// Another share to be held in cash, in percent, or no target.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub target_cash_percentage: Option<Option<Percentage>>,
}

impl PortfolioPatch {
    /// With a new name.
    pub fn name(self, name: impl Into<String>) -> Self {
        PortfolioPatch { name: Some(name.into()), ..self }
    }

    /// With a new description; `None` clears it.
    pub fn description(self, description: impl Into<Clearable<String>>) -> Self {
        PortfolioPatch { description: Some(description.into().0), ..self }
    }

    /// With another tolerance of risk.
    pub fn risk_tolerance(self, risk_tolerance: RiskTolerance) -> Self {
        PortfolioPatch { risk_tolerance: Some(risk_tolerance), ..self }
    }

    /// Sets whether it is in use.
    pub fn is_active(self, is_active: bool) -> Self {
        PortfolioPatch { is_active: Some(is_active), ..self }
    }

    /// With another share to be held in cash, in percent; `None` clears it.
    pub fn target_cash_percentage(
        self,
        target_cash_percentage: impl Into<Clearable<Percentage>>,
    ) -> Self {
        PortfolioPatch { target_cash_percentage: Some(target_cash_percentage.into().0), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), check_portfolio_name)?;
        let description = self.description.as_ref().and_then(Option::as_deref);
        text::check_optional("description", description, text::UNLIMITED)
    }
}

/// Which portfolios a list or a count includes; the default is all active ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PortfolioFilter {
    /// Only those of this user.
    pub user_id: Option<UserId>,
    /// Active ones, deactivated ones or both.
    pub activity: Activity,
    /// Only those of this tolerance of risk.
    pub risk_tolerance: Option<RiskTolerance>,
}

impl PortfolioFilter {
    /// Only those of this user.
    pub fn user_id(self, user_id: impl Into<Option<UserId>>) -> Self {
        PortfolioFilter { user_id: user_id.into(), ..self }
    }

    /// Active ones, deactivated ones or both.
    pub fn activity(self, activity: Activity) -> Self {
        PortfolioFilter { activity, ..self }
    }

    /// Only those of this tolerance of risk.
    pub fn risk_tolerance(self, risk_tolerance: impl Into<Option<RiskTolerance>>) -> Self {
        PortfolioFilter { risk_tolerance: risk_tolerance.into(), ..self }
    }
}

/// A portfolio with positions, read at one moment, unless one of them cannot be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortfolioWithPositions {
    /// The portfolio.
    pub portfolio: Portfolio,
    /// Its positions, by ticker.
    pub positions: Vec<Position>,
    /// Positions that belong to it and cannot be read.
    #[serde(default)]
    pub unreadable: Vec<Unreadable>,
}

/// Figures of a portfolio, computed by the database at one moment. Amounts are exact, in the
/// currency of the positions.
#[derive(Debug, Clone, PartialEq, Eq, QueryableByName, Serialize, Deserialize)]
#[diesel(check_for_backend(Pg))]
pub struct PortfolioSummary {
    /// The portfolio.
    #[diesel(sql_type = sql_types::Uuid)]
    pub portfolio_id: PortfolioId,
    /// Positions held.
    #[diesel(sql_type = sql_types::BigInt, deserialize_as = Count)]
    pub active_positions: u64,
    /// Positions removed but kept.
    #[diesel(sql_type = sql_types::BigInt, deserialize_as = Count)]
    pub inactive_positions: u64,
    /// Analysis results of the portfolio.
    #[diesel(sql_type = sql_types::BigInt, deserialize_as = Count)]
    pub analyses: u64,
    /// Sum of the target weights of the positions held, in percent; 0 without any. Nothing keeps
    /// it, or it with the cash target, at 100 or below.
    #[diesel(sql_type = sql_types::Numeric)]
    pub allocation_total: BigDecimal,
    /// The share to be held in cash, in percent.
    #[diesel(sql_type = sql_types::Nullable<sql_types::Numeric>)]
    pub target_cash_percentage: Option<Percentage>,
    /// Sum of shares times average cost over the positions held where both are known.
    #[diesel(sql_type = sql_types::Numeric)]
    pub cost_basis: BigDecimal,
    /// Positions held that `cost_basis` leaves out.
    #[diesel(sql_type = sql_types::BigInt, deserialize_as = Count)]
    pub positions_without_cost: u64,
}

/// The default of `portfolios.target_cash_percentage`, in percent.
const DEFAULT_CASH: i64 = 5;

/// Maximum length of a name, in characters.
const NAME_LENGTH: usize = 255;

pub(crate) fn check_portfolio_name(name: &str) -> Result<()> {
    text::check_required("name", name, NAME_LENGTH)
}

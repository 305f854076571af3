//! Splits and dividends.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, Utc};
use diesel::pg::Pg;
use diesel::prelude::{AsChangeset, Insertable, Queryable, Selectable};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::corporate_actions;
use crate::store::{Clearable, delivery};
use crate::types::{
    CorporateActionId, CorporateActionType, DividendAmount, SplitShares, Ticker, TradingDay,
};

/// What happens to a share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// `from` shares become `to`: 1 and 2 in a split 2:1, 10 and 1 in a reverse split 1:10.
    Split {
        /// Shares before.
        from: SplitShares,
        /// Shares after.
        to: SplitShares,
    },
    /// Cash is paid.
    Dividend {
        /// All of the day, per share that trades on it, in the currency of the quote: after a split of
        /// the same day per new share.
        amount: DividendAmount,
    },
}

impl ActionKind {
    /// Which of the two it is.
    pub fn action_type(&self) -> CorporateActionType {
        match self {
            ActionKind::Split { .. } => CorporateActionType::Split,
            ActionKind::Dividend { .. } => CorporateActionType::Dividend,
        }
    }
}

/// A stored split or dividend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CorporateAction {
    /// The action's id.
    pub id: CorporateActionId,
    /// The security.
    pub ticker: Ticker,
    /// Midnight UTC of the first trading day on which the share trades split, or without the dividend.
    pub ex_date: DateTime<Utc>,
    /// What happens.
    pub kind: ActionKind,
    /// The provider.
    pub data_source: Option<String>,
    /// When the action was stored.
    pub created_at: DateTime<Utc>,
    /// Time of the latest change.
    pub updated_at: DateTime<Utc>,
}

impl CorporateAction {
    /// The exchange's date.
    pub fn ex_day(&self) -> NaiveDate {
        self.ex_date.date_naive()
    }
}

/// The row as it is stored.
#[derive(Queryable, Selectable)]
#[diesel(table_name = corporate_actions, check_for_backend(Pg))]
pub struct ActionRow {
    id: CorporateActionId,
    ticker: Ticker,
    ex_date: DateTime<Utc>,
    action_type: CorporateActionType,
    split_from: Option<SplitShares>,
    split_to: Option<SplitShares>,
    amount: Option<DividendAmount>,
    data_source: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// It is selected and decoded as the row is; a row that is neither a split nor a dividend does not decode.
impl Selectable<Pg> for CorporateAction {
    type SelectExpression = <ActionRow as Selectable<Pg>>::SelectExpression;

    fn construct_selection() -> Self::SelectExpression {
        <ActionRow as Selectable<Pg>>::construct_selection()
    }
}

impl<ST> Queryable<ST, Pg> for CorporateAction
where
    ActionRow: Queryable<ST, Pg>,
{
    type Row = <ActionRow as Queryable<ST, Pg>>::Row;

    fn build(row: Self::Row) -> diesel::deserialize::Result<Self> {
        Ok(ActionRow::build(row)?.try_into()?)
    }
}

impl TryFrom<ActionRow> for CorporateAction {
    type Error = Error;

    fn try_from(row: ActionRow) -> Result<Self> {
        let kind = kind_of(row.id, row.action_type, row.split_from, row.split_to, row.amount)?;
        Ok(CorporateAction {
            id: row.id,
            ticker: row.ticker,
            ex_date: row.ex_date,
            kind,
            data_source: row.data_source,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

/// The kind of a stored action. A check of the table vouches for what is there.
///
/// # Errors
/// [`Error::Corrupt`]: the values of its kind are missing.
pub(crate) fn kind_of(
    id: CorporateActionId,
    action_type: CorporateActionType,
    split_from: Option<SplitShares>,
    split_to: Option<SplitShares>,
    amount: Option<DividendAmount>,
) -> Result<ActionKind> {
    match (action_type, split_from, split_to, amount) {
        (CorporateActionType::Split, Some(from), Some(to), _) => Ok(ActionKind::Split { from, to }),
        (CorporateActionType::Dividend, _, _, Some(amount)) => Ok(ActionKind::Dividend { amount }),
        _ => Err(Error::Corrupt {
            table: "corporate_actions".into(),
            key: id.to_string(),
            column: "action_type".into(),
            reason: "lacks the values of its kind".into(),
        }),
    }
}

/// An action to be stored. Its id is made then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewCorporateAction {
    /// The security.
    pub ticker: Ticker,
    /// First trading day on which the share trades split, or without the dividend.
    pub ex_date: TradingDay,
    /// What happens.
    pub kind: ActionKind,
    /// The provider, at most 50 characters.
    #[serde(default = "delivery::default_source")]
    pub data_source: Cow<'static, str>,
}

impl NewCorporateAction {
    /// A split of `from` shares into `to`, from the default source `yfinance`.
    pub fn split(
        ticker: Ticker,
        ex_date: impl Into<TradingDay>,
        from: SplitShares,
        to: SplitShares,
    ) -> Self {
        Self::new(ticker, ex_date.into(), ActionKind::Split { from, to })
    }

    /// All dividends of a day, per share that trades on it, from the default source `yfinance`.
    pub fn dividend(
        ticker: Ticker,
        ex_date: impl Into<TradingDay>,
        amount: DividendAmount,
    ) -> Self {
        Self::new(ticker, ex_date.into(), ActionKind::Dividend { amount })
    }

    fn new(ticker: Ticker, ex_date: TradingDay, kind: ActionKind) -> Self {
        NewCorporateAction { ticker, ex_date, kind, data_source: delivery::default_source() }
    }

    /// From another source.
    pub fn data_source(self, source: impl Into<Cow<'static, str>>) -> Self {
        NewCorporateAction { data_source: source.into(), ..self }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    pub fn stored_at(self, at: DateTime<Utc>) -> CorporateAction {
        CorporateAction {
            id: CorporateActionId::generate(),
            ticker: self.ticker,
            ex_date: self.ex_date.midnight_utc(),
            kind: self.kind,
            data_source: Some(self.data_source.into_owned()),
            created_at: at,
            updated_at: at,
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.ex_date.check("ex_date")?;
        delivery::check_source(Some(&self.data_source))
    }
}

/// A kind as columns.
#[derive(Insertable)]
#[diesel(table_name = corporate_actions)]
pub(crate) struct ActionValues<'a> {
    action_type: CorporateActionType,
    split_from: Option<&'a SplitShares>,
    split_to: Option<&'a SplitShares>,
    amount: Option<&'a DividendAmount>,
}

impl<'a> From<&'a ActionKind> for ActionValues<'a> {
    fn from(kind: &'a ActionKind) -> Self {
        let (split_from, split_to, amount) = match kind {
            ActionKind::Split { from, to } => (Some(from), Some(to), None),
            ActionKind::Dividend { amount } => (None, None, Some(amount)),
        };
        ActionValues { action_type: kind.action_type(), split_from, split_to, amount }
    }
}

impl ActionValues<'_> {
    /// The columns in their order: from, to, amount.
    pub fn numbers(&self) -> (Option<&SplitShares>, Option<&SplitShares>, Option<&DividendAmount>) {
        (self.split_from, self.split_to, self.amount)
    }
}

/// A change of one action; what and when it is of stays.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CorporateActionPatch {
    /// What happens instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<ActionKind>,
    /// Another source, or none.
    #[serde(
        deserialize_with = "crate::store::patch::nullable",
        skip_serializing_if = "Option::is_none"
    )]
    pub data_source: Option<Option<String>>,
}

impl CorporateActionPatch {
    /// Sets what happens instead.
    pub fn kind(self, kind: ActionKind) -> Self {
        CorporateActionPatch { kind: Some(kind), ..self }
    }

    /// With another source; `None` clears it.
    pub fn data_source(self, data_source: impl Into<Clearable<String>>) -> Self {
        CorporateActionPatch { data_source: Some(data_source.into().0), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        delivery::check_source(self.data_source.as_ref().and_then(Option::as_deref))
    }
}

/// A patch as columns.
#[derive(AsChangeset)]
#[diesel(table_name = corporate_actions)]
pub(crate) struct ActionChanges<'a> {
    action_type: Option<CorporateActionType>,
    split_from: Option<Option<&'a SplitShares>>,
    split_to: Option<Option<&'a SplitShares>>,
    amount: Option<Option<&'a DividendAmount>>,
    data_source: Option<Option<&'a str>>,
}

impl<'a> From<&'a CorporateActionPatch> for ActionChanges<'a> {
    fn from(patch: &'a CorporateActionPatch) -> Self {
        let kind = patch.kind.as_ref().map(ActionValues::from);
        ActionChanges {
            action_type: kind.as_ref().map(|kind| kind.action_type),
            split_from: kind.as_ref().map(|kind| kind.split_from),
            split_to: kind.as_ref().map(|kind| kind.split_to),
            amount: kind.as_ref().map(|kind| kind.amount),
            data_source: patch.data_source.as_ref().map(Option::as_deref),
        }
    }
}

/// Which actions a list or a count includes; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CorporateActionFilter {
    /// Only actions of these; an empty list matches nothing.
    pub tickers: Option<Vec<Ticker>>,
    /// Only of this kind.
    pub action_type: Option<CorporateActionType>,
    /// Only with this ex-date and later.
    pub from: Option<NaiveDate>,
    /// Only with this ex-date and earlier.
    pub to: Option<NaiveDate>,
}

impl CorporateActionFilter {
    /// Only actions of these; an empty list matches nothing.
    pub fn tickers(self, tickers: impl Into<Vec<Ticker>>) -> Self {
        CorporateActionFilter { tickers: Some(tickers.into()), ..self }
    }

    /// Only of this kind.
    pub fn action_type(self, action_type: impl Into<Option<CorporateActionType>>) -> Self {
        CorporateActionFilter { action_type: action_type.into(), ..self }
    }

    /// Only with this ex-date and later.
    pub fn from(self, from: impl Into<Option<NaiveDate>>) -> Self {
        CorporateActionFilter { from: from.into(), ..self }
    }

    /// Only with this ex-date and earlier.
    pub fn to(self, to: impl Into<Option<NaiveDate>>) -> Self {
        CorporateActionFilter { to: to.into(), ..self }
    }
}

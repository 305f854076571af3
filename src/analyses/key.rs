//! How results of analyses are looked up, selected and summed up.

use std::time::Duration;

use bigdecimal::BigDecimal;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::store::{EntryKeyRef, Namespace};
use crate::types::{AnalysisType, Document, PortfolioId, Ticker};

/// What a stored result is looked up by. Each part must match: without a portfolio only public
/// results are found, without parameters only results without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisKey {
    /// What was analysed.
    pub ticker: Ticker,
    /// What the analysis looked at.
    pub analysis_type: AnalysisType,
    /// The portfolio whose private results are meant; `None`: public ones.
    pub portfolio: Option<PortfolioId>,
    /// What the analysis was run with, compared as JSON values: the order of keys does not matter,
    /// 1 and 1.0 are equal.
    pub parameters: Option<Document>,
}

impl AnalysisKey {
    /// The key of public results without parameters.
    pub fn new(ticker: &Ticker, analysis_type: AnalysisType) -> Self {
        AnalysisKey { ticker: ticker.clone(), analysis_type, portfolio: None, parameters: None }
    }

    /// Of a portfolio's private results.
    pub fn portfolio(self, portfolio: PortfolioId) -> Self {
        AnalysisKey { portfolio: Some(portfolio), ..self }
    }

    /// Of results with these parameters.
    ///
    /// # Errors
    /// Those of [`Document::encode`].
    pub fn parameters(self, parameters: impl Serialize) -> Result<Self> {
        Ok(AnalysisKey { parameters: Some(Document::encode(&parameters)?), ..self })
    }
}

/// Whose results a list includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisScope {
    /// Public ones only.
    #[default]
    Public,
    /// The private ones of one portfolio.
    Portfolio(PortfolioId),
    /// All, the private ones of every portfolio included.
    All,
}

/// Which results a list, a count or a summary includes; the default is all public ones.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AnalysisFilter {
    /// Whose results.
    pub scope: AnalysisScope,
    /// Only these tickers; an empty list matches nothing.
    pub tickers: Option<Vec<Ticker>>,
    /// Only these types; an empty list matches nothing.
    pub analysis_types: Option<Vec<AnalysisType>>,
    /// Of exactly this strategy.
    pub strategy: Option<String>,
    /// With exactly this verdict.
    pub recommendation: Option<String>,
    /// Only fresh ones, or only expired ones, by the database's clock.
    pub is_fresh: Option<bool>,
    /// Computed at this time or later.
    pub calculated_from: Option<DateTime<Utc>>,
    /// Computed before this time.
    pub calculated_before: Option<DateTime<Utc>>,
    /// Whose complete result contains this document (JSONB's `@>`).
    pub metadata_contains: Option<Document>,
}

impl AnalysisFilter {
    /// Whose results.
    pub fn scope(self, scope: AnalysisScope) -> Self {
        AnalysisFilter { scope, ..self }
    }

    /// Only these tickers; an empty list matches nothing.
    pub fn tickers(self, tickers: impl Into<Vec<Ticker>>) -> Self {
        AnalysisFilter { tickers: Some(tickers.into()), ..self }
    }

    /// Only these types; an empty list matches nothing.
    pub fn analysis_types(self, analysis_types: impl Into<Vec<AnalysisType>>) -> Self {
        AnalysisFilter { analysis_types: Some(analysis_types.into()), ..self }
    }

    /// Of exactly this strategy.
    pub fn strategy(self, strategy: impl Into<String>) -> Self {
        AnalysisFilter { strategy: Some(strategy.into()), ..self }
    }

    /// With exactly this verdict.
    pub fn recommendation(self, recommendation: impl Into<String>) -> Self {
        AnalysisFilter { recommendation: Some(recommendation.into()), ..self }
    }

    /// Only fresh ones, or only expired ones, by the database's clock.
    pub fn is_fresh(self, is_fresh: impl Into<Option<bool>>) -> Self {
        AnalysisFilter { is_fresh: is_fresh.into(), ..self }
    }

    /// Computed at this time or later.
    pub fn calculated_from(self, calculated_from: impl Into<Option<DateTime<Utc>>>) -> Self {
        AnalysisFilter { calculated_from: calculated_from.into(), ..self }
    }

    /// Computed before this time.
    pub fn calculated_before(self, calculated_before: impl Into<Option<DateTime<Utc>>>) -> Self {
        AnalysisFilter { calculated_before: calculated_before.into(), ..self }
    }

    /// Whose complete result contains this document (JSONB's `@>`).
    pub fn metadata_contains(self, metadata_contains: impl Into<Option<Document>>) -> Self {
        AnalysisFilter { metadata_contains: metadata_contains.into(), ..self }
    }
}

/// Which results are meant to be invalidated: those that match every part that is given. At least
/// one part must be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnalysisSelector {
    /// Of this ticker, public and private.
    pub ticker: Option<Ticker>,
    /// Of this type.
    pub analysis_type: Option<AnalysisType>,
    /// Private to this portfolio.
    pub portfolio: Option<PortfolioId>,
    /// Computed this long ago or longer, by the database's clock.
    pub older_than: Option<Duration>,
}

/// The results of one type, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnalysisSummary {
    /// The type.
    pub analysis_type: AnalysisType,
    /// How many results there are.
    pub count: u64,
    /// How many of them are fresh, by the database's clock.
    pub fresh: u64,
    /// Mean of the known scores; `None` without any.
    pub average_score: Option<BigDecimal>,
    /// Mean of the known confidences.
    pub average_confidence: Option<BigDecimal>,
    /// Mean of the known data qualities.
    pub average_quality: Option<BigDecimal>,
    /// When the oldest result was computed.
    pub first_calculated_at: DateTime<Utc>,
    /// When the newest result was computed.
    pub last_calculated_at: DateTime<Utc>,
}

impl<'a> From<&'a AnalysisKey> for EntryKeyRef<'a> {
    fn from(key: &'a AnalysisKey) -> Self {
        EntryKeyRef {
            space: Namespace::Analyses,
            ticker: &key.ticker,
            name: key.analysis_type.as_str(),
            parameters: key.parameters.as_ref(),
            portfolio: key.portfolio,
        }
    }
}

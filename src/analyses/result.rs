//! Results of analyses.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::prelude::{Queryable, QueryableByName, Selectable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::key::AnalysisKey;
use crate::error::{Error, Result};
use crate::schema::analysis_results;
use crate::types::{
    AnalysisId, AnalysisType, Document, PortfolioId, Score, Ticker, UnitInterval, bound, span, text,
};

/// The result of an analysis, as stored.
#[derive(
    Debug, Clone, PartialEq, Queryable, QueryableByName, Selectable, Serialize, Deserialize,
)]
#[diesel(table_name = analysis_results, check_for_backend(Pg))]
pub struct AnalysisResult {
    /// The result's id.
    pub id: AnalysisId,
    /// The portfolio whose private result this is; `None`: public, about the ticker alone.
    pub portfolio_id: Option<PortfolioId>,
    /// What was analysed.
    pub ticker: Ticker,
    /// What the analysis looked at.
    pub analysis_type: AnalysisType,
    /// The strategy that it followed.
    pub strategy: Option<String>,
    /// Overall score, 0 to 999.99, higher is better.
    pub score: Option<Score>,
    /// The complete result.
    pub metadata: Option<Document>,
    /// Short verdict, such as `buy`.
    pub recommendation: Option<String>,
    /// Confidence in the result, 0 to 1.
    pub confidence_level: Option<UnitInterval>,
    /// The result in words.
    pub summary: Option<String>,
    /// When it was computed.
    pub calculated_at: DateTime<Utc>,
    /// From when it is stale; `None`: never.
    pub expires_at: Option<DateTime<Utc>>,
    /// What the analysis was run with; part of its key.
    pub parameters: Option<Document>,
    /// Quality of the data that went in, 0 to 1.
    pub data_quality_score: Option<UnitInterval>,
    /// When the row was stored.
    pub created_at: DateTime<Utc>,
    /// When the row last changed; kept by the database.
    pub updated_at: DateTime<Utc>,
    /// What it was computed from, as stored; see [`watermarks`](AnalysisResult::watermarks).
    pub inputs: Option<Document>,
    /// Grows with every change of the row, kept by the database: of two copies the later is greater.
    pub version: i64,
    /// Until when the expired result may stand in for one that cannot be computed; `None`: not at all.
    pub stale_until: Option<DateTime<Utc>>,
}

impl AnalysisResult {
    /// The complete result as a `T`; `None` where nothing is stored.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): it does not have the shape of `T`.
    pub fn metadata_as<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let decode = |d: &Document| d.decode_column("analysis_results", self.id, "metadata");
        self.metadata.as_ref().map(decode).transpose()
    }

    /// What it was computed from; `None` where that is not recorded.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt): another program stored something of another shape.
    pub fn watermarks(&self) -> Result<Option<Inputs>> {
        let decode = |d: &Document| d.decode_column("analysis_results", self.id, "inputs");
        self.inputs.as_ref().map(decode).transpose()
    }

    /// The key under which the result is looked up.
    pub fn key(&self) -> AnalysisKey {
        AnalysisKey {
            ticker: self.ticker.clone(),
            analysis_type: self.analysis_type,
            portfolio: self.portfolio_id,
            parameters: self.parameters.clone(),
        }
    }
}

/// When a result stops being fresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// This long after it is stored, by the database's clock; more than 100 years count as 100 years.
    After(Duration),
    /// At this time. It must be later than `calculated_at`, in whole microseconds; where that is not given, later than the
    /// database's clock.
    At(DateTime<Utc>),
}

/// A result to be stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewAnalysis {
    /// The id it will have; made by [`NewAnalysis::new`].
    #[serde(default = "AnalysisId::generate")]
    pub id: AnalysisId,
    /// The portfolio whose private result this is; `None`: public.
    pub portfolio_id: Option<PortfolioId>,
    /// What was analysed.
    pub ticker: Ticker,
    /// What the analysis looked at.
    pub analysis_type: AnalysisType,
    /// The strategy that it followed, at most 100 characters.
    pub strategy: Option<String>,
    /// Overall score.
    pub score: Option<Score>,
    /// The complete result.
    pub metadata: Option<Document>,
    /// Short verdict, at most 50 characters.
    pub recommendation: Option<String>,
    /// Confidence in the result.
    pub confidence_level: Option<UnitInterval>,
    /// The result in words.
    pub summary: Option<String>,
    /// When it was computed; `None`: when it is stored, by the database's clock.
    pub calculated_at: Option<DateTime<Utc>>,
    /// How long it is fresh.
    #[serde(default)]
    pub expiry: Expiry,
    /// How long after its expiry it may still stand in for one that cannot be computed. More than 100
    /// years count as 100 years; zero: not at all; without meaning where it never expires.
    #[serde(default)]
    pub stale_for: Duration,
    /// What the analysis was run with.
    pub parameters: Option<Document>,
    /// Quality of the data that went in.
    pub data_quality_score: Option<UnitInterval>,
    /// What it was computed from.
    pub inputs: Option<Inputs>,
}

impl NewAnalysis {
    /// A public result, computed now, that never expires.
    pub fn new(ticker: Ticker, analysis_type: AnalysisType) -> Self {
        NewAnalysis {
            id: AnalysisId::generate(),
            portfolio_id: None,
            ticker,
            analysis_type,
            strategy: None,
            score: None,
            metadata: None,
            recommendation: None,
            confidence_level: None,
            summary: None,
            calculated_at: None,
            expiry: Expiry::Never,
            stale_for: Duration::ZERO,
            parameters: None,
            data_quality_score: None,
            inputs: None,
        }
    }

    /// As the private result of a portfolio.
    pub fn portfolio(self, portfolio: PortfolioId) -> Self {
        NewAnalysis { portfolio_id: Some(portfolio), ..self }
    }

    /// With the strategy that it followed.
    pub fn strategy(self, strategy: impl Into<String>) -> Self {
        NewAnalysis { strategy: Some(strategy.into()), ..self }
    }

    /// With an overall score.
    pub fn score(self, score: Score) -> Self {
        NewAnalysis { score: Some(score), ..self }
    }

    /// With the complete result, any type that serializes.
    ///
    /// # Errors
    /// Those of [`Document::encode`].
    pub fn metadata(self, metadata: impl Serialize) -> Result<Self> {
        Ok(NewAnalysis { metadata: Some(Document::encode(&metadata)?), ..self })
    }

    /// With a verdict.
    pub fn recommendation(self, recommendation: impl Into<String>) -> Self {
        NewAnalysis { recommendation: Some(recommendation.into()), ..self }
    }

    /// With a confidence.
    pub fn confidence(self, confidence: UnitInterval) -> Self {
        NewAnalysis { confidence_level: Some(confidence), ..self }
    }

    /// With a text.
    pub fn summary(self, summary: impl Into<String>) -> Self {
        NewAnalysis { summary: Some(summary.into()), ..self }
    }

    /// Computed at this time.
    pub fn calculated_at(self, at: DateTime<Utc>) -> Self {
        NewAnalysis { calculated_at: Some(at), ..self }
    }

    /// Fresh for this long after it is stored, by the database's clock.
    pub fn ttl(self, ttl: Duration) -> Self {
        NewAnalysis { expiry: Expiry::After(ttl), ..self }
    }

    /// Fresh until this time.
    pub fn expires_at(self, at: DateTime<Utc>) -> Self {
        NewAnalysis { expiry: Expiry::At(at), ..self }
    }

    /// May be served for this long after its expiry, if no new one can be computed.
    pub fn stale_for(self, span: Duration) -> Self {
        NewAnalysis { stale_for: span, ..self }
    }

    /// Run with these parameters, which become part of the key.
    ///
    /// # Errors
    /// Those of [`Document::encode`].
    pub fn parameters(self, parameters: impl Serialize) -> Result<Self> {
        Ok(NewAnalysis { parameters: Some(Document::encode(&parameters)?), ..self })
    }

    /// With the quality of the data that went in.
    pub fn quality(self, quality: UnitInterval) -> Self {
        NewAnalysis { data_quality_score: Some(quality), ..self }
    }

    /// Computed from these inputs.
    pub fn inputs(self, inputs: Inputs) -> Self {
        NewAnalysis { inputs: Some(inputs), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_texts(
            self.strategy.as_deref(),
            self.recommendation.as_deref(),
            self.summary.as_deref(),
        )?;
        check_depths(self.metadata.as_ref(), self.parameters.as_ref(), self.inputs.as_ref())?;
        match self.expiry {
            Expiry::After(ttl) => span::check("ttl", ttl),
            // As stored: two times within one microsecond are the same there.
            Expiry::At(at)
                if self
                    .calculated_at
                    .map(bound::stored)
                    .is_some_and(|c| bound::stored(at) <= c) =>
            {
                Err(Self::expires_too_early())
            }
            // It could be stored, and not be read.
            Expiry::At(at) if span::later(at, self.stale_for).is_none() => {
                Err(Error::invalid("stale_for", "ends after the last time that there is"))
            }
            Expiry::Never | Expiry::At(_) => Ok(()),
        }
    }

    pub(crate) fn expires_too_early() -> Error {
        Error::invalid("expires_at", "must be later than calculated_at")
    }

    /// The key under which the result will be looked up.
    pub fn key(&self) -> AnalysisKey {
        AnalysisKey {
            ticker: self.ticker.clone(),
            analysis_type: self.analysis_type,
            portfolio: self.portfolio_id,
            parameters: self.parameters.clone(),
        }
    }

    /// The row as a repository returns it that stored it at this time. For fakes.
    /// Inputs that JSON cannot hold are left out.
    pub fn stored_at(self, at: DateTime<Utc>) -> AnalysisResult {
        let after = |span| span::later(at, span).unwrap_or(DateTime::<Utc>::MAX_UTC);
        let expires_at = match self.expiry {
            Expiry::Never => None,
            Expiry::After(span) => Some(after(span)),
            Expiry::At(time) => Some(time),
        };
        let stale_until = expires_at
            .filter(|_| !self.stale_for.is_zero())
            .map(|expiry| span::later(expiry, self.stale_for).unwrap_or(DateTime::<Utc>::MAX_UTC));
        AnalysisResult {
            id: self.id,
            portfolio_id: self.portfolio_id,
            ticker: self.ticker,
            analysis_type: self.analysis_type,
            strategy: self.strategy,
            score: self.score,
            metadata: self.metadata,
            recommendation: self.recommendation,
            confidence_level: self.confidence_level,
            summary: self.summary,
            calculated_at: self.calculated_at.unwrap_or(at),
            expires_at,
            parameters: self.parameters,
            data_quality_score: self.data_quality_score,
            created_at: at,
            updated_at: at,
            inputs: self.inputs.and_then(|inputs| Document::encode(&inputs).ok()),
            version: 1,
            stale_until,
        }
    }

    /// The bytes of its documents and text, about what it weighs in a statement.
    pub(crate) fn weight(&self) -> usize {
        let documents = [&self.metadata, &self.parameters];
        let documents = documents.into_iter().flatten().map(|d| d.as_str().len());
        documents.sum::<usize>()
            + self.inputs.as_ref().map_or(0, Inputs::weight)
            + self.summary.as_ref().map_or(0, String::len)
    }
}

/// Maximum length of a strategy, in characters.
const STRATEGY_LENGTH: usize = 100;
/// Maximum length of a verdict, in characters.
const RECOMMENDATION_LENGTH: usize = 50;

pub(super) fn check_depths(
    metadata: Option<&Document>,
    parameters: Option<&Document>,
    inputs: Option<&Inputs>,
) -> Result<()> {
    for (field, document) in [("metadata", metadata), ("parameters", parameters)] {
        document.map_or(Ok(()), |document| document.check_storable(field))?;
    }
    inputs.map_or(Ok(()), Inputs::check_storable)
}

pub(super) fn check_texts(
    strategy: Option<&str>,
    recommendation: Option<&str>,
    summary: Option<&str>,
) -> Result<()> {
    text::check_optional_line("strategy", strategy, STRATEGY_LENGTH)?;
    text::check_optional_line("recommendation", recommendation, RECOMMENDATION_LENGTH)?;
    text::check_optional("summary", summary, text::UNLIMITED)
}

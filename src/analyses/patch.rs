//! Changes of results.

use chrono::{DateTime, Utc};
use diesel::prelude::AsChangeset;
use serde::{Deserialize, Serialize};

use super::inputs::Inputs;
use super::result::{check_depths, check_texts};
use crate::error::Result;
use crate::schema::analysis_results;
use crate::store::{Clearable, patch};
use crate::types::{Document, Score, UnitInterval};

/// A change of a result. What it is about (ticker, type, portfolio) stays.
#[derive(Debug, Clone, PartialEq, Default, AsChangeset, Serialize, Deserialize)]
#[diesel(table_name = analysis_results)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct AnalysisPatch {
    /// Another strategy, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Option<String>>,
    /// Another score, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub score: Option<Option<Score>>,
    /// Another complete result, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Option<Document>>,
    /// Another verdict, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<Option<String>>,
    /// Another confidence, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub confidence_level: Option<Option<UnitInterval>>,
    /// Another text, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub summary: Option<Option<String>>,
    /// When it was computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calculated_at: Option<DateTime<Utc>>,
    /// From when it is stale, or never.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Option<DateTime<Utc>>>,
    /// Other parameters, or none: the result is looked up by these from then on.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Option<Document>>,
    /// Another quality, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub data_quality_score: Option<Option<UnitInterval>>,
    /// Other inputs, or none.
    #[serde(deserialize_with = "patch::nullable", skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Option<Inputs>>,
}

impl AnalysisPatch {
    /// With another strategy; `None` clears it.
    pub fn strategy(self, strategy: impl Into<Clearable<String>>) -> Self {
        AnalysisPatch { strategy: Some(strategy.into().0), ..self }
    }

    /// With another score; `None` clears it.
    pub fn score(self, score: impl Into<Clearable<Score>>) -> Self {
        AnalysisPatch { score: Some(score.into().0), ..self }
    }

    /// With another complete result; `None` clears it.
    pub fn metadata(self, metadata: impl Into<Clearable<Document>>) -> Self {
        AnalysisPatch { metadata: Some(metadata.into().0), ..self }
    }

    /// With another verdict; `None` clears it.
    pub fn recommendation(self, recommendation: impl Into<Clearable<String>>) -> Self {
        AnalysisPatch { recommendation: Some(recommendation.into().0), ..self }
    }

    /// With another confidence; `None` clears it.
    pub fn confidence_level(self, confidence_level: impl Into<Clearable<UnitInterval>>) -> Self {
        AnalysisPatch { confidence_level: Some(confidence_level.into().0), ..self }
    }

    /// With another text; `None` clears it.
    pub fn summary(self, summary: impl Into<Clearable<String>>) -> Self {
        AnalysisPatch { summary: Some(summary.into().0), ..self }
    }

    /// Sets when it was computed.
    pub fn calculated_at(self, calculated_at: DateTime<Utc>) -> Self {
        AnalysisPatch { calculated_at: Some(calculated_at), ..self }
    }

    /// Sets from when it is stale; `None` clears it.
    pub fn expires_at(self, expires_at: impl Into<Clearable<DateTime<Utc>>>) -> Self {
        AnalysisPatch { expires_at: Some(expires_at.into().0), ..self }
    }

    /// With other parameters: the result is looked up by these from then on; `None` clears it.
    pub fn parameters(self, parameters: impl Into<Clearable<Document>>) -> Self {
        AnalysisPatch { parameters: Some(parameters.into().0), ..self }
    }

    /// With another quality; `None` clears it.
    pub fn data_quality_score(
        self,
        data_quality_score: impl Into<Clearable<UnitInterval>>,
    ) -> Self {
        AnalysisPatch { data_quality_score: Some(data_quality_score.into().0), ..self }
    }

    /// With other inputs; `None` clears it.
    pub fn inputs(self, inputs: impl Into<Clearable<Inputs>>) -> Self {
        AnalysisPatch { inputs: Some(inputs.into().0), ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let text = |field: &'_ Option<Option<String>>| field.clone().flatten();
        check_texts(
            text(&self.strategy).as_deref(),
            text(&self.recommendation).as_deref(),
            text(&self.summary).as_deref(),
        )?;
        let [metadata, parameters] =
            [&self.metadata, &self.parameters].map(|field| field.as_ref().and_then(Option::as_ref));
        check_depths(metadata, parameters, self.inputs.as_ref().and_then(Option::as_ref))
    }
}

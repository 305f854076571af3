//! What a store of analysis results does.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::stream::BoxStream;

use super::key::{AnalysisFilter, AnalysisKey, AnalysisSelector, AnalysisSummary};
use super::lineage::Lineage;
use super::patch::AnalysisPatch;
use super::result::{AnalysisResult, NewAnalysis};
use crate::error::{Result, unsupported};
use crate::store::{Aged, SweepReport};
use crate::types::{
    AnalysisId, AnalysisType, Document, Listed, Page, PageRequest, PortfolioId, Ticker,
    stream_pages,
};

/// Results of analyses: a history, and a cache of the latest ones until they expire. A result is
/// public, about a ticker alone, or private to a portfolio; what asks for the one never finds the
/// other. Expiry is decided by the database's clock.
#[async_trait]
// Names that a default does not use document the arguments.
#[allow(unused_variables)]
pub trait AnalysisRepository: Send + Sync {
    /// Stores a result beside those that its key already has.
    ///
    /// # Errors
    /// `InvalidReference` when the portfolio does not exist, `Invalid` of a field.
    async fn create(&self, analysis: &NewAnalysis) -> Result<AnalysisResult> {
        unsupported("analyses.create")
    }

    /// Stores all of these results, or none; returned in the order given.
    ///
    /// # Errors
    /// As [`create`](Self::create), within `Item`, which gives the index.
    async fn create_many(&self, analyses: &[NewAnalysis]) -> Result<Vec<AnalysisResult>> {
        unsupported("analyses.create_many")
    }

    /// The result of this id, fresh or expired, public or private.
    async fn find(&self, id: AnalysisId) -> Result<Option<AnalysisResult>>;

    /// Results, newest first by `calculated_at`; public ones unless the filter says otherwise.
    async fn list(
        &self,
        filter: &AnalysisFilter,
        page: &PageRequest,
    ) -> Result<Page<AnalysisResult>> {
        unsupported("analyses.list")
    }

    /// All results of the filter, newest first, page by page: see [`stream_pages`](crate::types::stream_pages).
    fn stream<'a>(&'a self, filter: &'a AnalysisFilter) -> BoxStream<'a, Result<AnalysisResult>> {
        stream_pages(move |page| async move { self.list(filter, &page).await }.boxed())
    }

    /// How many results there are.
    async fn count(&self, filter: &AnalysisFilter) -> Result<u64> {
        unsupported("analyses.count")
    }

    /// Whether the result exists, fresh or expired.
    async fn exists(&self, id: AnalysisId) -> Result<bool> {
        Ok(self.find(id).await?.is_some())
    }

    /// Applies the patch and returns the updated result.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` of a field.
    async fn update(&self, id: AnalysisId, patch: &AnalysisPatch) -> Result<AnalysisResult> {
        unsupported("analyses.update")
    }

    /// Deletes the result. Returns `false` if it did not exist.
    async fn delete(&self, id: AnalysisId) -> Result<bool> {
        unsupported("analyses.delete")
    }

    /// Of the key's results that are fresh, the one computed last.
    async fn latest_fresh(&self, key: &AnalysisKey) -> Result<Option<AnalysisResult>> {
        unsupported("analyses.latest_fresh")
    }

    /// As [`latest_fresh`](Self::latest_fresh), of the public results of several tickers with the
    /// same type and parameters, in one statement and in the order of the tickers.
    async fn latest_fresh_many(
        &self,
        tickers: &[Ticker],
        analysis_type: AnalysisType,
        parameters: Option<&Document>,
    ) -> Result<Listed<Option<AnalysisResult>>> {
        unsupported("analyses.latest_fresh_many")
    }

    /// The key's result that was computed last, fresh or expired, with its age.
    async fn latest(&self, key: &AnalysisKey) -> Result<Option<Aged<AnalysisResult>>> {
        unsupported("analyses.latest")
    }

    /// The public results of a ticker, of one type or all, whatever their parameters and expiry,
    /// newest first.
    async fn history_for_ticker(
        &self,
        ticker: &Ticker,
        analysis_type: Option<AnalysisType>,
        page: &PageRequest,
    ) -> Result<Page<AnalysisResult>> {
        unsupported("analyses.history_for_ticker")
    }

    /// The private results of a portfolio, of one ticker or all, whatever their parameters and
    /// expiry, newest first.
    async fn history_for_portfolio(
        &self,
        portfolio: PortfolioId,
        ticker: Option<&Ticker>,
        page: &PageRequest,
    ) -> Result<Page<AnalysisResult>> {
        unsupported("analyses.history_for_portfolio")
    }

    /// The results of each type summed up, types in the order of their names; a type without
    /// results is left out.
    async fn summary(&self, filter: &AnalysisFilter) -> Result<Listed<AnalysisSummary>> {
        unsupported("analyses.summary")
    }

    /// Lets all results that the selector means expire now, without a stale window; they stay in the
    /// history. Returns how many could be served until then, fresh or stale. Of the same tickers,
    /// types and portfolios, what is being computed under a lease is not stored any more, and a
    /// back-off after failures ends; an age alone leaves leases as they are.
    ///
    /// # Errors
    /// `Invalid` of `selector` where it has no part: it would mean every result.
    async fn invalidate(&self, selector: &AnalysisSelector) -> Result<u64> {
        unsupported("analyses.invalidate")
    }

    /// Lets results expire whose inputs have changed since, as [`invalidate`](Self::invalidate) does:
    /// those of one ticker or of all, public and private, fresh or in a stale window. Returns how many.
    ///
    /// A document has changed if its stored entry has a greater revision than the watermark; one that is
    /// gone or has only expired counts as unchanged. Bars have changed if their digest differs now. A
    /// result without inputs stays, as do its inputs of a shape that is not that of
    /// [`Inputs`](crate::analyses::Inputs). The digest of a ticker reads all of its bars.
    ///
    /// Works in batches, each a transaction of its own outside of a unit of work: after an error, or
    /// dropped unfinished, what was found until then has expired. Leases stay: what is being computed
    /// from changed inputs is found by the next call.
    async fn invalidate_stale_inputs(&self, ticker: Option<&Ticker>) -> Result<u64> {
        unsupported("analyses.invalidate_stale_inputs")
    }

    /// What the result of this id was computed from ([`NewAnalysis::inputs`](crate::analyses::NewAnalysis)), beside what is stored of
    /// that now: revisions, providers, bars corrected since. It reads one consistent snapshot.
    ///
    /// # Errors
    /// `Corrupt` where another program recorded inputs of another shape.
    async fn lineage(&self, id: AnalysisId) -> Result<Option<Lineage>> {
        unsupported("analyses.lineage")
    }

    /// Deletes up to `limit` results that expired `grace` ago or earlier and whose stale windows, if
    /// they had one, ended then, too; the longest past serving first.
    /// Sweepers at work at once share the results and do not wait for each other.
    async fn sweep_expired(&self, limit: u32, grace: Duration) -> Result<SweepReport> {
        unsupported("analyses.sweep_expired")
    }
}

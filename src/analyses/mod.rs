//! Results of analyses: what is stored of them, by which key they are found, and what they were computed from.

mod inputs;
mod key;
mod lineage;
mod patch;
pub(crate) mod pg;
mod repository;
mod result;

pub use inputs::{DocumentRevision, Inputs};
pub use key::{AnalysisFilter, AnalysisKey, AnalysisScope, AnalysisSelector, AnalysisSummary};
pub use lineage::{BarsLineage, BarsSource, DocumentLineage, Lineage};
pub use patch::AnalysisPatch;
pub(crate) use pg::PgAnalyses;
pub use repository::AnalysisRepository;
pub use result::{AnalysisResult, Expiry, NewAnalysis};

//! What has changed.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::types::{
    AnalysisId, AnalysisType, DataType, Document, EventKind, Operation, PortfolioId, PositionId,
    Ticker, UserId,
};

/// Something that has changed and is committed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// Grows with each event: of two changes of one row the later has the greater. An event that is delivered
    /// again has the same.
    pub id: i64,
    /// When it happened, by the database's clock.
    pub recorded_at: DateTime<Utc>,
    /// The user whom alone it concerns; `None`: everybody.
    pub user_id: Option<UserId>,
    /// The security that it is about.
    pub ticker: Ticker,
    /// What happened.
    pub data: EventData,
}

impl Event {
    /// An event that concerns everybody.
    pub fn new(id: i64, recorded_at: DateTime<Utc>, ticker: Ticker, data: EventData) -> Self {
        Event { id, recorded_at, user_id: None, ticker, data }
    }

    /// Concerns this user alone.
    pub fn user(self, user: UserId) -> Self {
        Event { user_id: Some(user), ..self }
    }
}

/// What happened, by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventData {
    /// Bars of the ticker were stored, changed or deleted, by one statement.
    PricesUpdated {
        /// Which of it.
        change: Operation,
        /// Start of the first of them.
        first: DateTime<Utc>,
        /// Start of the last of them.
        last: DateTime<Utc>,
        /// How many.
        bars: u64,
    },
    /// A result of an analysis was stored.
    AnalysisSaved {
        /// Its id.
        analysis: AnalysisId,
        /// The portfolio whose private result it is; `None`: public.
        portfolio: Option<PortfolioId>,
        /// What was looked at.
        analysis_type: AnalysisType,
    },
    /// A position was stored, changed or deleted.
    PositionChanged {
        /// Which of it.
        change: Operation,
        /// Its id.
        position: PositionId,
        /// The portfolio that holds it; after a move the new one.
        portfolio: PortfolioId,
    },
    /// A cached document was invalidated or deleted before its time.
    CacheInvalidated {
        /// What the document was.
        data_type: DataType,
        /// Parameters of its key.
        parameters: Option<Document>,
    },
}

impl EventData {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            EventData::PricesUpdated { .. } => EventKind::PricesUpdated,
            EventData::AnalysisSaved { .. } => EventKind::AnalysisSaved,
            EventData::PositionChanged { .. } => EventKind::PositionChanged,
            EventData::CacheInvalidated { .. } => EventKind::CacheInvalidated,
        }
    }
}

/// Which events are wanted; the default is all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EventFilter {
    /// Only these kinds; an empty list matches nothing.
    pub kinds: Option<Vec<EventKind>>,
    /// Only these tickers; an empty list matches nothing.
    pub tickers: Option<Vec<Ticker>>,
    /// That concern this user, those that concern everybody included.
    pub user_id: Option<UserId>,
}

impl EventFilter {
    /// All events.
    pub fn new() -> Self {
        EventFilter::default()
    }

    /// Only events of these kinds.
    pub fn kinds(self, kinds: impl Into<Vec<EventKind>>) -> Self {
        EventFilter { kinds: Some(kinds.into()), ..self }
    }

    /// Only events about these tickers.
    pub fn tickers(self, tickers: impl Into<Vec<Ticker>>) -> Self {
        EventFilter { tickers: Some(tickers.into()), ..self }
    }

    /// Only events that concern this user, or everybody.
    pub fn user(self, user: UserId) -> Self {
        EventFilter { user_id: Some(user), ..self }
    }
}

/// How far a durable consumer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConsumerState {
    /// Its name.
    pub name: String,
    /// Events, of any kind, that it has not gone past.
    pub behind: u64,
    /// When it last moved on.
    pub moved_at: DateTime<Utc>,
}

impl ConsumerState {
    /// A consumer with so many events before it.
    pub fn new(name: impl Into<String>, behind: u64, moved_at: DateTime<Utc>) -> Self {
        ConsumerState { name: name.into(), behind, moved_at }
    }
}

//! Columns whose CHECK lists their values. A test compares each enum with its CHECK.

use std::str::FromStr;

use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use super::text::text_type;
use crate::error::{Error, Result, shown};

macro_rules! text_enum {
    (
        $(#[$doc:meta])*
        $name:ident($field:literal) { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            diesel::expression::AsExpression, diesel::deserialize::FromSqlRow,
        )]
        #[diesel(sql_type = Text)]
        #[serde(try_from = "String", into = "String")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// Every value, in the order of the specification.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The value as the column stores it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }

        impl FromStr for $name {
            type Err = Error;

            /// Case and white space around do not matter.
            fn from_str(text: &str) -> Result<Self> {
                let found = Self::ALL.iter().find(|v| v.as_str().eq_ignore_ascii_case(text.trim()));
                found.copied().ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    Error::invalid($field, format!("{}: expected {}", shown(text), known.join(", ")))
                })
            }
        }

        text_type!($name);
    };
}

text_enum! {
    /// How much risk the owner of a portfolio takes.
    RiskTolerance("risk_tolerance") {
        /// Preserve capital.
        Conservative = "conservative",
        /// Balance growth and safety.
        Moderate = "moderate",
        /// Seek growth.
        Aggressive = "aggressive",
    }
}

text_enum! {
    /// A table whose changes are in the audit log.
    AuditedTable("table_name") {
        /// Accounts.
        Users = "users",
        /// Portfolios.
        Portfolios = "portfolios",
        /// Positions.
        Positions = "positions",
    }
}

text_enum! {
    /// What is done to a row.
    Operation("operation") {
        /// It is made.
        Insert = "insert",
        /// It is changed.
        Update = "update",
        /// It is deleted.
        Delete = "delete",
    }
}

text_enum! {
    /// What an event is about.
    EventKind("kind") {
        /// Bars of a ticker.
        PricesUpdated = "prices_updated",
        /// A result of an analysis.
        AnalysisSaved = "analysis_saved",
        /// A position.
        PositionChanged = "position_changed",
        /// A cached document.
        CacheInvalidated = "cache_invalidated",
    }
}

text_enum! {
    /// What an analysis looked at.
    AnalysisType("analysis_type") {
        /// Price against intrinsic value.
        Value = "value_analysis",
        /// Growth of revenue and earnings.
        Growth = "growth_analysis",
        /// Soundness of the balance sheet.
        Health = "health_analysis",
        /// Volatility and drawdown.
        Risk = "risk_analysis",
        /// Option strategies.
        Options = "options_analysis",
        /// Suppliers, customers, competitors.
        Ecosystem = "ecosystem_analysis",
    }
}

text_enum! {
    /// The right that an option gives.
    OptionType("option_type") {
        /// To buy.
        Call = "call",
        /// To sell.
        Put = "put",
    }
}

text_enum! {
    /// What a corporate action is.
    CorporateActionType("action_type") {
        /// One share becomes several, or several become one.
        Split = "split",
        /// Cash for each share.
        Dividend = "dividend",
    }
}

//! What the names in a server's report mean. Of all that is below the repositories, this room alone knows the tables.

use super::{Entity, Error, constraints};

/// The table that is split by year, and what a partition's name begins with.
const BY_YEAR: (&str, &str) = ("price_history", "price_history_");
/// The second of the two indexes that keep an address from being taken twice.
const EMAIL_IN_ANY_CASE: &str = "users_email_lower_key";

/// What kind of row a table holds. A partition holds those of the whole: the same code then handles an error on either
/// layout.
pub(crate) fn entity(table: &str) -> Entity {
    match table {
        "users" => Entity::User,
        "portfolios" => Entity::Portfolio,
        "positions" => Entity::Position,
        "analysis_results" => Entity::AnalysisResult,
        "market_data_cache" => Entity::CacheEntry,
        "corporate_actions" => Entity::CorporateAction,
        "options_data" => Entity::OptionQuote,
        "event_consumers" => Entity::EventConsumer,
        bars if bars == BY_YEAR.0 || behind_the_year(bars) == Some("") => Entity::PriceBar,
        other => Entity::Other(other.to_owned()),
    }
}

/// The name of a constraint as the whole table has it, of one that a partition by year reports by a name
/// of its own. That an address is taken has one name, whichever of its two indexes saw it.
pub(crate) fn constraint(reported: &str) -> String {
    match behind_the_year(reported).and_then(|rest| rest.strip_prefix('_')) {
        Some(rest) => format!("{}{rest}", BY_YEAR.1),
        None if reported == EMAIL_IN_ANY_CASE => constraints::USERS_EMAIL.into(),
        None => reported.to_owned(),
    }
}

/// The foreign key that refuses a row of the table whose owner does not exist. An account refers to no other row.
pub(crate) fn owner_key(table: &str) -> Option<&'static str> {
    match table {
        "portfolios" => Some(constraints::PORTFOLIOS_USER),
        "positions" => Some(constraints::POSITIONS_PORTFOLIO),
        "analysis_results" => Some(constraints::ANALYSIS_RESULTS_PORTFOLIO),
        _ => None,
    }
}

/// Of a row that has no partition.
pub(crate) fn without_partition() -> Error {
    Error::invalid(
        "date",
        "no partition holds this day: Database::price_partitions() makes one, or restores an archived year",
    )
}

/// What follows the year in a name of a partition, or of what belongs to it.
fn behind_the_year(name: &str) -> Option<&str> {
    let own = name.strip_prefix(BY_YEAR.1)?;
    let own = own.strip_prefix("before_").unwrap_or(own);
    let (year, rest) = own.split_at_checked(4)?;
    year.bytes().all(|b| b.is_ascii_digit()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::{Entity, constraint, constraints, entity};

    #[test]
    fn a_partition_speaks_of_the_whole() {
        for table in ["price_history", "price_history_2024", "price_history_before_1990"] {
            assert_eq!(entity(table), Entity::PriceBar, "{table}");
        }
        for other in ["price_history_rebuilt", "price_history_2024_pkey", "parents"] {
            assert_eq!(entity(other), Entity::Other(other.into()));
        }
        let of_a_year = "price_history_2024_ticker_date_key";
        assert_eq!(constraint(of_a_year), constraints::PRICE_HISTORY_DAY);
        assert_eq!(constraint("price_history_before_1990_pkey"), constraints::PRICE_HISTORY_ID);
        assert_eq!(constraint("late_key"), "late_key");
    }

    #[test]
    fn a_taken_address_has_one_name() {
        for index in ["users_email_key", "users_email_lower_key"] {
            assert_eq!(constraint(index), constraints::USERS_EMAIL);
        }
    }
}

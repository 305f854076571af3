//! For each rule of the tables a row that breaks this rule and no other.

use crate::rows::Changes;

/// A check, key or foreign key, its table, and what to change in the sample row to break it.
pub type Refused = (&'static str, &'static str, &'static Changes);

/// A row for every check. Checks beside the one named are lifted while it is tried.
#[rustfmt::skip] // One row a line.
pub const CHECKS: &[Refused] = &[
    ("portfolios_risk_tolerance_check", "portfolios", &[("risk_tolerance", "'reckless'")]),
    ("portfolios_target_cash_percentage_check", "portfolios", &[("target_cash_percentage", "100.01")]),
    ("portfolios_target_cash_percentage_check", "portfolios", &[("target_cash_percentage", "-0.01")]),
    ("portfolios_target_cash_percentage_not_nan", "portfolios", &[("target_cash_percentage", "'NaN'")]),
    ("positions_shares_check", "positions", &[("shares", "-0.0000000001")]),
    ("positions_shares_not_nan", "positions", &[("shares", "'NaN'")]),
    ("positions_average_cost_check", "positions", &[("average_cost", "-0.0000000001")]),
    ("positions_average_cost_not_nan", "positions", &[("average_cost", "'NaN'")]),
    ("positions_allocation_percentage_check", "positions", &[("allocation_percentage", "100.01")]),
    ("positions_allocation_percentage_check", "positions", &[("allocation_percentage", "-0.01")]),
    ("positions_allocation_percentage_not_nan", "positions", &[("allocation_percentage", "'NaN'")]),
    ("analysis_results_analysis_type_check", "analysis_results", &[("analysis_type", "'astrology'")]),
    ("analysis_results_score_check", "analysis_results", &[("score", "-0.01")]),
    ("analysis_results_score_not_nan", "analysis_results", &[("score", "'NaN'")]),
    ("analysis_results_confidence_level_check", "analysis_results", &[("confidence_level", "1.01")]),
    ("analysis_results_confidence_level_check", "analysis_results", &[("confidence_level", "-0.01")]),
    ("analysis_results_confidence_level_not_nan", "analysis_results", &[("confidence_level", "'NaN'")]),
    ("analysis_results_data_quality_score_check", "analysis_results", &[("data_quality_score", "1.01")]),
    ("analysis_results_data_quality_score_check", "analysis_results", &[("data_quality_score", "-0.01")]),
    ("analysis_results_data_quality_score_not_nan", "analysis_results", &[("data_quality_score", "'NaN'")]),
    ("market_data_cache_data_quality_score_check", "market_data_cache", &[("data_quality_score", "1.01")]),
    ("market_data_cache_data_quality_score_check", "market_data_cache", &[("data_quality_score", "-0.01")]),
    ("market_data_cache_data_quality_score_not_nan", "market_data_cache", &[("data_quality_score", "'NaN'")]),
    ("market_data_cache_check", "market_data_cache", &[("expires_at", "'2024-01-02 03:04:05.678901Z'")]),
    ("price_history_open_price_check", "price_history", &[("open_price", "0")]),
    ("price_history_open_price_not_nan", "price_history", &[("open_price", "'NaN'")]),
    ("price_history_high_price_check", "price_history", &[("high_price", "0")]),
    ("price_history_high_price_not_nan", "price_history", &[("high_price", "'NaN'")]),
    ("price_history_low_price_check", "price_history", &[("low_price", "0")]),
    ("price_history_low_price_not_nan", "price_history", &[("low_price", "'NaN'")]),
    ("price_history_close_price_check", "price_history", &[("close_price", "0")]),
    ("price_history_close_price_not_nan", "price_history", &[("close_price", "'NaN'")]),
    ("price_history_adjusted_close_not_nan", "price_history", &[("adjusted_close", "'NaN'")]),
    ("price_history_volume_check", "price_history", &[("volume", "-1")]),
    (COHERENT, "price_history", &[("high_price", "1"), ("open_price", "NULL")]),
    (COHERENT, "price_history", &[("open_price", "188.4400000001")]),
    (COHERENT, "price_history", &[("open_price", "183.8849999999")]),
    (COHERENT, "price_history", &[("close_price", "188.4400000001")]),
    (COHERENT, "price_history", &[("close_price", "183.8849999999")]),
    (COHERENT, "price_history", &[("high_price", "NULL"), ("close_price", "183.8849999999")]),
    (COHERENT, "price_history", &[("low_price", "NULL"), ("open_price", "188.4400000001")]),
    ("options_data_option_type_check", "options_data", &[("option_type", "'CALL'")]),
    ("options_data_strike_price_check", "options_data", &[("strike_price", "0")]),
    ("options_data_strike_price_not_nan", "options_data", &[("strike_price", "'NaN'")]),
    ("options_data_last_price_check", "options_data", &[("last_price", "-0.0000000001")]),
    ("options_data_last_price_not_nan", "options_data", &[("last_price", "'NaN'")]),
    ("options_data_bid_check", "options_data", &[("bid", "-0.0000000001")]),
    ("options_data_bid_not_nan", "options_data", &[("bid", "'NaN'")]),
    ("options_data_ask_check", "options_data", &[("ask", "-0.0000000001")]),
    ("options_data_ask_not_nan", "options_data", &[("ask", "'NaN'")]),
    ("options_data_volume_check", "options_data", &[("volume", "-1")]),
    ("options_data_open_interest_check", "options_data", &[("open_interest", "-1")]),
    ("options_data_delta_check", "options_data", &[("delta", "1.000001")]),
    ("options_data_delta_check", "options_data", &[("delta", "-1.000001")]),
    ("options_data_delta_not_nan", "options_data", &[("delta", "'NaN'")]),
    ("options_data_gamma_not_nan", "options_data", &[("gamma", "'NaN'")]),
    ("options_data_theta_not_nan", "options_data", &[("theta", "'NaN'")]),
    ("options_data_vega_not_nan", "options_data", &[("vega", "'NaN'")]),
    ("options_data_implied_volatility_check", "options_data", &[("implied_volatility", "-0.000001")]),
    ("options_data_implied_volatility_not_nan", "options_data", &[("implied_volatility", "'NaN'")]),
    ("cache_leases_space_check", "cache_leases", &[("space", "'prices'")]),
    ("price_revisions_open_price_not_nan", "price_revisions", &[("open_price", "'NaN'")]),
    ("price_revisions_high_price_not_nan", "price_revisions", &[("high_price", "'NaN'")]),
    ("price_revisions_low_price_not_nan", "price_revisions", &[("low_price", "'NaN'")]),
    ("price_revisions_close_price_not_nan", "price_revisions", &[("close_price", "'NaN'")]),
    ("price_revisions_adjusted_close_not_nan", "price_revisions", &[("adjusted_close", "'NaN'")]),
];

const COHERENT: &str = "price_history_coherent_unless_suspect";
const OTHER_ID: (&str, &str) = ("id", "'00000000-0000-4000-8000-0000000000ff'");

/// A second row for every unique key, the sample row being there.
#[rustfmt::skip] // One row a line.
pub const KEYS: &[Refused] = &[
    ("users_pkey", "users", &[("email", "'bob@example.com'"), ("username", "'bob'")]),
    ("users_email_key", "users", &[OTHER_ID, ("username", "'bob'")]),
    ("users_email_lower_key", "users", &[OTHER_ID, ("email", "'aDA@Example.com'"), ("username", "'bob'")]),
    ("users_username_key", "users", &[OTHER_ID, ("email", "'bob@example.com'")]),
    ("portfolios_pkey", "portfolios", &[]),
    ("positions_pkey", "positions", &[("ticker", "'MSFT'")]),
    ("positions_portfolio_id_ticker_key", "positions", &[OTHER_ID, ("is_active", "FALSE")]),
    ("analysis_results_pkey", "analysis_results", &[("ticker", "'MSFT'")]),
    ("market_data_cache_pkey", "market_data_cache", &[("ticker", "'MSFT'")]),
    ("market_data_cache_entry_key", "market_data_cache", &[OTHER_ID, ("data", "'[]'")]),
    ("price_history_pkey", "price_history", &[("ticker", "'MSFT'")]),
    ("price_history_ticker_date_key", "price_history", &[OTHER_ID, ("date", "'2024-01-01 19:00-05'")]),
    ("options_data_pkey", "options_data", &[("ticker", "'MSFT'")]),
    ("options_data_contract_snapshot_key", "options_data", &[OTHER_ID, ("bid", "1")]),
    ("cache_leases_key", "cache_leases", &[("token", "8"), ("failures", "1")]),
    ("cache_changes_pkey", "cache_changes", &[("ticker", "'MSFT'")]),
    ("price_revisions_pkey", "price_revisions", &[("close_price", "1")]),
];

/// A row without a parent for every foreign key.
#[rustfmt::skip] // One row a line.
pub const FOREIGN_KEYS: &[Refused] = &[
    ("portfolios_user_id_fkey", "portfolios", &[("user_id", OTHER_ID.1)]),
    ("positions_portfolio_id_fkey", "positions", &[("portfolio_id", OTHER_ID.1)]),
    ("analysis_results_portfolio_id_fkey", "analysis_results", &[("portfolio_id", OTHER_ID.1)]),
];

/// Rows at the edge of what the rules allow.
#[rustfmt::skip] // One row a line.
pub const ALLOWED: &[(&str, &Changes)] = &[
    ("portfolios", &[("target_cash_percentage", "0"), ("risk_tolerance", "'conservative'")]),
    ("portfolios", &[("target_cash_percentage", "100"), ("risk_tolerance", "'aggressive'")]),
    ("portfolios", &[("target_cash_percentage", "NULL")]),
    ("positions", &[("shares", "0"), ("average_cost", "0"), ("allocation_percentage", "0")]),
    ("positions", &[("shares", "0.0000000001"), ("allocation_percentage", "100")]),
    ("positions", &[("shares", "NULL"), ("average_cost", "NULL"), ("allocation_percentage", "NULL")]),
    ("positions", &[("ticker", "'AAPL  250117C00150000'")]),
    ("analysis_results", &[("analysis_type", "'growth_analysis'"), ("score", "0")]),
    ("analysis_results", &[("analysis_type", "'health_analysis'"), ("confidence_level", "0")]),
    ("analysis_results", &[("analysis_type", "'risk_analysis'"), ("confidence_level", "1")]),
    ("analysis_results", &[("analysis_type", "'options_analysis'"), ("data_quality_score", "0")]),
    ("analysis_results", &[("analysis_type", "'ecosystem_analysis'"), ("data_quality_score", "1")]),
    ("analysis_results", &[("portfolio_id", "NULL"), ("expires_at", "NULL"), ("score", "NULL")]),
    ("market_data_cache", &[("expires_at", "'2024-01-02 03:04:05.678902Z'")]),
    ("market_data_cache", &[("data_type", "'anything_else'"), ("data_quality_score", "NULL")]),
    ("market_data_cache", &[("stale_until", "'2034-01-02Z'"), ("tags", "'{earnings,ü}'")]),
    ("price_history", &[("close_price", "188.44"), ("open_price", "183.885"), ("volume", "0")]),
    ("price_history", &[("open_price", "NULL"), ("high_price", "NULL"), ("low_price", "NULL")]),
    ("price_history", &[("high_price", "NULL")]),
    ("price_history", &[("high_price", "1"), ("is_suspect", "TRUE")]),
    ("price_history", &[("volume", "8000000000"), ("ticker", "'^GSPC'")]),
    ("price_history", &[("open_price", "0.00001"), ("high_price", "0.000051"), ("low_price", "0.0000000001"), ("close_price", "0.0000123")]),
    ("options_data", &[("bid", "42"), ("ask", "41"), ("volume", "3000000000")]),
    ("options_data", &[("delta", "-1"), ("vega", "120.5"), ("theta", "-150")]),
    ("options_data", &[("delta", "1"), ("implied_volatility", "0"), ("option_type", "'put'")]),
    ("cache_leases", &[("space", "'analyses'"), ("token", "NULL"), ("failures", "3")]),
    ("cache_changes", &[("ticker", "NULL"), ("name", "NULL"), ("parameters", "NULL")]),
];

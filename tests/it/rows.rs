//! One valid row per table, to be stored as it is or with some columns changed.
//!
//! Values fit both the specification's tables and the corrected ones, so that a migration can be undone
//! and made again below them.

/// A table and its sample row, as pairs of column and SQL expression.
pub type Row = (&'static str, &'static [(&'static str, &'static str)]);

/// Sample rows of the specification's tables, parents before children.
pub const ROWS: &[Row] = &[
    (
        "users",
        &[
            ("id", "'00000000-0000-4000-8000-000000000001'"),
            ("email", "'Ada@example.com'"),
            ("username", "'ada'"),
            ("hashed_password", "'$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA'"),
            ("is_active", "TRUE"),
            ("is_verified", "TRUE"),
            ("first_name", "'Ada'"),
            ("last_name", "'Lovelace'"),
            ("preferences", r#"'{"theme": "dark"}'"#),
            ("created_at", "'2024-01-02 03:04:05.678901Z'"),
            ("updated_at", "'2024-01-03 03:04:05.678901Z'"),
            ("last_login_at", "'2024-01-04 03:04:05.678901Z'"),
        ],
    ),
    (
        "portfolios",
        &[
            ("id", "'00000000-0000-4000-8000-000000000002'"),
            ("user_id", "'00000000-0000-4000-8000-000000000001'"),
            ("name", "'Core'"),
            ("description", "'Für später'"),
            ("risk_tolerance", "'moderate'"),
            ("is_active", "TRUE"),
            ("target_cash_percentage", "12.34"),
            ("created_at", "'2024-01-02 03:04:05.678901Z'"),
            ("updated_at", "'2024-01-03 03:04:05.678901Z'"),
        ],
    ),
    (
        "positions",
        &[
            ("id", "'00000000-0000-4000-8000-000000000003'"),
            ("portfolio_id", "'00000000-0000-4000-8000-000000000002'"),
            ("ticker", "'AAPL'"),
            ("shares", "10.1234"),
            ("average_cost", "99999999.9999"),
            ("allocation_percentage", "33.33"),
            ("notes", "'bought low'"),
            ("is_active", "TRUE"),
            ("created_at", "'2024-01-02 03:04:05.678901Z'"),
            ("updated_at", "'2024-01-03 03:04:05.678901Z'"),
        ],
    ),
    (
        "analysis_results",
        &[
            ("id", "'00000000-0000-4000-8000-000000000004'"),
            ("portfolio_id", "'00000000-0000-4000-8000-000000000002'"),
            ("ticker", "'AAPL'"),
            ("analysis_type", "'value_analysis'"),
            ("strategy", "'graham'"),
            ("score", "999.99"),
            ("metadata", r#"'{"pe": 31.25, "big": 9007199254740993, "ü": [null, true]}'"#),
            ("recommendation", "'hold'"),
            ("confidence_level", "0.75"),
            ("summary", "'fair'"),
            ("calculated_at", "'2024-01-02 03:04:05.678901Z'"),
            ("expires_at", "'2034-01-02 03:04:05.678901Z'"),
            ("parameters", r#"'{"years": 5}'"#),
            ("data_quality_score", "1"),
            ("created_at", "'2024-01-02 03:04:05.678901Z'"),
            ("updated_at", "'2024-01-03 03:04:05.678901Z'"),
        ],
    ),
    (
        "market_data_cache",
        &[
            ("id", "'00000000-0000-4000-8000-000000000005'"),
            ("ticker", "'AAPL'"),
            ("data_type", "'fundamentals'"),
            ("data", r#"'{"sector": "Technology"}'"#),
            ("data_source", "'yfinance'"),
            ("data_quality_score", "0.9"),
            ("cached_at", "'2024-01-02 03:04:05.678901Z'"),
            ("expires_at", "'2024-01-03 03:04:05.678901Z'"),
            ("parameters", r#"'{"period": "1y"}'"#),
        ],
    ),
    (
        "price_history",
        &[
            ("id", "'00000000-0000-4000-8000-000000000006'"),
            ("ticker", "'AAPL'"),
            ("date", "'2024-01-02 00:00Z'"),
            ("open_price", "187.15"),
            ("high_price", "188.44"),
            ("low_price", "183.885"),
            ("close_price", "185.6401"),
            ("volume", "82488700"),
            ("adjusted_close", "184.7342"),
            ("data_source", "'yfinance'"),
            ("created_at", "'2024-01-03 03:04:05.678901Z'"),
        ],
    ),
    (
        "options_data",
        &[
            ("id", "'00000000-0000-4000-8000-000000000007'"),
            ("ticker", "'AAPL'"),
            ("option_type", "'call'"),
            ("strike_price", "150"),
            ("expiration_date", "'2025-01-17 00:00Z'"),
            ("last_price", "41.25"),
            ("bid", "41.1"),
            ("ask", "41.4"),
            ("volume", "12"),
            ("open_interest", "3456"),
            ("delta", "0.9123"),
            ("gamma", "0.001234"),
            ("theta", "-0.023456"),
            ("vega", "0.123456"),
            ("implied_volatility", "0.2785"),
            ("data_source", "'yfinance'"),
            ("fetch_timestamp", "'2024-01-02 21:00Z'"),
        ],
    ),
];

/// Sample rows of the tables that the specification does not have.
pub const LATER_ROWS: &[Row] = &[
    (
        "audit_log",
        &[
            ("id", "'00000000-0000-4000-8000-000000000009'"),
            ("recorded_at", "'2024-01-02 03:04:05.678901Z'"),
            ("user_id", "'00000000-0000-4000-8000-000000000001'"),
            ("actor_id", "NULL"),
            ("login", "'ada'"),
            ("table_name", "'users'"),
            ("row_id", "'00000000-0000-4000-8000-000000000001'"),
            ("operation", "'insert'"),
            ("before", "NULL"),
            ("after", r#"'{"first_name": "Ada"}'"#),
        ],
    ),
    (
        "events",
        &[
            ("transaction", "'1234'"),
            ("id", "7"),
            ("recorded_at", "'2024-01-02 03:04:05.678901Z'"),
            ("kind", "'cache_invalidated'"),
            ("user_id", "NULL"),
            ("ticker", "'AAPL'"),
            ("payload", r#"'{"data_type": "fundamentals", "parameters": null}'"#),
        ],
    ),
    (
        "event_consumers",
        &[
            ("name", "'risk'"),
            ("seen", "'1234:1234:'"),
            ("reading", "NULL"),
            ("after_transaction", "'0'"),
            ("after_id", "0"),
            ("moved_at", "'2024-01-02 03:04:05.678901Z'"),
        ],
    ),
    (
        "cache_leases",
        &[
            ("space", "'market_data'"),
            ("ticker", "'AAPL'"),
            ("name", "'fundamentals'"),
            ("parameters_key", "cache_parameters_key(NULL)"),
            ("portfolio_id", "NULL"),
            ("token", "7"),
            ("failures", "0"),
            ("taken_at", "'2024-01-02 03:04:05.678901Z'"),
            ("expires_at", "'2024-01-02 03:05:05.678901Z'"),
        ],
    ),
    (
        "cache_changes",
        &[
            ("version", "7"),
            ("transaction", "'1234'"),
            ("changed_at", "'2024-01-02 03:04:05.678901Z'"),
            ("space", "'market_data'"),
            ("ticker", "'AAPL'"),
            ("name", "'fundamentals'"),
            ("parameters", r#"'{"period": "1y"}'"#),
            ("portfolio_id", "NULL"),
        ],
    ),
    (
        "corporate_actions",
        &[
            ("id", "'00000000-0000-4000-8000-000000000008'"),
            ("ticker", "'AAPL'"),
            ("ex_date", "'2020-08-31 00:00Z'"),
            ("action_type", "'split'"),
            ("split_from", "1"),
            ("split_to", "4"),
            ("amount", "NULL"),
            ("data_source", "'yfinance'"),
            ("created_at", "'2024-01-03 03:04:05.678901Z'"),
            ("updated_at", "'2024-01-03 03:04:05.678901Z'"),
        ],
    ),
    (
        "price_revisions",
        &[
            ("ticker", "'AAPL'"),
            ("date", "'2024-01-02 00:00Z'"),
            ("replaced_at", "'2024-01-04 03:04:05.678901Z'"),
            ("id", "'00000000-0000-4000-8000-000000000006'"),
            ("open_price", "187.15"),
            ("high_price", "188.44"),
            ("low_price", "183.885"),
            ("close_price", "185.65"),
            ("volume", "82488700"),
            ("adjusted_close", "184.7342"),
            ("data_source", "'yfinance'"),
            ("is_suspect", "FALSE"),
            ("created_at", "'2024-01-03 03:04:05.678901Z'"),
            ("corrected_at", "NULL"),
        ],
    ),
    (
        "knowledge_points",
        &[
            ("known_at", "'2024-01-03 03:04:05.678901Z'"),
            ("snapshot", "'3:5:3'"),
            ("system_identifier", "7000000000000000000"),
        ],
    ),
    ("archived_price_years", &[("year", "2008"), ("archived_at", "'2024-01-03 03:04:05.678901Z'")]),
    (
        "swept_history",
        &[("table_name", "'price_history'"), ("known_from", "'2024-01-03 03:04:05.678901Z'")],
    ),
];

/// Columns to be changed in, or added to, a sample row.
pub type Changes = [(&'static str, &'static str)];

/// The statement that stores the sample row of `table` with `changes` made to it.
pub fn insert(table: &str, changes: &[(&str, &str)]) -> String {
    let mut rows = ROWS.iter().chain(LATER_ROWS);
    let sample = rows.find(|(name, _)| *name == table).expect("a table with a sample row").1;
    let kept =
        sample.iter().filter(|(column, _)| changes.iter().all(|(changed, _)| changed != column));
    let (columns, values): (Vec<_>, Vec<_>) = kept.chain(changes).copied().unzip();
    format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), values.join(", "))
}

/// The statements that store the sample rows of the specification's tables.
pub fn insert_all() -> String {
    ROWS.iter().map(|(table, _)| insert(table, &[]) + ";\n").collect()
}

/// The statements that store the sample rows of the other tables.
pub fn insert_later() -> String {
    LATER_ROWS.iter().map(|(table, _)| insert(table, &[]) + ";\n").collect()
}

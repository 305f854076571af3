//! The names of the keys and foreign keys that refuse rows of this crate's tables, as [`Error::Conflict`] and
//! [`Error::InvalidReference`] carry them.
//!
//! The values of a row are checked before it is sent, and an [`Error::Invalid`] names the field: the CHECK constraints have
//! no names here. Only SQL of the caller's own meets them.
//!
//! [`Error::Conflict`]: crate::Error::Conflict
//! [`Error::Invalid`]: crate::Error::Invalid
//! [`Error::InvalidReference`]: crate::Error::InvalidReference

macro_rules! constraints {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*

        /// Every one of them.
        pub const ALL: &[&str] = &[$($name,)*];
    };
}

constraints! {
    /// There is an account with this id.
    USERS_ID = "users_pkey",
    /// The e-mail address is taken, by whichever case of its letters.
    USERS_EMAIL = "users_email_key",
    /// The username is taken.
    USERS_USERNAME = "users_username_key",
    /// There is a portfolio with this id.
    PORTFOLIOS_ID = "portfolios_pkey",
    /// A portfolio of an account that does not exist.
    PORTFOLIOS_USER = "portfolios_user_id_fkey",
    /// There is a position with this id.
    POSITIONS_ID = "positions_pkey",
    /// The portfolio has a position of this ticker, which may be a removed one.
    POSITIONS_TICKER = "positions_portfolio_id_ticker_key",
    /// A position of a portfolio that does not exist.
    POSITIONS_PORTFOLIO = "positions_portfolio_id_fkey",
    /// There is a result with this id.
    ANALYSIS_RESULTS_ID = "analysis_results_pkey",
    /// A result for a portfolio that does not exist.
    ANALYSIS_RESULTS_PORTFOLIO = "analysis_results_portfolio_id_fkey",
    /// There is a cached document with this id.
    MARKET_DATA_CACHE_ID = "market_data_cache_pkey",
    /// There is a cached document of this ticker, type and parameters.
    MARKET_DATA_CACHE_KEY = "market_data_cache_entry_key",
    /// There is a bar with this id (where the table is by year, with this id and day).
    PRICE_HISTORY_ID = "price_history_pkey",
    /// The ticker has a bar of this day.
    PRICE_HISTORY_DAY = "price_history_ticker_date_key",
    /// There is a quote with this id.
    OPTIONS_DATA_ID = "options_data_pkey",
    /// The contract has a quote of this time.
    OPTIONS_DATA_SNAPSHOT = "options_data_contract_snapshot_key",
    /// There is a split or dividend with this id.
    CORPORATE_ACTIONS_ID = "corporate_actions_pkey",
    /// The ticker has a split, or a dividend, of this day.
    CORPORATE_ACTIONS_DAY = "corporate_actions_ticker_date_type_key",
}

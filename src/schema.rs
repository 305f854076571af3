// @generated automatically by Diesel CLI.

diesel::table! {
    /// Results of analyses, kept as history and served as a cache until they expire
    analysis_results (id) {
        /// Key of the result
        id -> Uuid,
        /// The portfolio whose private analysis this is; NULL: public, about the ticker alone
        portfolio_id -> Nullable<Uuid>,
        /// Market symbol, trimmed and upper case
        #[max_length = 32]
        ticker -> Varchar,
        /// One of value, growth, health, risk, options or ecosystem, each followed by _analysis
        #[max_length = 50]
        analysis_type -> Varchar,
        /// Name of the strategy that the analysis followed
        #[max_length = 100]
        strategy -> Nullable<Varchar>,
        /// Overall score, 0 to 999.99, higher is better
        score -> Nullable<Numeric>,
        /// The complete result as a document
        metadata -> Nullable<Jsonb>,
        /// Short verdict, such as buy or hold
        #[max_length = 50]
        recommendation -> Nullable<Varchar>,
        /// Confidence in the result, 0 to 1
        confidence_level -> Nullable<Numeric>,
        /// The result in words
        summary -> Nullable<Text>,
        /// When the result was computed
        calculated_at -> Timestamptz,
        /// From when the result is stale; NULL: fresh for ever
        expires_at -> Nullable<Timestamptz>,
        /// Parameters of the analysis, enough to run it again; part of the lookup of a cached result
        parameters -> Nullable<Jsonb>,
        /// Quality of the data that went in, 0 to 1
        data_quality_score -> Nullable<Numeric>,
        /// When the row was stored
        created_at -> Timestamptz,
        /// Time of the latest change, kept by a trigger
        updated_at -> Timestamptz,
        /// Watermarks of what the result was computed from: documents by revision, bars by digest; NULL: not recorded
        inputs -> Nullable<Jsonb>,
        /// Grows with every change of the row, kept by a trigger
        version -> Int8,
        /// Until when the expired result may stand in for one that cannot be computed; NULL: not at all
        stale_until -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    /// Changes of accounts, portfolios and positions, kept by triggers; only added to, until retention or erasure
    audit_log (user_id, recorded_at, id) {
        /// Key of the entry
        id -> Uuid,
        /// When the row was changed, not when that was committed
        recorded_at -> Timestamptz,
        /// Whose row it is; the account may be gone
        user_id -> Uuid,
        /// In which user's name it was changed; NULL: in nobody's, by the program itself
        actor_id -> Nullable<Uuid>,
        /// Login of the session that changed it
        login -> Text,
        /// users, portfolios or positions
        table_name -> Text,
        /// Id of the row
        row_id -> Uuid,
        /// insert, update or delete
        operation -> Text,
        /// Columns as they were, of an update those that changed; a password hash never; NULL: an insert, or erased
        before -> Nullable<Jsonb>,
        /// Columns as they are since, of an update those that changed; a password hash never; NULL: a deletion, or erased
        after -> Nullable<Jsonb>,
    }
}

diesel::table! {
    /// Splits and dividends, by which prices are adjusted when they are read
    corporate_actions (id) {
        /// Key of the row
        id -> Uuid,
        /// Market symbol, trimmed and upper case
        #[max_length = 32]
        ticker -> Varchar,
        /// First trading day on which the share trades split, or without the dividend, at midnight UTC
        ex_date -> Timestamptz,
        /// split or dividend
        #[max_length = 8]
        action_type -> Varchar,
        /// So many shares before the split; NULL: no split
        split_from -> Nullable<Numeric>,
        /// became so many; 2 of 1 in a split 2:1; NULL: no split
        split_to -> Nullable<Numeric>,
        /// Cash of all dividends of the day per share that trades on it, in the currency of the quote; NULL: a split
        amount -> Nullable<Numeric>,
        /// Name of the provider
        #[max_length = 50]
        data_source -> Nullable<Varchar>,
        /// When the row was stored
        created_at -> Timestamptz,
        /// Time of the latest change, kept by a trigger
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    /// Documents fetched from market-data providers, kept until they expire
    market_data_cache (id) {
        /// Key of the row
        id -> Uuid,
        /// Market symbol, trimmed and upper case
        #[max_length = 32]
        ticker -> Varchar,
        /// What the document is: fundamentals, news, options_chain and so on; open-ended
        #[max_length = 50]
        data_type -> Varchar,
        /// The document as delivered
        data -> Jsonb,
        /// Name of the provider
        #[max_length = 50]
        data_source -> Nullable<Varchar>,
        /// Quality of the document, 0 to 1
        data_quality_score -> Nullable<Numeric>,
        /// When the document was stored, by the database's clock
        cached_at -> Timestamptz,
        /// From when the document is stale, by the database's clock; always after cached_at
        expires_at -> Timestamptz,
        /// Parameters of the request; NULL, {} and other parameters are distinct entries, equal documents are one
        parameters -> Nullable<Jsonb>,
        /// Key of the parameters, kept by the database: 16 bytes, the same for equal documents; empty for NULL
        parameters_key -> Bytea,
        /// Grows with every change of the row, kept by a trigger; a fetch whose token is older may not replace it
        version -> Int8,
        /// Grows when the document changes, kept by a trigger: the watermark of what was computed from it
        revision -> Int8,
        /// Until when the expired document may stand in for one that cannot be fetched; NULL: not at all
        stale_until -> Nullable<Timestamptz>,
        /// Names under which the entry is invalidated together with others
        tags -> Array<Nullable<Text>>,
    }
}

diesel::table! {
    /// Option chains, one row per contract and snapshot
    options_data (id) {
        /// Key of the row
        id -> Uuid,
        /// Market symbol of the underlying, trimmed and upper case
        #[max_length = 32]
        ticker -> Varchar,
        /// call or put
        #[max_length = 4]
        option_type -> Varchar,
        /// Price at which the contract may be exercised, in the currency of the quote
        strike_price -> Numeric,
        /// Day on which the contract ends, at midnight UTC
        expiration_date -> Timestamptz,
        /// Price of the latest trade, per unit of the underlying
        last_price -> Nullable<Numeric>,
        /// Best bid, per unit of the underlying; may lie above the ask in real quotes
        bid -> Nullable<Numeric>,
        /// Best ask, per unit of the underlying; may lie below the bid in real quotes
        ask -> Nullable<Numeric>,
        /// Contracts traded that day; NULL: not delivered
        volume -> Nullable<Int8>,
        /// Contracts open; NULL: not delivered
        open_interest -> Nullable<Int8>,
        /// Change of the option's price per unit change of the underlying, -1 to 1
        delta -> Nullable<Numeric>,
        /// Change of delta per unit change of the underlying
        gamma -> Nullable<Numeric>,
        /// Change of the option's price with time, in the provider's unit of time
        theta -> Nullable<Numeric>,
        /// Change of the option's price with volatility, in the provider's unit
        vega -> Nullable<Numeric>,
        /// Annual volatility implied by the price, as a fraction: 0.25 is 25 percent
        implied_volatility -> Nullable<Numeric>,
        /// Name of the provider
        #[max_length = 50]
        data_source -> Nullable<Varchar>,
        /// When the snapshot was taken: the same for every contract of one chain
        fetch_timestamp -> Timestamptz,
    }
}

diesel::table! {
    /// Portfolios of a user; deleted with their owner
    portfolios (id) {
        /// Key of the portfolio
        id -> Uuid,
        /// The owner
        user_id -> Uuid,
        /// Name given by the owner; need not be unique
        #[max_length = 255]
        name -> Varchar,
        /// Free text
        description -> Nullable<Text>,
        /// conservative, moderate or aggressive
        #[max_length = 50]
        risk_tolerance -> Varchar,
        /// FALSE: soft-deleted, kept with its positions and analyses
        is_active -> Bool,
        /// Share of the portfolio to be held in cash, percent, 0 to 100
        target_cash_percentage -> Nullable<Numeric>,
        /// When the portfolio was made
        created_at -> Timestamptz,
        /// Time of the latest change, kept by a trigger
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    /// Holdings of a portfolio, one row per ticker; deleted with their portfolio
    positions (id) {
        /// Key of the position
        id -> Uuid,
        /// The portfolio that holds it
        portfolio_id -> Uuid,
        /// Market symbol, trimmed and upper case
        #[max_length = 32]
        ticker -> Varchar,
        /// Number of shares held, 0 or more and possibly fractional: short positions are not stored; NULL: not known
        shares -> Nullable<Numeric>,
        /// Average price paid for one share, in the currency of the quote; NULL: not known
        average_cost -> Nullable<Numeric>,
        /// Target weight in the portfolio, percent, 0 to 100; NULL: no target
        allocation_percentage -> Nullable<Numeric>,
        /// Free text
        notes -> Nullable<Text>,
        /// FALSE: removed but kept; adding the ticker again revives the row
        is_active -> Bool,
        /// When the row was stored
        created_at -> Timestamptz,
        /// Time of the latest change, kept by a trigger
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    /// Price bars as delivered, one row per ticker and bar start
    price_history (id) {
        /// Key of the row
        id -> Uuid,
        /// Market symbol, trimmed and upper case
        #[max_length = 32]
        ticker -> Varchar,
        /// Start of the bar; a daily bar carries the day of its exchange, at midnight UTC
        date -> Timestamptz,
        /// First price of the bar, in the currency of the quote
        open_price -> Nullable<Numeric>,
        /// Highest price of the bar, in the currency of the quote
        high_price -> Nullable<Numeric>,
        /// Lowest price of the bar, in the currency of the quote
        low_price -> Nullable<Numeric>,
        /// Last price of the bar, in the currency of the quote
        close_price -> Numeric,
        /// Units traded during the bar; NULL: not delivered
        volume -> Nullable<Int8>,
        /// The provider's close adjusted for splits and dividends as of delivery; not kept up to date
        adjusted_close -> Nullable<Numeric>,
        /// Name of the provider
        #[max_length = 50]
        data_source -> Nullable<Varchar>,
        /// When the bar was first stored
        created_at -> Timestamptz,
        /// TRUE: the bar is stored as delivered but should not be trusted, such as a high below the low
        is_suspect -> Bool,
        /// Since when the present values are known, kept by a trigger; NULL: since created_at, never corrected
        corrected_at -> Nullable<Timestamptz>,
        /// The transaction that stored the present values, kept by triggers; NULL: unknown, their time alone tells
        added_by -> Nullable<Int8>,
    }
}

diesel::table! {
    /// Accounts: who owns portfolios, and how they sign in
    users (id) {
        /// Key of the account
        id -> Uuid,
        /// Address to sign in with; unique without regard to letter case
        #[max_length = 255]
        email -> Varchar,
        /// Public name, unique; NULL: none chosen
        #[max_length = 100]
        username -> Nullable<Varchar>,
        /// Password hash in PHC string form; never a password
        #[max_length = 255]
        hashed_password -> Varchar,
        /// FALSE: the account is switched off and may not sign in
        is_active -> Bool,
        /// TRUE once the e-mail address is proven to be the user's
        is_verified -> Bool,
        /// Given name
        #[max_length = 100]
        first_name -> Nullable<Varchar>,
        /// Family name
        #[max_length = 100]
        last_name -> Nullable<Varchar>,
        /// User preferences as the text of a JSON document; NULL: none set
        preferences -> Nullable<Text>,
        /// When the account was made
        created_at -> Timestamptz,
        /// Time of the latest change, kept by a trigger
        updated_at -> Timestamptz,
        /// Time of the latest sign-in; NULL: never
        last_login_at -> Nullable<Timestamptz>,
    }
}

diesel::joinable!(analysis_results -> portfolios (portfolio_id));
diesel::joinable!(portfolios -> users (user_id));
diesel::joinable!(positions -> portfolios (portfolio_id));

diesel::allow_tables_to_appear_in_same_query!(analysis_results, portfolios, positions, users,);

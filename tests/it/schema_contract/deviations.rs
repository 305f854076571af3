//! Where the migrated schema departs from the specification: exactly here, and by which migration.

/// What one migration changes, as lines of [`crate::catalog::facts`].
pub struct Deviation {
    /// The migration's name without its timestamp.
    pub migration: &'static str,
    /// What was there before it.
    pub removes: &'static [&'static str],
    /// What is there after it.
    pub adds: &'static [&'static str],
}

/// All of them, in the order of the migrations.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        migration: "widen_tickers",
        removes: &[
            "column analysis_results.ticker character varying(10) NOT NULL",
            "column market_data_cache.ticker character varying(10) NOT NULL",
            "column options_data.ticker character varying(10) NOT NULL",
            "column positions.ticker character varying(10) NOT NULL",
            "column price_history.ticker character varying(10) NOT NULL",
        ],
        adds: &[
            "column analysis_results.ticker character varying(32) NOT NULL",
            "column market_data_cache.ticker character varying(32) NOT NULL",
            "column options_data.ticker character varying(32) NOT NULL",
            "column positions.ticker character varying(32) NOT NULL",
            "column price_history.ticker character varying(32) NOT NULL",
        ],
    },
    Deviation {
        migration: "widen_prices",
        removes: &[
            "column options_data.ask numeric(12,4)",
            "column options_data.bid numeric(12,4)",
            "column options_data.last_price numeric(12,4)",
            "column options_data.strike_price numeric(12,4) NOT NULL",
            "column positions.average_cost numeric(12,4)",
            "column positions.shares numeric(12,4)",
            "column price_history.adjusted_close numeric(12,4)",
            "column price_history.close_price numeric(12,4) NOT NULL",
            "column price_history.high_price numeric(12,4)",
            "column price_history.low_price numeric(12,4)",
            "column price_history.open_price numeric(12,4)",
        ],
        adds: &[
            "column options_data.ask numeric(20,10)",
            "column options_data.bid numeric(20,10)",
            "column options_data.last_price numeric(20,10)",
            "column options_data.strike_price numeric(20,10) NOT NULL",
            "column positions.average_cost numeric(20,10)",
            "column positions.shares numeric(20,10)",
            "column price_history.adjusted_close numeric(20,10)",
            "column price_history.close_price numeric(20,10) NOT NULL",
            "column price_history.high_price numeric(20,10)",
            "column price_history.low_price numeric(20,10)",
            "column price_history.open_price numeric(20,10)",
        ],
    },
    Deviation {
        migration: "widen_greeks",
        removes: &[
            "column options_data.delta numeric(6,4)",
            "column options_data.gamma numeric(8,6)",
            "column options_data.implied_volatility numeric(6,4)",
            "column options_data.theta numeric(8,6)",
            "column options_data.vega numeric(8,6)",
        ],
        adds: &[
            "column options_data.delta numeric(8,6)",
            "column options_data.gamma numeric(14,6)",
            "column options_data.implied_volatility numeric(10,6)",
            "column options_data.theta numeric(14,6)",
            "column options_data.vega numeric(14,6)",
        ],
    },
    Deviation {
        migration: "widen_counts",
        removes: &[
            "column options_data.open_interest integer",
            "column options_data.volume integer",
            "column price_history.volume integer",
        ],
        adds: &[
            "column options_data.open_interest bigint",
            "column options_data.volume bigint",
            "column price_history.volume bigint",
        ],
    },
    Deviation {
        migration: "refuse_nan",
        removes: &[],
        adds: &[
            "constraint analysis_results.analysis_results_confidence_level_not_nan CHECK ((confidence_level <> 'NaN'::numeric))",
            "constraint analysis_results.analysis_results_data_quality_score_not_nan CHECK ((data_quality_score <> 'NaN'::numeric))",
            "constraint analysis_results.analysis_results_score_not_nan CHECK ((score <> 'NaN'::numeric))",
            "constraint market_data_cache.market_data_cache_data_quality_score_not_nan CHECK ((data_quality_score <> 'NaN'::numeric))",
            "constraint options_data.options_data_ask_not_nan CHECK ((ask <> 'NaN'::numeric))",
            "constraint options_data.options_data_bid_not_nan CHECK ((bid <> 'NaN'::numeric))",
            "constraint options_data.options_data_delta_not_nan CHECK ((delta <> 'NaN'::numeric))",
            "constraint options_data.options_data_gamma_not_nan CHECK ((gamma <> 'NaN'::numeric))",
            "constraint options_data.options_data_implied_volatility_not_nan CHECK ((implied_volatility <> 'NaN'::numeric))",
            "constraint options_data.options_data_last_price_not_nan CHECK ((last_price <> 'NaN'::numeric))",
            "constraint options_data.options_data_strike_price_not_nan CHECK ((strike_price <> 'NaN'::numeric))",
            "constraint options_data.options_data_theta_not_nan CHECK ((theta <> 'NaN'::numeric))",
            "constraint options_data.options_data_vega_not_nan CHECK ((vega <> 'NaN'::numeric))",
            "constraint portfolios.portfolios_target_cash_percentage_not_nan CHECK ((target_cash_percentage <> 'NaN'::numeric))",
            "constraint positions.positions_allocation_percentage_not_nan CHECK ((allocation_percentage <> 'NaN'::numeric))",
            "constraint positions.positions_average_cost_not_nan CHECK ((average_cost <> 'NaN'::numeric))",
            "constraint positions.positions_shares_not_nan CHECK ((shares <> 'NaN'::numeric))",
            "constraint price_history.price_history_adjusted_close_not_nan CHECK ((adjusted_close <> 'NaN'::numeric))",
            "constraint price_history.price_history_close_price_not_nan CHECK ((close_price <> 'NaN'::numeric))",
            "constraint price_history.price_history_high_price_not_nan CHECK ((high_price <> 'NaN'::numeric))",
            "constraint price_history.price_history_low_price_not_nan CHECK ((low_price <> 'NaN'::numeric))",
            "constraint price_history.price_history_open_price_not_nan CHECK ((open_price <> 'NaN'::numeric))",
        ],
    },
    Deviation {
        migration: "add_email_lower_key",
        removes: &[],
        adds: &[
            "index UNIQUE INDEX users_email_lower_key ON public.users USING btree (lower((email)::text))",
        ],
    },
    Deviation {
        migration: "hash_cache_parameters",
        removes: &[
            "constraint market_data_cache.market_data_cache_ticker_data_type_parameters_key UNIQUE (ticker, data_type, parameters)",
            "index UNIQUE INDEX market_data_cache_ticker_data_type_parameters_key ON public.market_data_cache USING btree (ticker, data_type, parameters)",
        ],
        adds: &[
            "column market_data_cache.parameters_key bytea NOT NULL GENERATED cache_parameters_key(parameters)",
            "constraint market_data_cache.market_data_cache_entry_key UNIQUE (ticker, data_type, parameters_key)",
            "function cache_parameters_key(parameters jsonb) RETURNS bytea",
            "index UNIQUE INDEX market_data_cache_entry_key ON public.market_data_cache USING btree (ticker, data_type, parameters_key)",
        ],
    },
    Deviation {
        migration: "flag_suspect_bars",
        removes: &[],
        adds: &[
            "column price_history.is_suspect boolean NOT NULL DEFAULT false",
            "constraint price_history.price_history_coherent_unless_suspect CHECK ((is_suspect OR ((high_price >= low_price) AND ((open_price >= low_price) AND (open_price <= high_price)) AND ((close_price >= low_price) AND (close_price <= high_price)))))",
        ],
    },
    Deviation {
        migration: "add_contract_snapshot_key",
        removes: &[],
        adds: &[
            "constraint options_data.options_data_contract_snapshot_key UNIQUE (ticker, option_type, strike_price, expiration_date, fetch_timestamp)",
            "index UNIQUE INDEX options_data_contract_snapshot_key ON public.options_data USING btree (ticker, option_type, strike_price, expiration_date, fetch_timestamp)",
        ],
    },
    Deviation {
        migration: "add_analysis_inputs",
        removes: &[],
        adds: &["column analysis_results.inputs jsonb"],
    },
    Deviation {
        migration: "add_analysis_latest_indexes",
        removes: &[],
        adds: &[
            "index INDEX analysis_results_portfolio_latest_idx ON public.analysis_results USING btree (portfolio_id, ticker, analysis_type, calculated_at DESC, id DESC) WHERE (portfolio_id IS NOT NULL)",
            "index INDEX analysis_results_public_latest_idx ON public.analysis_results USING btree (ticker, analysis_type, calculated_at DESC, id DESC) WHERE (portfolio_id IS NULL)",
        ],
    },
    Deviation {
        migration: "add_analysis_metadata_index",
        removes: &[],
        adds: &[
            "index INDEX analysis_results_metadata_idx ON public.analysis_results USING gin (metadata jsonb_path_ops)",
        ],
    },
    Deviation {
        migration: "add_active_portfolios_index",
        removes: &[],
        adds: &[
            "index INDEX portfolios_user_active_newest_idx ON public.portfolios USING btree (user_id, created_at DESC, id DESC) WHERE is_active",
        ],
    },
    Deviation {
        migration: "add_active_positions_index",
        removes: &[],
        adds: &[
            "index INDEX positions_portfolio_active_idx ON public.positions USING btree (portfolio_id, ticker) WHERE is_active",
        ],
    },
    Deviation {
        migration: "add_users_created_index",
        removes: &[],
        adds: &["index INDEX users_created_idx ON public.users USING btree (created_at, id)"],
    },
    Deviation {
        migration: "drop_repeated_users_indexes",
        removes: &[
            "index INDEX idx_users_email ON public.users USING btree (email)",
            "index INDEX idx_users_username ON public.users USING btree (username)",
        ],
        adds: &[],
    },
    Deviation {
        migration: "drop_repeated_positions_index",
        removes: &[
            "index INDEX idx_positions_portfolio_id ON public.positions USING btree (portfolio_id)",
        ],
        adds: &[],
    },
    Deviation {
        migration: "drop_repeated_price_indexes",
        removes: &[
            "index INDEX idx_price_ticker_date ON public.price_history USING btree (ticker, date)",
            "index INDEX idx_price_ticker_date_desc ON public.price_history USING btree (ticker, date DESC)",
        ],
        adds: &[],
    },
    Deviation {
        migration: "touch_updated_at",
        removes: &[],
        adds: &[
            "function touch_updated_at() RETURNS trigger",
            "trigger analysis_results_touch_updated_at BEFORE UPDATE ON public.analysis_results FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION touch_updated_at()",
            "trigger portfolios_touch_updated_at BEFORE UPDATE ON public.portfolios FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION touch_updated_at()",
            "trigger positions_touch_updated_at BEFORE UPDATE ON public.positions FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION touch_updated_at()",
            "trigger users_touch_updated_at BEFORE UPDATE ON public.users FOR EACH ROW WHEN ((old.* IS DISTINCT FROM new.*)) EXECUTE FUNCTION touch_updated_at()",
        ],
    },
    Deviation {
        migration: "add_options_snapshot_index",
        removes: &[],
        adds: &[
            "index INDEX options_data_ticker_fetched_idx ON public.options_data USING btree (ticker, fetch_timestamp)",
        ],
    },
    Deviation {
        migration: "add_cache_versions",
        removes: &[],
        adds: &[
            "column analysis_results.version bigint NOT NULL DEFAULT nextval('cache_version'::regclass)",
            "column market_data_cache.revision bigint NOT NULL DEFAULT nextval('cache_version'::regclass)",
            "column market_data_cache.version bigint NOT NULL DEFAULT nextval('cache_version'::regclass)",
            "function move_analysis_version() RETURNS trigger",
            "function move_cache_version() RETURNS trigger",
            "sequence cache_version bigint",
            "trigger analysis_results_version_moves BEFORE UPDATE ON public.analysis_results FOR EACH ROW EXECUTE FUNCTION move_analysis_version()",
            "trigger market_data_cache_version_moves BEFORE UPDATE ON public.market_data_cache FOR EACH ROW EXECUTE FUNCTION move_cache_version()",
        ],
    },
    Deviation {
        migration: "add_stale_windows",
        removes: &[],
        adds: &[
            "column analysis_results.stale_until timestamp with time zone",
            "column market_data_cache.stale_until timestamp with time zone",
            "index INDEX analysis_results_kept_until_idx ON public.analysis_results USING btree (GREATEST(expires_at, stale_until))",
            "index INDEX market_data_cache_kept_until_idx ON public.market_data_cache USING btree (GREATEST(expires_at, stale_until))",
        ],
    },
    Deviation {
        migration: "add_cache_tags",
        removes: &[],
        adds: &[
            "column market_data_cache.tags text[] NOT NULL DEFAULT '{}'::text[]",
            "index INDEX market_data_cache_tags_idx ON public.market_data_cache USING gin (tags) WHERE (tags <> '{}'::text[])",
        ],
    },
    Deviation {
        migration: "create_cache_leases",
        removes: &[],
        adds: &[
            "column cache_leases.expires_at timestamp with time zone NOT NULL",
            "column cache_leases.failures integer NOT NULL DEFAULT 0",
            "column cache_leases.name character varying(50) NOT NULL",
            "column cache_leases.parameters_key bytea NOT NULL",
            "column cache_leases.portfolio_id uuid",
            "column cache_leases.space text NOT NULL",
            "column cache_leases.taken_at timestamp with time zone NOT NULL",
            "column cache_leases.ticker character varying(32) NOT NULL",
            "column cache_leases.token bigint",
            "constraint cache_leases.cache_leases_key UNIQUE NULLS NOT DISTINCT (ticker, name, parameters_key, space, portfolio_id)",
            "constraint cache_leases.cache_leases_space_check CHECK ((space = ANY (ARRAY['market_data'::text, 'analyses'::text])))",
            "index INDEX cache_leases_expires_idx ON public.cache_leases USING btree (expires_at)",
            "index UNIQUE INDEX cache_leases_key ON public.cache_leases USING btree (ticker, name, parameters_key, space, portfolio_id) NULLS NOT DISTINCT",
            "table UNLOGGED cache_leases",
        ],
    },
    Deviation {
        migration: "create_cache_changes",
        removes: &[],
        adds: &[
            "column cache_changes.changed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp()",
            "column cache_changes.name character varying(50)",
            "column cache_changes.parameters jsonb",
            "column cache_changes.portfolio_id uuid",
            "column cache_changes.space text NOT NULL",
            "column cache_changes.ticker character varying(32)",
            "column cache_changes.transaction xid8 NOT NULL DEFAULT pg_current_xact_id()",
            "column cache_changes.version bigint NOT NULL",
            "constraint cache_changes.cache_changes_pkey PRIMARY KEY (version)",
            "index INDEX cache_changes_transaction_idx ON public.cache_changes USING btree (transaction, version)",
            "index UNIQUE INDEX cache_changes_pkey ON public.cache_changes USING btree (version)",
            "table cache_changes",
        ],
    },
    Deviation {
        migration: "record_cache_changes",
        removes: &[],
        adds: &[
            "function record_analysis_delete() RETURNS trigger",
            "function record_analysis_insert() RETURNS trigger",
            "function record_analysis_move() RETURNS trigger",
            "function record_analysis_update() RETURNS trigger",
            "function record_cache_delete() RETURNS trigger",
            "function record_cache_move() RETURNS trigger",
            "function record_cache_truncate() RETURNS trigger",
            "function record_cache_update() RETURNS trigger",
            "trigger analysis_results_record_delete AFTER DELETE ON public.analysis_results REFERENCING OLD TABLE AS replaced FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_delete()",
            "trigger analysis_results_record_insert AFTER INSERT ON public.analysis_results REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_insert()",
            "trigger analysis_results_record_move AFTER UPDATE ON public.analysis_results FOR EACH ROW WHEN ((((((old.ticker)::text IS DISTINCT FROM (new.ticker)::text) OR ((old.analysis_type)::text IS DISTINCT FROM (new.analysis_type)::text)) OR (old.parameters IS DISTINCT FROM new.parameters)) OR (old.portfolio_id IS DISTINCT FROM new.portfolio_id))) EXECUTE FUNCTION record_analysis_move()",
            "trigger analysis_results_record_truncate AFTER TRUNCATE ON public.analysis_results FOR EACH STATEMENT EXECUTE FUNCTION record_cache_truncate()",
            "trigger analysis_results_record_update AFTER UPDATE ON public.analysis_results REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_update()",
            "trigger market_data_cache_record_delete AFTER DELETE ON public.market_data_cache REFERENCING OLD TABLE AS replaced FOR EACH STATEMENT EXECUTE FUNCTION record_cache_delete()",
            "trigger market_data_cache_record_move AFTER UPDATE ON public.market_data_cache FOR EACH ROW WHEN (((((old.ticker)::text IS DISTINCT FROM (new.ticker)::text) OR ((old.data_type)::text IS DISTINCT FROM (new.data_type)::text)) OR (old.parameters IS DISTINCT FROM new.parameters))) EXECUTE FUNCTION record_cache_move()",
            "trigger market_data_cache_record_truncate AFTER TRUNCATE ON public.market_data_cache FOR EACH STATEMENT EXECUTE FUNCTION record_cache_truncate()",
            "trigger market_data_cache_record_update AFTER UPDATE ON public.market_data_cache REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION record_cache_update()",
        ],
    },
    Deviation {
        migration: "vacuum_caches_sooner",
        removes: &[],
        adds: &[
            "storage analysis_results autovacuum_vacuum_scale_factor=0.05",
            "storage analysis_results toast.autovacuum_vacuum_scale_factor=0.05",
            "storage cache_changes autovacuum_vacuum_scale_factor=0",
            "storage cache_changes autovacuum_vacuum_threshold=5000",
            "storage cache_leases autovacuum_vacuum_scale_factor=0",
            "storage cache_leases autovacuum_vacuum_threshold=1000",
            "storage cache_leases fillfactor=50",
            "storage market_data_cache autovacuum_vacuum_cost_limit=2000",
            "storage market_data_cache autovacuum_vacuum_scale_factor=0.05",
            "storage market_data_cache toast.autovacuum_vacuum_cost_limit=2000",
            "storage market_data_cache toast.autovacuum_vacuum_scale_factor=0.05",
        ],
    },
    Deviation {
        migration: "add_analysis_inputs_index",
        removes: &[],
        adds: &[
            "index INDEX analysis_results_inputs_idx ON public.analysis_results USING btree (ticker, id) WHERE (inputs IS NOT NULL)",
        ],
    },
    Deviation {
        migration: "add_bars_digest",
        removes: &[],
        adds: &["function bars_digest(of_ticker text) RETURNS bigint"],
    },
];

//! What must not be in the tables because nothing could read it, which years of it are elsewhere, and what an erasure leaves.

use super::Deviation;

/// In the order of the migrations.
pub const READABLE: &[Deviation] = &[
    Deviation {
        migration: "check_readable_values",
        removes: &[],
        adds: &[
            "constraint analysis_results.analysis_results_ticker_upper_case CHECK (((ticker)::text = upper(((ticker)::text COLLATE \"C\"))))",
            "constraint analysis_results.analysis_results_times_readable CHECK (((calculated_at > '-infinity'::timestamp with time zone) AND (calculated_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (expires_at > '-infinity'::timestamp with time zone) AND (expires_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (stale_until > '-infinity'::timestamp with time zone) AND (stale_until < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (created_at > '-infinity'::timestamp with time zone) AND (created_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at > '-infinity'::timestamp with time zone) AND (updated_at < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint corporate_actions.corporate_actions_ticker_upper_case CHECK (((ticker)::text = upper(((ticker)::text COLLATE \"C\"))))",
            "constraint corporate_actions.corporate_actions_times_readable CHECK (((ex_date > '-infinity'::timestamp with time zone) AND (ex_date < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint market_data_cache.market_data_cache_ticker_upper_case CHECK (((ticker)::text = upper(((ticker)::text COLLATE \"C\"))))",
            "constraint market_data_cache.market_data_cache_times_readable CHECK (((cached_at > '-infinity'::timestamp with time zone) AND (cached_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (expires_at > '-infinity'::timestamp with time zone) AND (expires_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (stale_until > '-infinity'::timestamp with time zone) AND (stale_until < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint options_data.options_data_ticker_upper_case CHECK (((ticker)::text = upper(((ticker)::text COLLATE \"C\"))))",
            "constraint options_data.options_data_times_readable CHECK (((expiration_date > '-infinity'::timestamp with time zone) AND (expiration_date < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (fetch_timestamp > '-infinity'::timestamp with time zone) AND (fetch_timestamp < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint portfolios.portfolios_times_readable CHECK (((created_at > '-infinity'::timestamp with time zone) AND (created_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at > '-infinity'::timestamp with time zone) AND (updated_at < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint positions.positions_ticker_upper_case CHECK (((ticker)::text = upper(((ticker)::text COLLATE \"C\"))))",
            "constraint positions.positions_times_readable CHECK (((created_at > '-infinity'::timestamp with time zone) AND (created_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at > '-infinity'::timestamp with time zone) AND (updated_at < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint price_history.price_history_ticker_upper_case CHECK (((ticker)::text = upper(((ticker)::text COLLATE \"C\"))))",
            "constraint price_history.price_history_times_readable CHECK (((date > '-infinity'::timestamp with time zone) AND (date < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "constraint users.users_preferences_json CHECK (is_json(preferences))",
            "constraint users.users_times_readable CHECK (((created_at > '-infinity'::timestamp with time zone) AND (created_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (updated_at > '-infinity'::timestamp with time zone) AND (updated_at < '262143-01-01 00:00:00+00'::timestamp with time zone) AND (last_login_at > '-infinity'::timestamp with time zone) AND (last_login_at < '262143-01-01 00:00:00+00'::timestamp with time zone)))",
            "function is_json(document text) RETURNS boolean",
        ],
    },
    Deviation {
        migration: "record_archived_years",
        removes: &[],
        adds: &[
            "column archived_price_years.archived_at timestamp with time zone NOT NULL DEFAULT now()",
            "column archived_price_years.year integer NOT NULL",
            "constraint archived_price_years.archived_price_years_pkey PRIMARY KEY (year)",
            "index UNIQUE INDEX archived_price_years_pkey ON public.archived_price_years USING btree (year)",
            "table archived_price_years",
        ],
    },
    Deviation {
        migration: "erase_traces",
        removes: &[
            "definer erase_audit_entries(uuid)",
            "definer erase_own_audit_entries()",
            "function erase_audit_entries(account uuid) RETURNS bigint",
            "function erase_own_audit_entries() RETURNS bigint",
        ],
        adds: &[
            "definer erase_own_traces()",
            "definer erase_traces_of(uuid[])",
            "function erase_own_traces() RETURNS bigint",
            "function erase_traces(accounts uuid[]) RETURNS bigint",
            "function erase_traces_of(accounts uuid[]) RETURNS bigint",
            "index INDEX cache_changes_portfolio_idx ON public.cache_changes USING btree (portfolio_id) WHERE (portfolio_id IS NOT NULL)",
            "index INDEX cache_leases_portfolio_idx ON public.cache_leases USING btree (portfolio_id) WHERE (portfolio_id IS NOT NULL)",
            "index INDEX events_user_idx ON public.events USING btree (user_id) WHERE (user_id IS NOT NULL)",
        ],
    },
    Deviation { migration: "check_result_expiry", removes: &[], adds: &[] },
    Deviation {
        migration: "record_swept_history",
        removes: &[],
        adds: &[
            "column swept_history.known_from timestamp with time zone NOT NULL",
            "column swept_history.table_name text NOT NULL",
            "constraint swept_history.swept_history_pkey PRIMARY KEY (table_name)",
            "definer note_swept_history()",
            "function note_swept_history() RETURNS trigger",
            "index UNIQUE INDEX swept_history_pkey ON public.swept_history USING btree (table_name)",
            "table swept_history",
            "trigger knowledge_points_note_swept AFTER DELETE ON public.knowledge_points REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_swept_history()",
            "trigger price_revisions_note_swept AFTER DELETE ON public.price_revisions REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION note_swept_history()",
        ],
    },
    Deviation {
        migration: "redate_knowledge_points",
        removes: &[],
        adds: &[
            "definer redate_knowledge_points()",
            "function redate_knowledge_points() RETURNS trigger",
            "trigger knowledge_points_redate BEFORE INSERT ON public.knowledge_points FOR EACH STATEMENT EXECUTE FUNCTION redate_knowledge_points()",
        ],
    },
    Deviation {
        migration: "check_readable_texts",
        removes: &[],
        adds: &[
            "constraint analysis_results.analysis_results_ticker_readable CHECK ((((ticker)::text COLLATE \"C\") ~ '^[!-~]([ -~]*[!-~])?$'::text))",
            "constraint corporate_actions.corporate_actions_ticker_readable CHECK ((((ticker)::text COLLATE \"C\") ~ '^[!-~]([ -~]*[!-~])?$'::text))",
            "constraint market_data_cache.market_data_cache_data_type_readable CHECK (is_line((data_type)::text))",
            "constraint market_data_cache.market_data_cache_tags_readable CHECK (are_lines(tags, 100))",
            "constraint market_data_cache.market_data_cache_ticker_readable CHECK ((((ticker)::text COLLATE \"C\") ~ '^[!-~]([ -~]*[!-~])?$'::text))",
            "constraint options_data.options_data_ticker_readable CHECK ((((ticker)::text COLLATE \"C\") ~ '^[!-~]([ -~]*[!-~])?$'::text))",
            "constraint positions.positions_ticker_readable CHECK ((((ticker)::text COLLATE \"C\") ~ '^[!-~]([ -~]*[!-~])?$'::text))",
            "constraint price_history.price_history_ticker_readable CHECK ((((ticker)::text COLLATE \"C\") ~ '^[!-~]([ -~]*[!-~])?$'::text))",
            "function are_lines(lines text[], longest integer) RETURNS boolean",
            "function is_line(line text) RETURNS boolean",
        ],
    },
    Deviation {
        migration: "forget_deleted_portfolios",
        removes: &[],
        adds: &[
            "definer forget_portfolios()",
            "function forget_portfolios() RETURNS trigger",
            "trigger portfolios_forget AFTER DELETE ON public.portfolios REFERENCING OLD TABLE AS replaced FOR EACH STATEMENT EXECUTE FUNCTION forget_portfolios()",
        ],
    },
    Deviation {
        migration: "refuse_truncate_of_history",
        removes: &[],
        adds: &[
            "trigger analysis_results_refuse_truncate BEFORE TRUNCATE ON public.analysis_results FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()",
            "trigger corporate_actions_refuse_truncate BEFORE TRUNCATE ON public.corporate_actions FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()",
            "trigger events_refuse_truncate BEFORE TRUNCATE ON public.events FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()",
            "trigger price_history_refuse_truncate BEFORE TRUNCATE ON public.price_history FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()",
            "trigger price_revisions_refuse_truncate BEFORE TRUNCATE ON public.price_revisions FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate()",
        ],
    },
];

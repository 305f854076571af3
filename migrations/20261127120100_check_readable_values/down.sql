CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    -- The clock may have been set back, or may not have moved a whole microsecond.
    NEW.updated_at := GREATEST(clock_timestamp(), LEAST(OLD.updated_at, '294000-01-01Z') + INTERVAL '1 microsecond');
    RETURN NEW;
END;
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION touch_updated_at() SET search_path = %I, pg_temp', current_schema());
END;
$$;

ALTER TABLE users
    DROP CONSTRAINT users_preferences_json,
    DROP CONSTRAINT users_times_readable;
ALTER TABLE portfolios
    DROP CONSTRAINT portfolios_times_readable;
ALTER TABLE positions
    DROP CONSTRAINT positions_ticker_upper_case,
    DROP CONSTRAINT positions_times_readable;
ALTER TABLE analysis_results
    DROP CONSTRAINT analysis_results_ticker_upper_case,
    DROP CONSTRAINT analysis_results_times_readable;
ALTER TABLE market_data_cache
    DROP CONSTRAINT market_data_cache_ticker_upper_case,
    DROP CONSTRAINT market_data_cache_times_readable;
ALTER TABLE price_history
    DROP CONSTRAINT price_history_ticker_upper_case,
    DROP CONSTRAINT price_history_times_readable;
ALTER TABLE options_data
    DROP CONSTRAINT options_data_ticker_upper_case,
    DROP CONSTRAINT options_data_times_readable;
ALTER TABLE corporate_actions
    DROP CONSTRAINT corporate_actions_ticker_upper_case,
    DROP CONSTRAINT corporate_actions_times_readable;
DROP FUNCTION is_json(TEXT);

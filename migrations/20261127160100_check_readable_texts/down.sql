ALTER TABLE positions
    DROP CONSTRAINT positions_ticker_readable;
ALTER TABLE analysis_results
    DROP CONSTRAINT analysis_results_ticker_readable;
ALTER TABLE market_data_cache
    DROP CONSTRAINT market_data_cache_ticker_readable,
    DROP CONSTRAINT market_data_cache_data_type_readable,
    DROP CONSTRAINT market_data_cache_tags_readable;
ALTER TABLE price_history
    DROP CONSTRAINT price_history_ticker_readable;
ALTER TABLE options_data
    DROP CONSTRAINT options_data_ticker_readable;
ALTER TABLE corporate_actions
    DROP CONSTRAINT corporate_actions_ticker_readable;
ALTER TABLE users
    DROP CONSTRAINT users_preferences_json;
DROP FUNCTION are_lines(TEXT[], INTEGER);
DROP FUNCTION is_line(TEXT);

CREATE OR REPLACE FUNCTION is_json(document TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN document IS NULL OR document::pg_catalog.jsonb IS NOT NULL;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END;
$$;

COMMENT ON FUNCTION is_json(TEXT) IS 'Whether a text is a JSON document, or NULL';

DO $$
DECLARE
    is_held BOOLEAN;
BEGIN
    EXECUTE format('ALTER FUNCTION is_json(TEXT) SET search_path = %I, pg_temp', current_schema());
    ALTER TABLE users ADD CONSTRAINT users_preferences_json CHECK (is_json(preferences)) NOT VALID;
    SELECT NOT EXISTS (SELECT FROM users WHERE NOT is_json(preferences)) INTO is_held;
    IF is_held THEN
        ALTER TABLE users VALIDATE CONSTRAINT users_preferences_json;
    END IF;
END;
$$;

-- What no program can read as the time, ticker or document that its column promises must not be stored. Times have an end
-- because readers have one: chrono's last year is 262142. Rows that are there and offend stay, and can be changed by what
-- mends them: a check is validated where no row offends, and `Database::doctor` names the rows of the others.
--
-- Of market data the time of a row's making is not checked: a delivery that corrects many rows would be refused for one.
CREATE FUNCTION is_json(document TEXT) RETURNS BOOLEAN
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
    new RECORD;
    is_held BOOLEAN;
BEGIN
    EXECUTE format('ALTER FUNCTION is_json(TEXT) SET search_path = %I, pg_temp', current_schema());
    FOR new IN
        SELECT t.name AS table_name, t.name || '_times_readable' AS name,
            (SELECT string_agg(format('%1$I > ''-infinity'' AND %1$I < ''262143-01-01 00:00:00Z''', c), ' AND ')
             FROM unnest(t.times) c) AS condition
        FROM (VALUES
            ('users', ARRAY['created_at', 'updated_at', 'last_login_at']),
            ('portfolios', ARRAY['created_at', 'updated_at']),
            ('positions', ARRAY['created_at', 'updated_at']),
            ('analysis_results', ARRAY['calculated_at', 'expires_at', 'stale_until', 'created_at', 'updated_at']),
            ('market_data_cache', ARRAY['cached_at', 'expires_at', 'stale_until']),
            ('price_history', ARRAY['date']),
            ('options_data', ARRAY['expiration_date', 'fetch_timestamp']),
            ('corporate_actions', ARRAY['ex_date'])
        ) AS t (name, times)
        UNION ALL
        SELECT name, name || '_ticker_upper_case', 'ticker = upper(ticker COLLATE "C")'
        FROM unnest(ARRAY['positions', 'analysis_results', 'market_data_cache', 'price_history', 'options_data',
            'corporate_actions']) AS name
        UNION ALL
        SELECT 'users', 'users_preferences_json', 'is_json(preferences)'
    LOOP
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT %I CHECK (%s) NOT VALID', new.table_name, new.name, new.condition);
        -- Of NULL a check says neither, and lets it through.
        EXECUTE format('SELECT NOT EXISTS (SELECT FROM %I WHERE NOT (%s))', new.table_name, new.condition) INTO is_held;
        IF is_held THEN
            EXECUTE format('ALTER TABLE %I VALIDATE CONSTRAINT %I', new.table_name, new.name);
        END IF;
    END LOOP;
END;
$$;

-- A row from beyond that end is mended by its next change.
CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    -- The clock may have been set back, or may not have moved a whole microsecond.
    NEW.updated_at := GREATEST(clock_timestamp(), LEAST(OLD.updated_at, '262000-01-01Z') + INTERVAL '1 microsecond');
    RETURN NEW;
END;
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION touch_updated_at() SET search_path = %I, pg_temp', current_schema());
END;
$$;

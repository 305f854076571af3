-- What the checks of `check_readable_values` let through: tickers that no program takes for one, names that are empty or hold
-- what cannot be seen, documents nested deeper than any reader follows. As there, rows that offend stay, and the check of
-- their table is not validated.
CREATE OR REPLACE FUNCTION is_json(document TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    IF document IS NULL THEN
        RETURN true;
    END IF;
    -- 128 levels have as many brackets. The last of them are at level 127, the root being at 0.
    RETURN document::pg_catalog.jsonb IS NOT NULL
        AND (length(document) < 256 OR length(document) - length(translate(document, '[{', '')) < 128
            OR NOT jsonb_path_exists(document::pg_catalog.jsonb,
                'strict $.**{127} ? (@.type() == "array" || @.type() == "object")'));
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN false;
END;
$$;

COMMENT ON FUNCTION is_json(TEXT) IS 'Whether a text is a JSON document of at most 127 levels, or NULL';

-- The characters are those of the program's rule (`is_unseen`). Escapes are the regular expression's; E'' reads them alike in
-- either setting of standard_conforming_strings.
CREATE FUNCTION is_line(line TEXT) RETURNS BOOLEAN
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    -- Most are plain ASCII, which is seen fastest.
    RETURN line COLLATE "C" ~ '^[!-~]([ -~]*[!-~])?$' OR line <> '' AND line COLLATE "C" !~ (
        -- White space at an end.
        E'^[ \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]|[ \\u00a0\\u1680\\u2000-\\u200a\\u202f\\u205f\\u3000]$'
        -- Unseen characters.
        || E'|[\\u0001-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f\\u200b-\\u200f'
        || E'\\u2028-\\u202e\\u2060-\\u206f\\u2800\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff0-\\ufffc\\U0001bca0-\\U0001bca3'
        || E'\\U0001d159\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff]'
        -- Selectors of text and of emoji, but behind a symbol.
        || E'|(^|[^\\u00a9\\u00ae\\u203c-\\u2bff\\u3030\\u303d\\u3297\\u3299\\U0001f000-\\U0001faff])[\\ufe0e\\ufe0f]');
END;
$$;

COMMENT ON FUNCTION is_line(TEXT) IS 'Whether a text is a name: not empty, and all that is in it can be seen';

CREATE FUNCTION are_lines(lines TEXT[], longest INTEGER) RETURNS BOOLEAN
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
    line TEXT;
BEGIN
    IF lines IS NULL OR lines = '{}' THEN
        RETURN true;
    END IF;
    IF array_ndims(lines) > 1 THEN
        RETURN false;
    END IF;
    FOREACH line IN ARRAY lines LOOP
        IF length(line) > longest OR NOT is_line(line) THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END;
$$;

COMMENT ON FUNCTION are_lines(TEXT[], INTEGER) IS 'Whether all texts of a list are names of at most so many characters';

ALTER TABLE users DROP CONSTRAINT users_preferences_json;

DO $$
DECLARE
    new RECORD;
    is_held BOOLEAN;
BEGIN
    FOR new IN
        SELECT format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f.name, current_schema()) AS statement
        FROM unnest(ARRAY['is_json(TEXT)', 'is_line(TEXT)', 'are_lines(TEXT[], INTEGER)']) AS f (name)
    LOOP
        EXECUTE new.statement;
    END LOOP;
    FOR new IN
        -- Printable ASCII, without spaces at an end; of letters the check of upper case says the rest.
        SELECT name AS table_name, name || '_ticker_readable' AS name,
            'ticker COLLATE "C" ~ ''^[!-~]([ -~]*[!-~])?$''' AS condition
        FROM unnest(ARRAY['positions', 'analysis_results', 'market_data_cache', 'price_history', 'options_data',
            'corporate_actions']) AS name
        UNION ALL
        SELECT 'market_data_cache', 'market_data_cache_data_type_readable', 'is_line(data_type)'
        UNION ALL
        SELECT 'market_data_cache', 'market_data_cache_tags_readable', 'are_lines(tags, 100)'
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

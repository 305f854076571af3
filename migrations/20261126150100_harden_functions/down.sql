DROP TRIGGER analysis_results_version_starts ON analysis_results;
DROP TRIGGER market_data_cache_version_starts ON market_data_cache;

-- The functions as they were. That nobody but the owner may call portfolio_owner stays: whoever calls it first decides
-- which types it has inside of functions with the owner's rights.
CREATE OR REPLACE FUNCTION tenant_id() RETURNS UUID
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT NULLIF(current_setting('buffetbot.user_id', true), '')::uuid
$$;

CREATE OR REPLACE FUNCTION portfolio_owner(portfolio UUID) RETURNS UUID
    LANGUAGE plpgsql
AS $$
DECLARE
    owner UUID;
BEGIN
    SELECT user_id INTO owner FROM portfolios WHERE id = portfolio;
    IF NOT FOUND THEN
        SELECT user_id INTO owner FROM audit_log WHERE row_id = portfolio
        ORDER BY recorded_at DESC LIMIT 1;
    END IF;
    RETURN owner;
END;
$$;

CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    -- The clock may have been set back, or may not have moved a whole microsecond.
    NEW.updated_at := GREATEST(clock_timestamp(), OLD.updated_at + INTERVAL '1 microsecond');
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION move_cache_version() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.version := nextval('cache_version');
    NEW.revision :=
        CASE WHEN NEW.data IS DISTINCT FROM OLD.data THEN NEW.version ELSE OLD.revision END;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION date_bar_correction() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
BEGIN
    IF known_from <> now()
        AND (OLD.ticker, OLD.date, OLD.open_price, OLD.high_price, OLD.low_price, OLD.close_price,
                OLD.volume, OLD.adjusted_close, OLD.data_source, OLD.is_suspect)
            IS DISTINCT FROM (NEW.ticker, NEW.date, NEW.open_price, NEW.high_price, NEW.low_price,
                NEW.close_price, NEW.volume, NEW.adjusted_close, NEW.data_source, NEW.is_suspect)
    THEN
        NEW.corrected_at := GREATEST(now(), known_from + interval '1 microsecond');
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION keep_bar_revision() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
    replaced_at TIMESTAMP WITH TIME ZONE := now();
BEGIN
    IF TG_OP = 'UPDATE' THEN
        replaced_at := NEW.corrected_at;
    END IF;
    IF replaced_at > known_from THEN
        INSERT INTO price_revisions (ticker, date, replaced_at, id, open_price, high_price, low_price,
            close_price, volume, adjusted_close, data_source, is_suspect, created_at, corrected_at)
        VALUES (OLD.ticker, OLD.date, replaced_at, OLD.id, OLD.open_price, OLD.high_price,
            OLD.low_price, OLD.close_price, OLD.volume, OLD.adjusted_close, OLD.data_source,
            OLD.is_suspect, OLD.created_at, OLD.corrected_at)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END;
$$;

ALTER FUNCTION bars_digest(text) RESET search_path;
ALTER FUNCTION move_analysis_version() RESET search_path;
ALTER FUNCTION protect_audit_log() RESET search_path;

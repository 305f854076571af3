-- A function without a search_path of its own takes types and tables from the caller's temporary schema first. PL/pgSQL
-- keeps what it has found for the session: a function that somebody called with a type of their own, named as one of
-- ours, then ran that type's code inside of a function with the owner's rights. Every function of the schema looks up
-- names in it alone now; `tenant_id` is parsed here once, so that a statement can take it in.
CREATE OR REPLACE FUNCTION tenant_id() RETURNS UUID
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN NULLIF(current_setting('buffetbot.user_id', true), '')::uuid;

-- Ids of positions stand in the log beside those of portfolios: one named as another's portfolio got the entries of its
-- deletion.
CREATE OR REPLACE FUNCTION portfolio_owner(portfolio UUID) RETURNS UUID
    LANGUAGE plpgsql
AS $$
DECLARE
    owner UUID;
BEGIN
    SELECT user_id INTO owner FROM portfolios WHERE id = portfolio;
    IF NOT FOUND THEN
        SELECT user_id INTO owner FROM audit_log WHERE row_id = portfolio AND table_name = 'portfolios'
        ORDER BY recorded_at DESC LIMIT 1;
    END IF;
    RETURN owner;
END;
$$;

-- An account from the end of the calendar could not be changed any more.
CREATE OR REPLACE FUNCTION touch_updated_at() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    -- The clock may have been set back, or may not have moved a whole microsecond.
    NEW.updated_at := GREATEST(clock_timestamp(), LEAST(OLD.updated_at, '294000-01-01Z') + INTERVAL '1 microsecond');
    RETURN NEW;
END;
$$;

-- The version of a row that is inserted was the caller's to choose, and with it that of an entry of the cache's log: a
-- version that comes later anyway made other writers fail.
CREATE OR REPLACE FUNCTION move_cache_version() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.version := nextval('cache_version');
    NEW.revision :=
        CASE WHEN TG_OP = 'INSERT' OR NEW.data IS DISTINCT FROM OLD.data THEN NEW.version ELSE OLD.revision END;
    RETURN NEW;
END;
$$;

CREATE TRIGGER market_data_cache_version_starts
    BEFORE INSERT ON market_data_cache
    FOR EACH ROW EXECUTE FUNCTION move_cache_version();
CREATE TRIGGER analysis_results_version_starts
    BEFORE INSERT ON analysis_results
    FOR EACH ROW EXECUTE FUNCTION move_analysis_version();

-- A correction could be kept out of the revisions, by dating the bar anew or by storing a revision before.
CREATE OR REPLACE FUNCTION date_bar_correction() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
BEGIN
    IF (NEW.created_at, NEW.corrected_at) IS DISTINCT FROM (OLD.created_at, OLD.corrected_at)
        AND NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
    THEN
        RAISE insufficient_privilege USING MESSAGE = 'since when a bar is known is kept by a trigger';
    END IF;
    IF known_from <> now()
        AND (OLD.ticker, OLD.date, OLD.open_price, OLD.high_price, OLD.low_price, OLD.close_price,
                OLD.volume, OLD.adjusted_close, OLD.data_source, OLD.is_suspect)
            IS DISTINCT FROM (NEW.ticker, NEW.date, NEW.open_price, NEW.high_price, NEW.low_price,
                NEW.close_price, NEW.volume, NEW.adjusted_close, NEW.data_source, NEW.is_suspect)
    THEN
        NEW.corrected_at := GREATEST(now(), LEAST(known_from, '294000-01-01Z') + interval '1 microsecond');
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION keep_bar_revision() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
    replaced_at TIMESTAMP WITH TIME ZONE := now();
BEGIN
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('price_history') THEN
        RAISE insufficient_privilege USING MESSAGE = 'keep_bar_revision is a trigger of price_history only';
    END IF;
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

DO $$
DECLARE
    fixed REGPROCEDURE;
BEGIN
    FOR fixed IN
        SELECT unnest(ARRAY['bars_digest(text)', 'date_bar_correction()', 'keep_bar_revision()',
            'move_analysis_version()', 'move_cache_version()', 'portfolio_owner(uuid)', 'protect_audit_log()',
            'touch_updated_at()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', fixed, current_schema());
    END LOOP;
    REVOKE ALL ON FUNCTION portfolio_owner(uuid) FROM PUBLIC;
    REVOKE ALL ON FUNCTION keep_bar_revision() FROM PUBLIC;
END;
$$;

-- With a portfolio its results went, and the log of the cache kept their tickers and parameters for an hour, of which no
-- export and no erasure knew any more. The keys go with the portfolio now: one entry of it, without a key, says that all of
-- its results are to be forgotten.
CREATE FUNCTION forget_portfolios() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF TG_RELID IS DISTINCT FROM to_regclass('portfolios') THEN
        RAISE insufficient_privilege USING MESSAGE = 'forget_portfolios is a trigger of portfolios only';
    END IF;
    WITH forgotten AS (
        DELETE FROM cache_changes WHERE portfolio_id = ANY (ARRAY(SELECT id FROM replaced)) AND ticker IS NOT NULL
        RETURNING portfolio_id
    )
    INSERT INTO cache_changes (version, space, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', portfolio_id
    FROM (SELECT DISTINCT portfolio_id FROM forgotten) AS each;
    -- One that is locked is being stored under, which waits for the portfolio and then fails.
    DELETE FROM cache_leases WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM cache_leases WHERE portfolio_id = ANY (ARRAY(SELECT id FROM replaced))
        FOR UPDATE SKIP LOCKED));
    RETURN NULL;
END;
$$;

-- The trigger of the results that a cascade deletes runs after that of the portfolios.
CREATE OR REPLACE FUNCTION record_analysis_delete() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('analysis_results') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_analysis_delete is a trigger of analysis_results only';
    END IF;
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', ticker, analysis_type, parameters, portfolio_id
    FROM replaced
    WHERE (expires_at IS NULL OR GREATEST(expires_at, stale_until) > now())
        AND (portfolio_id IS NULL OR EXISTS (SELECT FROM portfolios WHERE portfolios.id = replaced.portfolio_id));
    INSERT INTO cache_changes (version, space, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', each.portfolio_id
    FROM (
        SELECT DISTINCT portfolio_id FROM replaced
        WHERE portfolio_id IS NOT NULL AND (expires_at IS NULL OR GREATEST(expires_at, stale_until) > now())
    ) AS each
    WHERE NOT EXISTS (SELECT FROM portfolios WHERE portfolios.id = each.portfolio_id)
        AND NOT EXISTS (
            SELECT FROM cache_changes told
            WHERE told.portfolio_id = each.portfolio_id AND told.ticker IS NULL
                AND told.transaction = pg_current_xact_id());
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION forget_portfolios() IS
    'Takes the keys of deleted portfolios out of the cache''s log, and their leases; one entry a portfolio stays';

CREATE TRIGGER portfolios_forget
    AFTER DELETE ON portfolios
    REFERENCING OLD TABLE AS replaced
    FOR EACH STATEMENT EXECUTE FUNCTION forget_portfolios();

DO $$
DECLARE
    definer REGPROCEDURE;
BEGIN
    FOR definer IN SELECT unnest(ARRAY['forget_portfolios()', 'record_analysis_delete()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
    END LOOP;
END;
$$;

-- Portfolios that were deleted before.
WITH forgotten AS (
    DELETE FROM cache_changes change
    WHERE portfolio_id IS NOT NULL AND ticker IS NOT NULL
        AND NOT EXISTS (SELECT FROM portfolios WHERE portfolios.id = change.portfolio_id)
    RETURNING portfolio_id
)
INSERT INTO cache_changes (version, space, portfolio_id)
SELECT nextval('cache_version'), 'analyses', portfolio_id
FROM (SELECT DISTINCT portfolio_id FROM forgotten) AS each;

DELETE FROM cache_leases lease
WHERE portfolio_id IS NOT NULL
    AND NOT EXISTS (SELECT FROM portfolios WHERE portfolios.id = lease.portfolio_id);

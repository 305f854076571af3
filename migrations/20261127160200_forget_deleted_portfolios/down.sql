DROP TRIGGER portfolios_forget ON portfolios;
DROP FUNCTION forget_portfolios();

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
    WHERE expires_at IS NULL OR GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION record_analysis_delete() SET search_path = %I, pg_temp', current_schema());
END;
$$;

-- The log is kept by triggers, so that it holds whoever writes. Once per statement: a batch of any size
-- is one insert. New entries are not in it, nobody has a copy; a new analysis stands before an older one.
CREATE FUNCTION record_cache_update() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT version, 'market_data', ticker, data_type, parameters FROM changed;
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT nextval('cache_version'), 'market_data', earlier.ticker, earlier.data_type, earlier.parameters
    FROM replaced earlier JOIN changed later USING (id)
    WHERE (earlier.ticker, earlier.data_type, earlier.parameters)
        IS DISTINCT FROM (later.ticker, later.data_type, later.parameters);
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_cache_delete() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT nextval('cache_version'), 'market_data', ticker, data_type, parameters FROM replaced
    WHERE GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_analysis_insert() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT version, 'analyses', ticker, analysis_type, parameters, portfolio_id FROM changed
    WHERE expires_at IS NULL OR GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_analysis_update() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT version, 'analyses', ticker, analysis_type, parameters, portfolio_id FROM changed;
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', earlier.ticker, earlier.analysis_type, earlier.parameters,
        earlier.portfolio_id
    FROM replaced earlier JOIN changed later USING (id)
    WHERE (earlier.ticker, earlier.analysis_type, earlier.parameters, earlier.portfolio_id)
        IS DISTINCT FROM (later.ticker, later.analysis_type, later.parameters, later.portfolio_id);
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_analysis_delete() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', ticker, analysis_type, parameters, portfolio_id
    FROM replaced
    WHERE expires_at IS NULL OR GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_cache_truncate() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space)
    VALUES (nextval('cache_version'),
        CASE TG_TABLE_NAME WHEN 'analysis_results' THEN 'analyses' ELSE 'market_data' END);
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION record_cache_update() IS 'Logs entries that were changed, under both keys where those differ';
COMMENT ON FUNCTION record_cache_delete() IS 'Logs entries that were deleted while they could be served';
COMMENT ON FUNCTION record_analysis_insert() IS 'Logs new results that can be served';
COMMENT ON FUNCTION record_analysis_update() IS 'Logs results that were changed, under both keys where those differ';
COMMENT ON FUNCTION record_analysis_delete() IS 'Logs results that were deleted while they could be served';
COMMENT ON FUNCTION record_cache_truncate() IS 'Logs that every key of a table is gone';

CREATE TRIGGER market_data_cache_record_update
    AFTER UPDATE ON market_data_cache
    REFERENCING OLD TABLE AS replaced NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION record_cache_update();
CREATE TRIGGER market_data_cache_record_delete
    AFTER DELETE ON market_data_cache
    REFERENCING OLD TABLE AS replaced
    FOR EACH STATEMENT EXECUTE FUNCTION record_cache_delete();
CREATE TRIGGER market_data_cache_record_truncate
    AFTER TRUNCATE ON market_data_cache
    FOR EACH STATEMENT EXECUTE FUNCTION record_cache_truncate();
CREATE TRIGGER analysis_results_record_insert
    AFTER INSERT ON analysis_results
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_insert();
CREATE TRIGGER analysis_results_record_update
    AFTER UPDATE ON analysis_results
    REFERENCING OLD TABLE AS replaced NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_update();
CREATE TRIGGER analysis_results_record_delete
    AFTER DELETE ON analysis_results
    REFERENCING OLD TABLE AS replaced
    FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_delete();
CREATE TRIGGER analysis_results_record_truncate
    AFTER TRUNCATE ON analysis_results
    FOR EACH STATEMENT EXECUTE FUNCTION record_cache_truncate();

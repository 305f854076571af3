-- The log is kept by triggers, so that it holds whoever writes. Once per statement: a batch of any size
-- is one insert. New entries are not in it, nobody has a copy; a new analysis stands before an older one.
-- No function joins the rows before with those after: a session plans the join once, for the few rows of
-- its first change, and would take hours for a large one. That a key changes is rare, and told row by row.
CREATE FUNCTION record_cache_update() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT version, 'market_data', ticker, data_type, parameters FROM changed;
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_cache_move() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    VALUES (nextval('cache_version'), 'market_data', OLD.ticker, OLD.data_type, OLD.parameters);
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
    RETURN NULL;
END;
$$;

CREATE FUNCTION record_analysis_move() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    VALUES (nextval('cache_version'), 'analyses', OLD.ticker, OLD.analysis_type, OLD.parameters,
        OLD.portfolio_id);
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

COMMENT ON FUNCTION record_cache_update() IS 'Logs entries that were changed';
COMMENT ON FUNCTION record_cache_move() IS 'Logs the key that an entry had before it got another one';
COMMENT ON FUNCTION record_cache_delete() IS 'Logs entries that were deleted while they could be served';
COMMENT ON FUNCTION record_analysis_insert() IS 'Logs new results that can be served';
COMMENT ON FUNCTION record_analysis_update() IS 'Logs results that were changed';
COMMENT ON FUNCTION record_analysis_move() IS 'Logs the key that a result had before it got another one';
COMMENT ON FUNCTION record_analysis_delete() IS 'Logs results that were deleted while they could be served';
COMMENT ON FUNCTION record_cache_truncate() IS 'Logs that every key of a table is gone';

CREATE TRIGGER market_data_cache_record_update
    AFTER UPDATE ON market_data_cache
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION record_cache_update();
CREATE TRIGGER market_data_cache_record_move
    AFTER UPDATE ON market_data_cache
    FOR EACH ROW
    WHEN ((OLD.ticker, OLD.data_type, OLD.parameters)
        IS DISTINCT FROM (NEW.ticker, NEW.data_type, NEW.parameters))
    EXECUTE FUNCTION record_cache_move();
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
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_update();
CREATE TRIGGER analysis_results_record_move
    AFTER UPDATE ON analysis_results
    FOR EACH ROW
    WHEN ((OLD.ticker, OLD.analysis_type, OLD.parameters, OLD.portfolio_id)
        IS DISTINCT FROM (NEW.ticker, NEW.analysis_type, NEW.parameters, NEW.portfolio_id))
    EXECUTE FUNCTION record_analysis_move();
CREATE TRIGGER analysis_results_record_delete
    AFTER DELETE ON analysis_results
    REFERENCING OLD TABLE AS replaced
    FOR EACH STATEMENT EXECUTE FUNCTION record_analysis_delete();
CREATE TRIGGER analysis_results_record_truncate
    AFTER TRUNCATE ON analysis_results
    FOR EACH STATEMENT EXECUTE FUNCTION record_cache_truncate();

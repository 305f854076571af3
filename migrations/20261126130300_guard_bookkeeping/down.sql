DROP FUNCTION sweep_cache_log();

CREATE OR REPLACE FUNCTION record_cache_move() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    VALUES (nextval('cache_version'), 'market_data', OLD.ticker, OLD.data_type, OLD.parameters);
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_cache_truncate() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space)
    VALUES (nextval('cache_version'),
        CASE TG_TABLE_NAME WHEN 'analysis_results' THEN 'analyses' ELSE 'market_data' END);
    RETURN NULL;
END;
$$;

DROP POLICY tenant ON cache_leases;
CREATE POLICY tenant ON cache_leases
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));
DROP POLICY tenant ON cache_changes;
CREATE POLICY tenant ON cache_changes
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));

DO $$
DECLARE
    policy NAME;
BEGIN
    -- Whatever policies were added for roles beside these go with them.
    FOR policy IN SELECT polname FROM pg_policy WHERE polrelid = 'event_consumers'::regclass LOOP
        EXECUTE format('DROP POLICY %I ON event_consumers', policy);
    END LOOP;
    ALTER TABLE event_consumers NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY;
END;
$$;

-- A transaction that names a user could move or delete the consumers of events, delete the log of cache changes before
-- other processes had read it, and hold the lease of any key. Of the bookkeeping it can do now what its own statements
-- need: read it, and take leases away from fetches that an invalidation makes worthless. A program that names no user
-- (also one whose login is a member of the application role alone) has consumers and leases of public keys.
CREATE POLICY tenant ON event_consumers USING ((SELECT tenant_id()) IS NULL);

DROP POLICY tenant ON cache_leases;
CREATE POLICY tenant ON cache_leases
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))))
    WITH CHECK (portfolio_id IS NULL AND (SELECT tenant_id()) IS NULL);

-- Its entries are written by triggers and deleted by `sweep_cache_log`.
DROP POLICY tenant ON cache_changes;
CREATE POLICY tenant ON cache_changes FOR SELECT
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));

CREATE OR REPLACE FUNCTION record_cache_move() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('market_data_cache') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_cache_move is a trigger of market_data_cache only';
    END IF;
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    VALUES (nextval('cache_version'), 'market_data', OLD.ticker, OLD.data_type, OLD.parameters);
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_cache_truncate() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF TG_RELID NOT IN (to_regclass('market_data_cache'), to_regclass('analysis_results')) IS NOT FALSE THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'record_cache_truncate is a trigger of market_data_cache and analysis_results only';
    END IF;
    INSERT INTO cache_changes (version, space)
    VALUES (nextval('cache_version'),
        CASE TG_TABLE_NAME WHEN 'analysis_results' THEN 'analyses' ELSE 'market_data' END);
    RETURN NULL;
END;
$$;

-- Changes are kept for an hour, by which time every process has read them or starts anew; leases for an hour after they
-- ran out, those of failures among them.
CREATE FUNCTION sweep_cache_log() RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    changes BIGINT;
    leases BIGINT;
BEGIN
    WITH doomed AS MATERIALIZED (
        SELECT version FROM cache_changes WHERE changed_at < now() - INTERVAL '1 hour'
        ORDER BY transaction LIMIT 10000 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM cache_changes c USING doomed WHERE c.version = doomed.version;
    GET DIAGNOSTICS changes = ROW_COUNT;
    WITH doomed AS MATERIALIZED (
        SELECT ticker, name, parameters_key, space, portfolio_id FROM cache_leases
        WHERE expires_at < now() - INTERVAL '1 hour'
        ORDER BY expires_at LIMIT 10000 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM cache_leases l USING doomed d
    WHERE (l.ticker, l.name, l.parameters_key, l.space) = (d.ticker, d.name, d.parameters_key, d.space)
        AND l.portfolio_id IS NOT DISTINCT FROM d.portfolio_id;
    GET DIAGNOSTICS leases = ROW_COUNT;
    RETURN changes + leases;
END;
$$;

COMMENT ON FUNCTION sweep_cache_log() IS
    'Deletes up to 10,000 changes and as many leases of the cache that are an hour past their use; returns how many';

DO $$
DECLARE
    owner CONSTANT NAME := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'event_consumers'::regclass);
    definer REGPROCEDURE;
    grantee REGROLE;
BEGIN
    ALTER TABLE event_consumers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    EXECUTE format('CREATE POLICY owner ON event_consumers TO %I USING (true)', owner);
    FOR definer IN
        SELECT unnest(ARRAY['record_cache_move()', 'record_cache_truncate()', 'sweep_cache_log()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
    END LOOP;
    FOR grantee IN
        SELECT acl.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.privilege_type = 'DELETE' AND acl.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION sweep_cache_log() TO %s', grantee);
    END LOOP;
END;
$$;

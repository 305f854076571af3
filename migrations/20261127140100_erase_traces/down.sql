CREATE FUNCTION erase_audit_entries(account UUID) RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    erased BIGINT;
BEGIN
    IF account IS NULL OR EXISTS (SELECT FROM users WHERE id = account) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only of an account that is gone';
    END IF;
    PERFORM set_config('buffetbot.audit_log', 'may shrink', true);
    UPDATE audit_log SET before = NULL, after = NULL WHERE user_id = account;
    GET DIAGNOSTICS erased = ROW_COUNT;
    PERFORM set_config('buffetbot.audit_log', '', true);
    RETURN erased;
END;
$$;

CREATE FUNCTION erase_own_audit_entries() RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    RETURN erase_audit_entries(tenant_id());
END;
$$;

CREATE OR REPLACE FUNCTION erase_audit(account UUID) RETURNS BIGINT
    LANGUAGE plpgsql
AS $$
BEGIN
    IF tenant_id() IS NULL THEN
        RETURN erase_audit_entries(account);
    ELSIF tenant_id() = account THEN
        RETURN erase_own_audit_entries();
    END IF;
    RAISE insufficient_privilege USING MESSAGE = 'only of the named user';
END;
$$;

COMMENT ON FUNCTION erase_audit(UUID) IS
    'Takes the values out of the log''s entries on an account that is gone, as far as the caller may';
COMMENT ON FUNCTION erase_audit_entries(UUID) IS 'erase_audit for any account, by the maintenance role';
COMMENT ON FUNCTION erase_own_audit_entries() IS 'erase_audit for the named user, by the application role';

DO $$
DECLARE
    former REGPROCEDURE;
    grantee REGROLE;
BEGIN
    FOR former IN
        SELECT unnest(ARRAY['erase_audit(uuid)', 'erase_audit_entries(uuid)', 'erase_own_audit_entries()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', former, current_schema());
    END LOOP;
    REVOKE ALL ON FUNCTION erase_audit_entries(uuid) FROM PUBLIC;
    REVOKE ALL ON FUNCTION erase_own_audit_entries() FROM PUBLIC;
    FOR former, grantee IN
        SELECT CASE p.proname WHEN 'erase_traces_of' THEN 'erase_audit_entries(uuid)'::regprocedure
            ELSE 'erase_own_audit_entries()'::regprocedure END, acl.grantee
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) acl
        WHERE p.oid = ANY (ARRAY['erase_traces_of(uuid[])', 'erase_own_traces()']::regprocedure[])
            AND acl.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', former, grantee);
    END LOOP;
END;
$$;

-- What they say of a whole portfolio is that of the whole space.
UPDATE cache_changes SET portfolio_id = NULL WHERE ticker IS NULL;
COMMENT ON COLUMN cache_changes.ticker IS 'Ticker of the key; NULL: every key of the space';

DROP INDEX events_user_idx;
DROP INDEX cache_changes_portfolio_idx;
DROP INDEX cache_leases_portfolio_idx;
DROP FUNCTION erase_traces(UUID[]);
DROP FUNCTION erase_own_traces();
DROP FUNCTION erase_traces_of(UUID[]);

-- Anybody could take the values out of the log of a deleted account: where no user is named, the check compared with NULL
-- and let the call pass. Who may do what is a matter of rights now: the maintenance role may erase for any account that
-- is gone, the application role for the named user alone. `erase_audit` runs with the caller's rights and picks one.
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

-- The roles that a database is used as already; `Database::create_roles` does it for others.
DO $$
DECLARE
    grantee REGROLE;
BEGIN
    EXECUTE format('ALTER FUNCTION erase_audit(uuid) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION erase_audit_entries(uuid) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION erase_own_audit_entries() SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION erase_audit_entries(uuid) FROM PUBLIC;
    REVOKE ALL ON FUNCTION erase_own_audit_entries() FROM PUBLIC;
    FOR grantee IN
        SELECT acl.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.privilege_type = 'DELETE' AND acl.grantee NOT IN (0, c.relowner)
    LOOP
        IF grantee::text = 'buffetbot_maintenance' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION erase_audit_entries(uuid) TO %s', grantee);
        END IF;
        EXECUTE format('GRANT EXECUTE ON FUNCTION erase_own_audit_entries() TO %s', grantee);
    END LOOP;
END;
$$;

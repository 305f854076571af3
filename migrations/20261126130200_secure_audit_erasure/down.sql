-- The function as it was, but for those only who may delete accounts, and without a name for the tables' owner alone:
-- nobody else needs more of an earlier version.
CREATE OR REPLACE FUNCTION erase_audit(account UUID) RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    erased BIGINT;
BEGIN
    IF COALESCE(tenant_id() <> account, NOT pg_has_role(session_user,
            (SELECT relowner FROM pg_class WHERE oid = 'users'::regclass), 'USAGE'))
        OR EXISTS (SELECT FROM users WHERE id = account)
    THEN
        RAISE insufficient_privilege USING MESSAGE = 'only of an account that is gone';
    END IF;
    PERFORM set_config('buffetbot.audit_log', 'may shrink', true);
    UPDATE audit_log SET before = NULL, after = NULL WHERE user_id = account;
    GET DIAGNOSTICS erased = ROW_COUNT;
    PERFORM set_config('buffetbot.audit_log', '', true);
    RETURN erased;
END;
$$;

COMMENT ON FUNCTION erase_audit(UUID) IS 'Takes the values out of the log''s entries on an account that is gone';

DROP FUNCTION erase_own_audit_entries();
DROP FUNCTION erase_audit_entries(UUID);

DO $$
DECLARE
    grantee REGROLE;
BEGIN
    EXECUTE format('ALTER FUNCTION erase_audit(uuid) SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION erase_audit(uuid) FROM PUBLIC;
    FOR grantee IN
        SELECT acl.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.privilege_type = 'DELETE' AND acl.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION erase_audit(uuid) TO %s', grantee);
    END LOOP;
END;
$$;

-- A user could raise her own account: verify it, activate it again after it was deactivated, set a password without
-- knowing the old one. By the application role names, address, preferences and the time of the last login are changed;
-- the rest is the platform's. Another address is not verified. Deleted and made again, an account would be active: an id
-- that the audit log knows is not taken a second time.
--
-- The rule goes by the role and not by the name that is set: a name can change while a statement runs. The owner of the
-- tables is let through, and with the owner the functions that run with the owner's rights, and maintenance.
CREATE FUNCTION account_is_known(account UUID) RETURNS BOOLEAN
    LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT EXISTS (SELECT FROM audit_log WHERE user_id = $1 AND row_id = $1 AND table_name = 'users')
$$;

CREATE FUNCTION protect_account() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    IF pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
        OR EXISTS (SELECT FROM pg_roles
            WHERE rolname = 'buffetbot_maintenance' AND pg_has_role(current_user, oid, 'USAGE'))
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' THEN
        IF NEW.is_verified OR account_is_known(NEW.id) THEN
            RAISE insufficient_privilege USING MESSAGE = 'a user makes no verified account, and none a second time';
        END IF;
        NEW.is_active := true;
        NEW.created_at := now();
        NEW.updated_at := now();
        NEW.last_login_at := NULL;
        RETURN NEW;
    END IF;
    -- Of letters beyond ASCII, two of one lower case may be two addresses.
    IF lower(NEW.email COLLATE "C") IS DISTINCT FROM lower(OLD.email COLLATE "C") THEN
        NEW.is_verified := false;
    ELSIF NEW.is_verified IS DISTINCT FROM OLD.is_verified THEN
        RAISE insufficient_privilege USING MESSAGE = 'a user does not verify an account';
    END IF;
    IF (NEW.is_active, NEW.hashed_password, NEW.created_at)
        IS DISTINCT FROM (OLD.is_active, OLD.hashed_password, OLD.created_at)
    THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a user changes neither is_active nor hashed_password nor created_at';
    END IF;
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION account_is_known(UUID) IS 'Whether the audit log has an account of this id, present or gone';
COMMENT ON FUNCTION protect_account() IS
    'Refuses the application role what only the platform may change of an account; a new address is not verified';

CREATE TRIGGER users_protect_insert
    BEFORE INSERT ON users
    FOR EACH ROW EXECUTE FUNCTION protect_account();
CREATE TRIGGER users_protect_update
    BEFORE UPDATE ON users
    FOR EACH ROW
    WHEN ((OLD.email, OLD.is_verified, OLD.is_active, OLD.hashed_password, OLD.created_at)
        IS DISTINCT FROM (NEW.email, NEW.is_verified, NEW.is_active, NEW.hashed_password, NEW.created_at))
    EXECUTE FUNCTION protect_account();

DO $$
DECLARE
    grantee REGROLE;
BEGIN
    EXECUTE format('ALTER FUNCTION protect_account() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION account_is_known(uuid) SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION account_is_known(uuid) FROM PUBLIC;
    FOR grantee IN
        SELECT acl.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
        WHERE c.oid = 'users'::regclass AND acl.privilege_type = 'DELETE' AND acl.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION account_is_known(uuid) TO %s', grantee);
    END LOOP;
END;
$$;

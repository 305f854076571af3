-- A user could raise her own account: verify it, activate it again after it was deactivated, set a password without
-- knowing the old one. A transaction that names a user changes names, address, preferences and the time of the last
-- login; the rest is the platform's. Another address is not verified.
--
-- The owner of the tables is let through, and with the owner the functions that run with the owner's rights.
CREATE FUNCTION protect_account() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    IF tenant_id() IS NULL
        OR pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
    THEN
        RETURN NEW;
    END IF;
    IF TG_OP = 'INSERT' THEN
        RAISE insufficient_privilege USING MESSAGE = 'a user makes no verified account';
    END IF;
    IF lower(NEW.email) IS DISTINCT FROM lower(OLD.email) THEN
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

COMMENT ON FUNCTION protect_account() IS
    'Refuses in a user''s name what only the platform may change of an account; a new address is not verified';

CREATE TRIGGER users_protect_insert
    BEFORE INSERT ON users
    FOR EACH ROW
    WHEN (NEW.is_verified)
    EXECUTE FUNCTION protect_account();
CREATE TRIGGER users_protect_update
    BEFORE UPDATE ON users
    FOR EACH ROW
    WHEN ((OLD.email, OLD.is_verified, OLD.is_active, OLD.hashed_password, OLD.created_at)
        IS DISTINCT FROM (NEW.email, NEW.is_verified, NEW.is_active, NEW.hashed_password, NEW.created_at))
    EXECUTE FUNCTION protect_account();

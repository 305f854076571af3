-- Nothing said who had changed an account or a holding, when, and what it was before. Triggers write it down,
-- whoever writes, in the transaction of the change.
CREATE TABLE audit_log (
    id UUID NOT NULL DEFAULT gen_random_uuid(),
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp(),
    user_id UUID NOT NULL,
    actor_id UUID,
    login TEXT NOT NULL,
    table_name TEXT NOT NULL CHECK (table_name IN ('users', 'portfolios', 'positions')),
    row_id UUID NOT NULL,
    operation TEXT NOT NULL CHECK (operation IN ('insert', 'update', 'delete')),
    before JSONB,
    after JSONB,

    PRIMARY KEY (user_id, recorded_at, id)
);

CREATE INDEX audit_log_row_idx ON audit_log (row_id, recorded_at);
CREATE INDEX audit_log_recorded_idx ON audit_log (recorded_at);

COMMENT ON TABLE audit_log IS
    'Changes of accounts, portfolios and positions, kept by triggers; only added to, until retention or erasure';
COMMENT ON COLUMN audit_log.id IS 'Key of the entry';
COMMENT ON COLUMN audit_log.recorded_at IS 'When the row was changed, not when that was committed';
COMMENT ON COLUMN audit_log.user_id IS 'Whose row it is; the account may be gone';
COMMENT ON COLUMN audit_log.actor_id IS 'In which user''s name it was changed; NULL: in nobody''s, by the program itself';
COMMENT ON COLUMN audit_log.login IS 'Login of the session that changed it';
COMMENT ON COLUMN audit_log.table_name IS 'users, portfolios or positions';
COMMENT ON COLUMN audit_log.row_id IS 'Id of the row';
COMMENT ON COLUMN audit_log.operation IS 'insert, update or delete';
COMMENT ON COLUMN audit_log.before IS
    'Columns as they were, of an update those that changed; a password hash never; NULL: an insert, or erased';
COMMENT ON COLUMN audit_log.after IS
    'Columns as they are since, of an update those that changed; a password hash never; NULL: a deletion, or erased';

COMMENT ON INDEX audit_log_pkey IS 'Changes of a user''s rows, by time';
COMMENT ON INDEX audit_log_row_idx IS 'Changes of one row; the owner of a portfolio that is gone';
COMMENT ON INDEX audit_log_recorded_idx IS 'Retention: the oldest first';

-- The deletion of a portfolio is in the log before those of its positions, which it brings about. The language keeps
-- its plans from one row to the next.
CREATE FUNCTION portfolio_owner(portfolio UUID) RETURNS UUID
    LANGUAGE plpgsql
AS $$
DECLARE
    owner UUID;
BEGIN
    SELECT user_id INTO owner FROM portfolios WHERE id = portfolio;
    IF NOT FOUND THEN
        SELECT user_id INTO owner FROM audit_log WHERE row_id = portfolio
        ORDER BY recorded_at DESC LIMIT 1;
    END IF;
    RETURN owner;
END;
$$;

CREATE FUNCTION record_audit() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    was CONSTANT JSONB := to_jsonb(OLD);
    becomes CONSTANT JSONB := to_jsonb(NEW);
    changed CONSTANT JSONB := COALESCE(becomes, was);
    row_before JSONB;
    row_after JSONB;
    owner UUID;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT jsonb_object_agg(field.key, field.value), jsonb_object_agg(field.key, becomes -> field.key)
        INTO row_before, row_after
        FROM jsonb_each(was) field
        WHERE field.value IS DISTINCT FROM becomes -> field.key AND field.key <> 'updated_at';
        IF row_before IS NULL THEN
            RETURN NULL;
        END IF;
        -- That another password was set is told, and nothing else of it.
        IF row_before ? 'hashed_password' THEN
            row_before := row_before || '{"hashed_password": null}';
            row_after := row_after || '{"hashed_password": "changed"}';
        END IF;
    ELSE
        row_before := was - ARRAY['hashed_password', 'updated_at'];
        row_after := becomes - ARRAY['hashed_password', 'updated_at'];
    END IF;
    owner := CASE TG_TABLE_NAME
        WHEN 'users' THEN (changed ->> 'id')::uuid
        WHEN 'portfolios' THEN (changed ->> 'user_id')::uuid
        ELSE portfolio_owner((changed ->> 'portfolio_id')::uuid)
    END;
    INSERT INTO audit_log (user_id, actor_id, login, table_name, row_id, operation, before, after)
    VALUES (owner, tenant_id(), session_user, TG_TABLE_NAME, (changed ->> 'id')::uuid, lower(TG_OP),
        row_before, row_after);
    RETURN NULL;
END;
$$;

-- Against accidents; who owns the table can always lift it.
CREATE FUNCTION protect_audit_log() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    IF current_setting('buffetbot.audit_log', true) IS DISTINCT FROM 'may shrink' THEN
        RAISE insufficient_privilege USING MESSAGE = 'audit_log is only added to';
    END IF;
    RETURN NULL;
END;
$$;

-- What is left of who has the right to be forgotten: that something was changed, when and where.
CREATE FUNCTION erase_audit(account UUID) RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    erased BIGINT;
BEGIN
    IF tenant_id() <> account OR EXISTS (SELECT FROM users WHERE id = account) THEN
        RAISE insufficient_privilege USING MESSAGE = 'only of an account that is gone';
    END IF;
    PERFORM set_config('buffetbot.audit_log', 'may shrink', true);
    UPDATE audit_log SET before = NULL, after = NULL WHERE user_id = account;
    GET DIAGNOSTICS erased = ROW_COUNT;
    PERFORM set_config('buffetbot.audit_log', '', true);
    RETURN erased;
END;
$$;

COMMENT ON FUNCTION portfolio_owner(UUID) IS 'The user whose portfolio it is or was';
COMMENT ON FUNCTION record_audit() IS 'Writes a change of a row down';
COMMENT ON FUNCTION protect_audit_log() IS 'Refuses changes of the log but by retention and erasure';
COMMENT ON FUNCTION erase_audit(UUID) IS 'Takes the values out of the log''s entries on an account that is gone';

CREATE TRIGGER users_record_audit
    AFTER INSERT OR UPDATE OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION record_audit();
CREATE TRIGGER portfolios_record_audit
    AFTER INSERT OR UPDATE OR DELETE ON portfolios FOR EACH ROW EXECUTE FUNCTION record_audit();
CREATE TRIGGER positions_record_audit
    AFTER INSERT OR UPDATE OR DELETE ON positions FOR EACH ROW EXECUTE FUNCTION record_audit();
CREATE TRIGGER audit_log_protect
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION protect_audit_log();

CREATE POLICY tenant ON audit_log USING (user_id = (SELECT tenant_id()));

DO $$
DECLARE
    owner CONSTANT NAME := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'audit_log'::regclass);
    definer REGPROCEDURE;
BEGIN
    ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    EXECUTE format('CREATE POLICY owner ON audit_log TO %I USING (true)', owner);
    FOR definer IN SELECT unnest(ARRAY['record_audit()', 'erase_audit(uuid)']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
END;
$$;

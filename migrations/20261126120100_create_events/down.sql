DROP TRIGGER price_history_tell_insert ON price_history;
DROP TRIGGER price_history_tell_update ON price_history;
DROP TRIGGER price_history_tell_delete ON price_history;
DROP FUNCTION tell_prices();

CREATE OR REPLACE FUNCTION record_analysis_insert() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT version, 'analyses', ticker, analysis_type, parameters, portfolio_id FROM changed
    WHERE expires_at IS NULL OR GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION record_analysis_insert() IS 'Logs new results that can be served';

CREATE OR REPLACE FUNCTION record_cache_update() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT version, 'market_data', ticker, data_type, parameters FROM changed;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION record_cache_update() IS 'Logs entries that were changed';

CREATE OR REPLACE FUNCTION record_cache_delete() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT nextval('cache_version'), 'market_data', ticker, data_type, parameters FROM replaced
    WHERE GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION record_cache_delete() IS 'Logs entries that were deleted while they could be served';

CREATE OR REPLACE FUNCTION record_audit() RETURNS TRIGGER
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
COMMENT ON FUNCTION record_audit() IS 'Writes a change of a row down';

-- As they were left.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION record_analysis_insert() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION record_audit() SET search_path = %I, pg_temp', current_schema());
END;
$$;

DROP TABLE event_consumers;
DROP TABLE events;
DROP SEQUENCE events_id_seq;

-- The functions as they were. That only their owner may attach them stays: no earlier version of the program needs more.
CREATE OR REPLACE FUNCTION record_analysis_insert() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT version, 'analyses', ticker, analysis_type, parameters, portfolio_id FROM changed
    WHERE expires_at IS NULL OR GREATEST(expires_at, stale_until) > now();
    INSERT INTO events (kind, user_id, ticker, payload)
    SELECT 'analysis_saved', CASE WHEN portfolio_id IS NOT NULL THEN portfolio_owner(portfolio_id) END, ticker,
        jsonb_build_object('analysis', id, 'portfolio', portfolio_id, 'analysis_type', analysis_type)
    FROM changed;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_analysis_update() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT version, 'analyses', ticker, analysis_type, parameters, portfolio_id FROM changed;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_analysis_move() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    VALUES (nextval('cache_version'), 'analyses', OLD.ticker, OLD.analysis_type, OLD.parameters,
        OLD.portfolio_id);
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_analysis_delete() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', ticker, analysis_type, parameters, portfolio_id
    FROM replaced
    WHERE expires_at IS NULL OR GREATEST(expires_at, stale_until) > now();
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_cache_update() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT version, 'market_data', ticker, data_type, parameters FROM changed;
    INSERT INTO events (kind, ticker, payload)
    SELECT 'cache_invalidated', ticker, jsonb_build_object('data_type', data_type, 'parameters', parameters)
    FROM changed WHERE expires_at <= now();
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_cache_delete() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    INSERT INTO cache_changes (version, space, ticker, name, parameters)
    SELECT nextval('cache_version'), 'market_data', ticker, data_type, parameters FROM replaced
    WHERE GREATEST(expires_at, stale_until) > now();
    INSERT INTO events (kind, ticker, payload)
    SELECT 'cache_invalidated', ticker, jsonb_build_object('data_type', data_type, 'parameters', parameters)
    FROM replaced WHERE expires_at > now();
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION tell_prices() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO events (kind, ticker, payload)
        SELECT 'prices_updated', ticker, jsonb_build_object('change', 'delete', 'first', min(date),
            'last', max(date), 'bars', count(*))
        FROM replaced GROUP BY ticker;
    ELSE
        INSERT INTO events (kind, ticker, payload)
        SELECT 'prices_updated', ticker, jsonb_build_object('change', lower(TG_OP), 'first', min(date),
            'last', max(date), 'bars', count(*))
        FROM changed GROUP BY ticker;
    END IF;
    RETURN NULL;
END;
$$;

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
    IF TG_TABLE_NAME = 'positions' THEN
        INSERT INTO events (kind, user_id, ticker, payload)
        VALUES ('position_changed', owner, changed ->> 'ticker', jsonb_build_object(
            'change', lower(TG_OP), 'position', changed -> 'id', 'portfolio', changed -> 'portfolio_id'));
    END IF;
    RETURN NULL;
END;
$$;

DO $$
DECLARE
    definer REGPROCEDURE;
BEGIN
    FOR definer IN
        SELECT unnest(ARRAY['record_analysis_insert()', 'record_analysis_update()', 'record_analysis_move()',
            'record_analysis_delete()', 'record_cache_update()', 'record_cache_delete()', 'tell_prices()',
            'record_audit()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
END;
$$;

-- These functions run with the rights of the tables' owner. Anybody who could log in could attach one to a temporary
-- table of a type whose cast runs other code, and that code then ran as the owner. Two locks now: only the owner may
-- attach them, and each refuses to run for a table that is not its own, which holds also where somebody grants EXECUTE
-- again. A trigger needs no right to fire, only to be made.
--
-- Tables are compared by identity. Of a partition the root counts, and after `partition_by_year` has put another table
-- in the place of price_history, the name leads to that one.
CREATE OR REPLACE FUNCTION record_analysis_insert() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('analysis_results') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_analysis_insert is a trigger of analysis_results only';
    END IF;
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
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('analysis_results') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_analysis_update is a trigger of analysis_results only';
    END IF;
    INSERT INTO cache_changes (version, space, ticker, name, parameters, portfolio_id)
    SELECT version, 'analyses', ticker, analysis_type, parameters, portfolio_id FROM changed;
    RETURN NULL;
END;
$$;

CREATE OR REPLACE FUNCTION record_analysis_move() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('analysis_results') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_analysis_move is a trigger of analysis_results only';
    END IF;
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
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('analysis_results') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_analysis_delete is a trigger of analysis_results only';
    END IF;
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
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('market_data_cache') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_cache_update is a trigger of market_data_cache only';
    END IF;
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
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('market_data_cache') THEN
        RAISE insufficient_privilege USING MESSAGE = 'record_cache_delete is a trigger of market_data_cache only';
    END IF;
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
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('price_history') THEN
        RAISE insufficient_privilege USING MESSAGE = 'tell_prices is a trigger of price_history only';
    END IF;
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

-- By name, because this one runs for each row: none of the three tables has partitions. A cast of a foreign table's
-- column runs the code of that column's type, so nothing is converted before the check.
CREATE OR REPLACE FUNCTION record_audit() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    was JSONB;
    becomes JSONB;
    changed JSONB;
    row_before JSONB;
    row_after JSONB;
    owner UUID;
BEGIN
    IF TG_TABLE_SCHEMA IS DISTINCT FROM current_schema()
        OR TG_TABLE_NAME NOT IN ('users', 'portfolios', 'positions')
    THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'record_audit is a trigger of users, portfolios and positions only';
    END IF;
    was := to_jsonb(OLD);
    becomes := to_jsonb(NEW);
    changed := COALESCE(becomes, was);
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
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
    END LOOP;
END;
$$;

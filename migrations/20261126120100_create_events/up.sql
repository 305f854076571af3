-- A program that wanted to know of changes had to ask again and again. Triggers write events in the transaction of the
-- change: there is one exactly where the change is committed. Readers take what their last snapshot did not see, so
-- that none is missed, in whichever order transactions commit.
CREATE SEQUENCE events_id_seq AS BIGINT;

COMMENT ON SEQUENCE events_id_seq IS 'Ids of events';

CREATE TABLE events (
    transaction XID8 NOT NULL DEFAULT pg_current_xact_id(),
    id BIGINT NOT NULL DEFAULT nextval('events_id_seq'),
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT clock_timestamp(),
    kind TEXT NOT NULL
        CHECK (kind IN ('prices_updated', 'analysis_saved', 'position_changed', 'cache_invalidated')),
    user_id UUID,
    ticker VARCHAR(32) NOT NULL,
    payload JSONB NOT NULL,

    PRIMARY KEY (transaction, id)
);

CREATE INDEX events_recorded_idx ON events (recorded_at);

COMMENT ON TABLE events IS 'What has changed, for subscribers and consumers; kept by triggers, swept by age';
COMMENT ON COLUMN events.transaction IS 'The transaction of the change';
COMMENT ON COLUMN events.id IS 'Grows with each event; of two changes of one row the later has the greater';
COMMENT ON COLUMN events.recorded_at IS 'When it happened, not when it was committed';
COMMENT ON COLUMN events.kind IS 'prices_updated, analysis_saved, position_changed or cache_invalidated';
COMMENT ON COLUMN events.user_id IS 'The user whom alone it concerns; NULL: everybody';
COMMENT ON COLUMN events.ticker IS 'Market symbol that it is about';
COMMENT ON COLUMN events.payload IS 'The rest, by kind';

COMMENT ON INDEX events_pkey IS 'Events that a snapshot did not see';
COMMENT ON INDEX events_recorded_idx IS 'Retention: the oldest first';

CREATE TABLE event_consumers (
    name VARCHAR(100) PRIMARY KEY,
    seen PG_SNAPSHOT NOT NULL,
    reading PG_SNAPSHOT,
    after_transaction XID8 NOT NULL DEFAULT '0',
    after_id BIGINT NOT NULL DEFAULT 0,
    moved_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);

COMMENT ON TABLE event_consumers IS 'How far each durable consumer of events is';
COMMENT ON COLUMN event_consumers.name IS 'Name of the consumer';
COMMENT ON COLUMN event_consumers.seen IS 'Every event that this snapshot sees is consumed';
COMMENT ON COLUMN event_consumers.reading IS 'Of what this snapshot sees beyond that, a part is consumed; NULL: none';
COMMENT ON COLUMN event_consumers.after_transaction IS 'The part ends with the event of this transaction';
COMMENT ON COLUMN event_consumers.after_id IS '... and this id';
COMMENT ON COLUMN event_consumers.moved_at IS 'When the consumer last moved on';

COMMENT ON INDEX event_consumers_pkey IS 'A consumer by its name';

-- Once per statement and ticker, so that a batch of any size adds few.
CREATE FUNCTION tell_prices() RETURNS TRIGGER
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

-- By the trigger that knows the owner, and whether anything has changed, already.
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

-- The log of the cache is written by the same triggers.
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

COMMENT ON FUNCTION tell_prices() IS 'Tells of bars that were stored, changed or deleted, per ticker';
COMMENT ON FUNCTION record_audit() IS 'Writes a change of a row down, and tells of that of a position';
COMMENT ON FUNCTION record_analysis_insert() IS 'Logs new results that can be served, and tells of new ones';
COMMENT ON FUNCTION record_cache_update() IS 'Logs entries that were changed, and tells of those that ended';
COMMENT ON FUNCTION record_cache_delete() IS
    'Logs entries that were deleted while they could be served, and tells of them';

CREATE TRIGGER price_history_tell_insert
    AFTER INSERT ON price_history
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_prices();
CREATE TRIGGER price_history_tell_update
    AFTER UPDATE ON price_history
    REFERENCING NEW TABLE AS changed
    FOR EACH STATEMENT EXECUTE FUNCTION tell_prices();
CREATE TRIGGER price_history_tell_delete
    AFTER DELETE ON price_history
    REFERENCING OLD TABLE AS replaced
    FOR EACH STATEMENT EXECUTE FUNCTION tell_prices();

CREATE POLICY tenant ON events USING (user_id IS NULL OR user_id = (SELECT tenant_id()));

DO $$
DECLARE
    owner CONSTANT NAME := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'events'::regclass);
    definer REGPROCEDURE;
BEGIN
    ALTER TABLE events ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
    EXECUTE format('CREATE POLICY owner ON events TO %I USING (true)', owner);
    FOR definer IN
        SELECT unnest(ARRAY['tell_prices()', 'record_audit()', 'record_analysis_insert()', 'record_cache_update()',
            'record_cache_delete()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
    END LOOP;
END;
$$;

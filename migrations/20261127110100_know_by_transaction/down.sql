DROP TRIGGER price_history_refuse_forged ON price_history;
DROP FUNCTION refuse_forged_bar();
DROP TABLE knowledge_points;
DROP FUNCTION place_knowledge_point();

CREATE OR REPLACE FUNCTION date_bar_correction() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
BEGIN
    IF (NEW.created_at, NEW.corrected_at) IS DISTINCT FROM (OLD.created_at, OLD.corrected_at)
        AND NOT pg_has_role(current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'USAGE')
    THEN
        RAISE insufficient_privilege USING MESSAGE = 'since when a bar is known is kept by a trigger';
    END IF;
    IF known_from <> now()
        AND (OLD.ticker, OLD.date, OLD.open_price, OLD.high_price, OLD.low_price, OLD.close_price,
                OLD.volume, OLD.adjusted_close, OLD.data_source, OLD.is_suspect)
            IS DISTINCT FROM (NEW.ticker, NEW.date, NEW.open_price, NEW.high_price, NEW.low_price,
                NEW.close_price, NEW.volume, NEW.adjusted_close, NEW.data_source, NEW.is_suspect)
    THEN
        NEW.corrected_at := GREATEST(now(), LEAST(known_from, '294000-01-01Z') + interval '1 microsecond');
    END IF;
    RETURN NEW;
END;
$$;

CREATE OR REPLACE FUNCTION keep_bar_revision() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
    replaced_at TIMESTAMP WITH TIME ZONE := now();
BEGIN
    IF COALESCE(pg_partition_root(TG_RELID), TG_RELID) IS DISTINCT FROM to_regclass('price_history') THEN
        RAISE insufficient_privilege USING MESSAGE = 'keep_bar_revision is a trigger of price_history only';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        replaced_at := NEW.corrected_at;
    END IF;
    IF replaced_at > known_from THEN
        INSERT INTO price_revisions (ticker, date, replaced_at, id, open_price, high_price, low_price,
            close_price, volume, adjusted_close, data_source, is_suspect, created_at, corrected_at)
        VALUES (OLD.ticker, OLD.date, replaced_at, OLD.id, OLD.open_price, OLD.high_price,
            OLD.low_price, OLD.close_price, OLD.volume, OLD.adjusted_close, OLD.data_source,
            OLD.is_suspect, OLD.created_at, OLD.corrected_at)
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END;
$$;

DO $$
DECLARE
    fixed REGPROCEDURE;
BEGIN
    FOR fixed IN SELECT unnest(ARRAY['date_bar_correction()', 'keep_bar_revision()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', fixed, current_schema());
    END LOOP;
    REVOKE ALL ON FUNCTION keep_bar_revision() FROM PUBLIC;
END;
$$;

-- Of two that were replaced at one time the later one stays.
DELETE FROM price_revisions AS earlier USING price_revisions AS later
WHERE earlier.ticker = later.ticker AND earlier.date = later.date AND earlier.replaced_at = later.replaced_at
    AND earlier.number < later.number;
DROP INDEX price_revisions_day_idx;
ALTER TABLE price_revisions
    DROP COLUMN number,
    DROP COLUMN removed_by,
    DROP COLUMN added_by,
    ADD PRIMARY KEY (ticker, date, replaced_at);
COMMENT ON INDEX price_revisions_pkey IS 'What was known of a ticker''s days at a time';

ALTER TABLE price_history ALTER COLUMN created_at SET DEFAULT now();
ALTER TABLE price_history DROP COLUMN added_by;

-- A correction overwrote what was known before it, so that nobody could say what an analysis of last month
-- had seen. The table itself keeps the latest values only, and stays as fast as it was; what a correction or a
-- deletion replaces goes to price_revisions, by triggers, so that it is kept whoever writes. Inserts, and
-- updates that change nothing, run no trigger.
--
-- A bar is known since corrected_at, or since created_at where it was never corrected: bars that are stored
-- already need no rewriting.
ALTER TABLE price_history ADD COLUMN corrected_at TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN price_history.corrected_at IS
    'Since when the present values are known, kept by a trigger; NULL: since created_at, never corrected';

CREATE TABLE price_revisions (
    ticker VARCHAR(32) NOT NULL,
    date TIMESTAMP WITH TIME ZONE NOT NULL,
    replaced_at TIMESTAMP WITH TIME ZONE NOT NULL,
    id UUID NOT NULL,
    open_price NUMERIC(20,10),
    high_price NUMERIC(20,10),
    low_price NUMERIC(20,10),
    close_price NUMERIC(20,10) NOT NULL,
    volume BIGINT,
    adjusted_close NUMERIC(20,10),
    data_source VARCHAR(50),
    is_suspect BOOLEAN NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    corrected_at TIMESTAMP WITH TIME ZONE,

    PRIMARY KEY (ticker, date, replaced_at),
    CONSTRAINT price_revisions_open_price_not_nan CHECK (open_price <> 'NaN'),
    CONSTRAINT price_revisions_high_price_not_nan CHECK (high_price <> 'NaN'),
    CONSTRAINT price_revisions_low_price_not_nan CHECK (low_price <> 'NaN'),
    CONSTRAINT price_revisions_close_price_not_nan CHECK (close_price <> 'NaN'),
    CONSTRAINT price_revisions_adjusted_close_not_nan CHECK (adjusted_close <> 'NaN')
);

COMMENT ON TABLE price_revisions IS
    'Price bars as they were before a correction or a deletion, kept by triggers on price_history';
COMMENT ON COLUMN price_revisions.ticker IS 'Market symbol, trimmed and upper case';
COMMENT ON COLUMN price_revisions.date IS 'Start of the bar';
COMMENT ON COLUMN price_revisions.replaced_at IS 'Until when these values were the latest known';
COMMENT ON COLUMN price_revisions.id IS 'Key of the bar in price_history';
COMMENT ON COLUMN price_revisions.open_price IS 'As in price_history';
COMMENT ON COLUMN price_revisions.high_price IS 'As in price_history';
COMMENT ON COLUMN price_revisions.low_price IS 'As in price_history';
COMMENT ON COLUMN price_revisions.close_price IS 'As in price_history';
COMMENT ON COLUMN price_revisions.volume IS 'As in price_history';
COMMENT ON COLUMN price_revisions.adjusted_close IS 'As in price_history';
COMMENT ON COLUMN price_revisions.data_source IS 'Name of the provider of these values';
COMMENT ON COLUMN price_revisions.is_suspect IS 'As in price_history';
COMMENT ON COLUMN price_revisions.created_at IS 'When the bar was first stored';
COMMENT ON COLUMN price_revisions.corrected_at IS
    'Since when these values were known; NULL: since created_at';
CREATE INDEX price_revisions_replaced_idx ON price_revisions(replaced_at);

COMMENT ON INDEX price_revisions_replaced_idx IS 'Retention: what was replaced first';
COMMENT ON INDEX price_revisions_pkey IS 'What was known of a ticker''s days at a time';

-- The values are compared in here: a condition of the trigger that names a column keeps its type from being
-- changed. What a transaction replaces of its own, nobody else has known. One that began before the transaction whose
-- values it replaces still comes after it.
CREATE FUNCTION date_bar_correction() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
BEGIN
    IF known_from <> now()
        AND (OLD.ticker, OLD.date, OLD.open_price, OLD.high_price, OLD.low_price, OLD.close_price,
                OLD.volume, OLD.adjusted_close, OLD.data_source, OLD.is_suspect)
            IS DISTINCT FROM (NEW.ticker, NEW.date, NEW.open_price, NEW.high_price, NEW.low_price,
                NEW.close_price, NEW.volume, NEW.adjusted_close, NEW.data_source, NEW.is_suspect)
    THEN
        NEW.corrected_at := GREATEST(now(), known_from + interval '1 microsecond');
    END IF;
    RETURN NEW;
END;
$$;

-- A bar that is stored and deleted in one transaction leaves nothing.
CREATE FUNCTION keep_bar_revision() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
DECLARE
    known_from CONSTANT TIMESTAMP WITH TIME ZONE := COALESCE(OLD.corrected_at, OLD.created_at);
    replaced_at TIMESTAMP WITH TIME ZONE := now();
BEGIN
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

COMMENT ON FUNCTION date_bar_correction() IS 'Sets since when a corrected bar''s values are known';
COMMENT ON FUNCTION keep_bar_revision() IS 'Keeps what was known of a bar before it was corrected or deleted';

CREATE TRIGGER price_history_date_correction
    BEFORE UPDATE ON price_history
    FOR EACH ROW
    EXECUTE FUNCTION date_bar_correction();
CREATE TRIGGER price_history_keep_revision
    AFTER UPDATE ON price_history
    FOR EACH ROW
    WHEN (OLD.corrected_at IS DISTINCT FROM NEW.corrected_at)
    EXECUTE FUNCTION keep_bar_revision();
CREATE TRIGGER price_history_keep_deleted
    AFTER DELETE ON price_history
    FOR EACH ROW
    EXECUTE FUNCTION keep_bar_revision();

-- Nothing said whether a copy of a cached row is still the newest, nor whether a document that was
-- fetched again has changed.
CREATE SEQUENCE cache_version AS BIGINT;

-- From the clock on, in microseconds: made again after it was undone, the sequence gives no number that
-- an analysis has recorded of it, or a program remembers.
SELECT setval('cache_version', (extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT);

COMMENT ON SEQUENCE cache_version IS
    'Versions of cached rows and fencing tokens of their leases, in one order';

ALTER TABLE market_data_cache
    ADD COLUMN version BIGINT NOT NULL DEFAULT nextval('cache_version'),
    ADD COLUMN revision BIGINT NOT NULL DEFAULT nextval('cache_version');
ALTER TABLE analysis_results
    ADD COLUMN version BIGINT NOT NULL DEFAULT nextval('cache_version');

COMMENT ON COLUMN market_data_cache.version IS
    'Grows with every change of the row, kept by a trigger; a fetch whose token is older may not replace it';
COMMENT ON COLUMN market_data_cache.revision IS
    'Grows when the document changes, kept by a trigger: the watermark of what was computed from it';
COMMENT ON COLUMN analysis_results.version IS 'Grows with every change of the row, kept by a trigger';

-- Drawn while the row is locked, so that of one row's versions the later is the greater.
CREATE FUNCTION move_cache_version() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.version := nextval('cache_version');
    NEW.revision :=
        CASE WHEN NEW.data IS DISTINCT FROM OLD.data THEN NEW.version ELSE OLD.revision END;
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION move_cache_version() IS
    'Moves version on every change of an entry, and revision where its document changes';

CREATE FUNCTION move_analysis_version() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    NEW.version := nextval('cache_version');
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION move_analysis_version() IS 'Moves version on every change of a result';

-- Triggers of one kind fire in the order of their names: these come after touch_updated_at, which leaves
-- an update alone that changes nothing.
CREATE TRIGGER market_data_cache_version_moves
    BEFORE UPDATE ON market_data_cache
    FOR EACH ROW EXECUTE FUNCTION move_cache_version();
CREATE TRIGGER analysis_results_version_moves
    BEFORE UPDATE ON analysis_results
    FOR EACH ROW EXECUTE FUNCTION move_analysis_version();

COMMENT ON COLUMN analysis_results.inputs IS
    'Watermarks of what the result was computed from: documents by revision, bars by digest; NULL: not recorded';

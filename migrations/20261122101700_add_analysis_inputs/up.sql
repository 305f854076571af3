-- Parameters say how a result was computed, nothing said from what: without it, results cannot be
-- invalidated when the data below them changes.
ALTER TABLE analysis_results ADD COLUMN inputs JSONB;

COMMENT ON COLUMN analysis_results.inputs IS
    'What the result was computed from: an object from data type to watermark; NULL: not recorded';

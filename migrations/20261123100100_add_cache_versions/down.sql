DROP TRIGGER analysis_results_version_moves ON analysis_results;
DROP TRIGGER market_data_cache_version_moves ON market_data_cache;
DROP FUNCTION move_analysis_version();
DROP FUNCTION move_cache_version();
ALTER TABLE analysis_results DROP COLUMN version;
ALTER TABLE market_data_cache DROP COLUMN revision, DROP COLUMN version;
DROP SEQUENCE cache_version;

COMMENT ON COLUMN analysis_results.inputs IS
    'What the result was computed from: an object from data type to watermark; NULL: not recorded';

COMMENT ON INDEX idx_analysis_expires_at IS 'Sweep of expired results';
COMMENT ON INDEX idx_market_cache_expires_at IS 'Sweep of expired entries, and entries due for a refresh';
ALTER TABLE analysis_results DROP COLUMN stale_until;
ALTER TABLE market_data_cache DROP COLUMN stale_until;

-- An expired row could be swept while it was still meant to be served stale. The window is a column of
-- its own: expires_at keeps its meaning.
ALTER TABLE market_data_cache ADD COLUMN stale_until TIMESTAMP WITH TIME ZONE;
ALTER TABLE analysis_results ADD COLUMN stale_until TIMESTAMP WITH TIME ZONE;

COMMENT ON COLUMN market_data_cache.stale_until IS
    'Until when the expired document may stand in for one that cannot be fetched; NULL: not at all';
COMMENT ON COLUMN analysis_results.stale_until IS
    'Until when the expired result may stand in for one that cannot be computed; NULL: not at all';

CREATE INDEX market_data_cache_kept_until_idx
    ON market_data_cache ((GREATEST(expires_at, stale_until)));
CREATE INDEX analysis_results_kept_until_idx
    ON analysis_results ((GREATEST(expires_at, stale_until)));

COMMENT ON INDEX market_data_cache_kept_until_idx IS 'Sweep of entries that nobody may be served any more';
COMMENT ON INDEX analysis_results_kept_until_idx IS 'Sweep of results that nobody may be served any more';
COMMENT ON INDEX idx_market_cache_expires_at IS 'Entries due for a refresh';
COMMENT ON INDEX idx_analysis_expires_at IS 'Results by expiry; kept for the specification''s sake';

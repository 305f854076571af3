-- The latest result of a ticker and type had no index: a miss among 100,000 results read 2,219 pages.
-- Public and private results are looked up apart, so that neither index carries the other's rows.
CREATE INDEX analysis_results_public_latest_idx
    ON analysis_results (ticker, analysis_type, calculated_at DESC, id DESC)
    WHERE portfolio_id IS NULL;
CREATE INDEX analysis_results_portfolio_latest_idx
    ON analysis_results (portfolio_id, ticker, analysis_type, calculated_at DESC, id DESC)
    WHERE portfolio_id IS NOT NULL;

COMMENT ON INDEX analysis_results_public_latest_idx IS
    'Latest and history of the public results of a ticker';
COMMENT ON INDEX analysis_results_portfolio_latest_idx IS
    'Latest and history of the private results of a portfolio';

-- The latest snapshot of one underlying: without it, every quote of the other underlyings that was
-- fetched since is read on the way.
CREATE INDEX idx_options_ticker_fetched ON options_data(ticker, fetch_timestamp);

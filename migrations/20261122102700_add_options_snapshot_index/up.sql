-- The latest snapshot of one underlying: without it, every quote of the other underlyings that was
-- fetched since is read on the way.
CREATE INDEX options_data_ticker_fetched_idx ON options_data(ticker, fetch_timestamp);

COMMENT ON INDEX options_data_ticker_fetched_idx IS 'The latest snapshot of a ticker, and that known at a time';

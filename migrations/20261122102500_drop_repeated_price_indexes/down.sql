CREATE INDEX idx_price_ticker_date_desc ON price_history(ticker, date DESC);
CREATE INDEX idx_price_ticker_date ON price_history(ticker, date);

COMMENT ON INDEX idx_price_ticker_date_desc IS 'Latest bars of a ticker';
COMMENT ON INDEX idx_price_ticker_date IS 'Bars of a ticker by date';

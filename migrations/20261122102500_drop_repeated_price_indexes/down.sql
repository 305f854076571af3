CREATE INDEX idx_price_ticker_date_desc ON price_history(ticker, date DESC);
CREATE INDEX idx_price_ticker_date ON price_history(ticker, date);

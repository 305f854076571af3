-- idx_price_ticker_date repeats the unique index price_history_ticker_date_key, and a B-tree is read
-- backwards as well as forwards, so that idx_price_ticker_date_desc repeats it too.
DROP INDEX idx_price_ticker_date;
DROP INDEX idx_price_ticker_date_desc;

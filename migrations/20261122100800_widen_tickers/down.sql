-- A longer ticker has no place in VARCHAR(10): each temporary constraint refuses it by name, where
-- the plain change of type would cut trailing spaces in silence.
ALTER TABLE options_data ADD CONSTRAINT options_data_ticker_fits_10 CHECK (length(ticker) <= 10);
ALTER TABLE options_data ALTER COLUMN ticker TYPE VARCHAR(10);
ALTER TABLE options_data DROP CONSTRAINT options_data_ticker_fits_10;
ALTER TABLE price_history ADD CONSTRAINT price_history_ticker_fits_10 CHECK (length(ticker) <= 10);
ALTER TABLE price_history ALTER COLUMN ticker TYPE VARCHAR(10);
ALTER TABLE price_history DROP CONSTRAINT price_history_ticker_fits_10;
ALTER TABLE market_data_cache ADD CONSTRAINT market_data_cache_ticker_fits_10 CHECK (length(ticker) <= 10);
ALTER TABLE market_data_cache ALTER COLUMN ticker TYPE VARCHAR(10);
ALTER TABLE market_data_cache DROP CONSTRAINT market_data_cache_ticker_fits_10;
ALTER TABLE analysis_results ADD CONSTRAINT analysis_results_ticker_fits_10 CHECK (length(ticker) <= 10);
ALTER TABLE analysis_results ALTER COLUMN ticker TYPE VARCHAR(10);
ALTER TABLE analysis_results DROP CONSTRAINT analysis_results_ticker_fits_10;
ALTER TABLE positions ADD CONSTRAINT positions_ticker_fits_10 CHECK (length(ticker) <= 10);
ALTER TABLE positions ALTER COLUMN ticker TYPE VARCHAR(10);
ALTER TABLE positions DROP CONSTRAINT positions_ticker_fits_10;

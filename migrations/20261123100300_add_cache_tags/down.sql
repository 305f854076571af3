ALTER TABLE market_data_cache DROP COLUMN tags;

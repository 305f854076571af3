DROP TABLE market_data_cache;

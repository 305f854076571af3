-- Real symbols are longer than 10 characters: RELIANCE.NS, and OCC option symbols have 21.
ALTER TABLE positions ALTER COLUMN ticker TYPE VARCHAR(32);
ALTER TABLE analysis_results ALTER COLUMN ticker TYPE VARCHAR(32);
ALTER TABLE market_data_cache ALTER COLUMN ticker TYPE VARCHAR(32);
ALTER TABLE price_history ALTER COLUMN ticker TYPE VARCHAR(32);
ALTER TABLE options_data ALTER COLUMN ticker TYPE VARCHAR(32);

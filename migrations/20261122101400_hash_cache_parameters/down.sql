-- Parameters over 2704 bytes do not fit the old key and fail here.
ALTER TABLE market_data_cache
    DROP CONSTRAINT market_data_cache_entry_key,
    ADD CONSTRAINT market_data_cache_ticker_data_type_parameters_key
        UNIQUE (ticker, data_type, parameters),
    DROP COLUMN parameters_key;

DROP FUNCTION cache_parameters_key(JSONB);

COMMENT ON COLUMN market_data_cache.parameters IS
    'Parameters of the request; part of the key together with ticker and data_type';
COMMENT ON INDEX market_data_cache_ticker_data_type_parameters_key IS
    'One entry by its key; no key twice';

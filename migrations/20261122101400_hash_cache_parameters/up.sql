-- UNIQUE (ticker, data_type, parameters) let NULL parameters in twice, did not match ON CONFLICT for
-- them, and refused parameters over 2704 bytes, the limit of a B-tree entry.

-- Two halves, because neither is enough. The first treats equal documents as equal (1 and 1.0 are, and
-- the order of keys does not matter) but does not see where a container ends, so that
-- {"a": {"b": 1}, "c": 2} and {"a": {"b": 1, "c": 2}} have one hash. The second hashes the text without its
-- digits and points, which keeps the structure and is the same for 1 and 1.0.
CREATE FUNCTION cache_parameters_key(parameters JSONB) RETURNS BYTEA
    LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    RETURN COALESCE(
        int8send(jsonb_hash_extended(parameters, 0))
            || int8send(hashtextextended(
                translate(parameters::TEXT, '0123456789.', '') COLLATE "C", 0)),
        '\x'::BYTEA
    );

COMMENT ON FUNCTION cache_parameters_key(JSONB) IS
    'Key of request parameters: 16 bytes, the same for equal documents; empty for NULL';

-- The table is a cache: of entries that were stored twice under one key, the newest stands.
DELETE FROM market_data_cache AS older
USING market_data_cache AS newer
WHERE older.ticker = newer.ticker
    AND older.data_type = newer.data_type
    AND older.parameters IS NULL
    AND newer.parameters IS NULL
    AND (older.cached_at, older.id) < (newer.cached_at, newer.id);

ALTER TABLE market_data_cache
    ADD COLUMN parameters_key BYTEA NOT NULL
        GENERATED ALWAYS AS (cache_parameters_key(parameters)) STORED,
    DROP CONSTRAINT market_data_cache_ticker_data_type_parameters_key,
    ADD CONSTRAINT market_data_cache_entry_key UNIQUE (ticker, data_type, parameters_key);

COMMENT ON COLUMN market_data_cache.parameters_key IS
    'Key of the parameters, kept by the database: 16 bytes, the same for equal documents; empty for NULL';
COMMENT ON COLUMN market_data_cache.parameters IS
    'Parameters of the request; NULL, {} and other parameters are distinct entries, equal documents are one';
COMMENT ON INDEX market_data_cache_entry_key IS
    'One entry by its key; no key twice, without a limit on the size of the parameters';

CREATE OR REPLACE FUNCTION cache_parameters_key(parameters JSONB) RETURNS BYTEA
    LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    RETURN COALESCE(
        int8send(jsonb_hash_extended(parameters, 0))
            || int8send(hashtextextended(
                translate(parameters::TEXT, '0123456789.', '') COLLATE "C", 0)),
        '\x'::BYTEA
    );

COMMENT ON FUNCTION cache_parameters_key(JSONB) IS
    'Key of request parameters: 16 bytes, the same for equal documents; empty for NULL';

-- Entries that were two may have one key again: one of them stands.
ALTER TABLE market_data_cache DISABLE TRIGGER USER;
DELETE FROM market_data_cache AS older
USING market_data_cache AS newer
WHERE older.ticker = newer.ticker
    AND older.data_type = newer.data_type
    AND cache_parameters_key(older.parameters) = cache_parameters_key(newer.parameters)
    AND (older.cached_at, older.id) < (newer.cached_at, newer.id);
UPDATE market_data_cache SET parameters = parameters WHERE parameters IS NOT NULL;
ALTER TABLE market_data_cache ENABLE TRIGGER USER;

DELETE FROM cache_leases WHERE parameters_key <> '\x';

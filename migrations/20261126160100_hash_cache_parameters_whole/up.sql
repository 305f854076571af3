-- Arrays of 64 equal numbers had one key whatever the number, and so had other documents whose parts the hash of JSONB
-- combines to the same: each entry then evicted the other.

-- The text of a JSONB value says everything but one thing: 1.50 and 1.5 are one number. Without the zeros behind the
-- point two documents have one text exactly if they are equal. Strings are matched first and stay as they are.
CREATE OR REPLACE FUNCTION cache_parameters_key(parameters JSONB) RETURNS BYTEA
    LANGUAGE SQL IMMUTABLE PARALLEL SAFE
    RETURN COALESCE(
        substr(sha256(convert_to(
            CASE WHEN parameters::TEXT ~ '\.[0-9]*0([^0-9]|$)'
                THEN regexp_replace(parameters::TEXT,
                    '("(?:[^"\\]|\\.)*")|(\.[0-9]*[1-9])0+(?![0-9])|\.0+(?![0-9])', '\1\2', 'g')
                ELSE parameters::TEXT
            END, 'UTF8')), 1, 16),
        '\x'::BYTEA
    );

COMMENT ON FUNCTION cache_parameters_key(JSONB) IS
    'Key of request parameters: 16 bytes of a SHA-256, the same for equal documents only; empty for NULL';

-- The key of each row is computed anew when its parameters are written. Nothing of the entries changes, and nobody is
-- told.
ALTER TABLE market_data_cache DISABLE TRIGGER USER;
UPDATE market_data_cache SET parameters = parameters WHERE parameters IS NOT NULL;
ALTER TABLE market_data_cache ENABLE TRIGGER USER;

-- Leases do not hold the parameters. Fetches under way end without one, and store nothing.
DELETE FROM cache_leases WHERE parameters_key <> '\x';

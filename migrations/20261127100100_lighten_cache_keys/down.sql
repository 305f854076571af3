COMMENT ON COLUMN cache_leases.taken_at IS 'When the lease was taken, by the database''s clock';
ALTER FUNCTION cache_parameters_key(JSONB) RESET ALL;
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

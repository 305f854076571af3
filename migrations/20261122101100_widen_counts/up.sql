-- Daily volumes of real indexes and coins pass 2^31.
ALTER TABLE price_history ALTER COLUMN volume TYPE BIGINT;
ALTER TABLE options_data
    ALTER COLUMN volume TYPE BIGINT,
    ALTER COLUMN open_interest TYPE BIGINT;

-- A count past 2^31 - 1 fails the change of type.
ALTER TABLE options_data
    ALTER COLUMN open_interest TYPE INTEGER,
    ALTER COLUMN volume TYPE INTEGER;
ALTER TABLE price_history ALTER COLUMN volume TYPE INTEGER;

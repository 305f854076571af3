-- A vega of 120.5 and a theta of -150 are real and overflowed NUMERIC(8,6); providers send six
-- decimals of delta and implied volatility, and deep contracts imply more than 9999 percent.
ALTER TABLE options_data
    ALTER COLUMN delta TYPE NUMERIC(8,6),
    ALTER COLUMN gamma TYPE NUMERIC(14,6),
    ALTER COLUMN theta TYPE NUMERIC(14,6),
    ALTER COLUMN vega TYPE NUMERIC(14,6),
    ALTER COLUMN implied_volatility TYPE NUMERIC(10,6);

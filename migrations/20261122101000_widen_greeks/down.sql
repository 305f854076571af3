-- The narrower types would round decimals in silence: a temporary constraint refuses, by name, values
-- with more decimals than they keep. Values that are too large fail the change of type itself.
ALTER TABLE options_data ADD CONSTRAINT options_data_greeks_fit CHECK (
    delta = round(delta, 4)
    AND implied_volatility = round(implied_volatility, 4)
);
ALTER TABLE options_data
    ALTER COLUMN delta TYPE NUMERIC(6,4),
    ALTER COLUMN gamma TYPE NUMERIC(8,6),
    ALTER COLUMN theta TYPE NUMERIC(8,6),
    ALTER COLUMN vega TYPE NUMERIC(8,6),
    ALTER COLUMN implied_volatility TYPE NUMERIC(6,4);
ALTER TABLE options_data DROP CONSTRAINT options_data_greeks_fit;

-- The narrower types would round decimals in silence: a temporary constraint refuses, by name, values
-- with more decimals than they keep. Values that are too large fail the change of type itself.
ALTER TABLE options_data ADD CONSTRAINT options_data_prices_fit CHECK (
    strike_price = round(strike_price, 4)
    AND last_price = round(last_price, 4)
    AND bid = round(bid, 4)
    AND ask = round(ask, 4)
);
ALTER TABLE options_data
    ALTER COLUMN strike_price TYPE NUMERIC(12,4),
    ALTER COLUMN last_price TYPE NUMERIC(12,4),
    ALTER COLUMN bid TYPE NUMERIC(12,4),
    ALTER COLUMN ask TYPE NUMERIC(12,4);
ALTER TABLE options_data DROP CONSTRAINT options_data_prices_fit;
ALTER TABLE price_history ADD CONSTRAINT price_history_prices_fit CHECK (
    open_price = round(open_price, 4)
    AND high_price = round(high_price, 4)
    AND low_price = round(low_price, 4)
    AND close_price = round(close_price, 4)
    AND adjusted_close = round(adjusted_close, 4)
);
ALTER TABLE price_history
    ALTER COLUMN open_price TYPE NUMERIC(12,4),
    ALTER COLUMN high_price TYPE NUMERIC(12,4),
    ALTER COLUMN low_price TYPE NUMERIC(12,4),
    ALTER COLUMN close_price TYPE NUMERIC(12,4),
    ALTER COLUMN adjusted_close TYPE NUMERIC(12,4);
ALTER TABLE price_history DROP CONSTRAINT price_history_prices_fit;
ALTER TABLE positions ADD CONSTRAINT positions_prices_fit CHECK (
    shares = round(shares, 4)
    AND average_cost = round(average_cost, 4)
);
ALTER TABLE positions
    ALTER COLUMN shares TYPE NUMERIC(12,4),
    ALTER COLUMN average_cost TYPE NUMERIC(12,4);
ALTER TABLE positions DROP CONSTRAINT positions_prices_fit;

COMMENT ON COLUMN positions.shares IS 'Number of shares held, 0 or more: short positions are not stored; NULL: not known';

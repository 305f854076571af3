-- Four decimals lose real prices: 0.00001 became 0 and failed its check, 0.000051 was rounded, and
-- fractional shares of crypto currencies have eight decimals.
ALTER TABLE positions
    ALTER COLUMN shares TYPE NUMERIC(20,10),
    ALTER COLUMN average_cost TYPE NUMERIC(20,10);
ALTER TABLE price_history
    ALTER COLUMN open_price TYPE NUMERIC(20,10),
    ALTER COLUMN high_price TYPE NUMERIC(20,10),
    ALTER COLUMN low_price TYPE NUMERIC(20,10),
    ALTER COLUMN close_price TYPE NUMERIC(20,10),
    ALTER COLUMN adjusted_close TYPE NUMERIC(20,10);
ALTER TABLE options_data
    ALTER COLUMN strike_price TYPE NUMERIC(20,10),
    ALTER COLUMN last_price TYPE NUMERIC(20,10),
    ALTER COLUMN bid TYPE NUMERIC(20,10),
    ALTER COLUMN ask TYPE NUMERIC(20,10);

COMMENT ON COLUMN positions.shares IS 'Number of shares held, 0 or more and possibly fractional: short positions are not stored; NULL: not known';

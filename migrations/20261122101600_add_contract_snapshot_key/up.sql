-- Without a natural key the same snapshot delivered twice was stored twice. Exact repeats go; rows of
-- one contract and time that differ stop the migration, because only their owner can say which is right.
DELETE FROM options_data AS extra
USING options_data AS kept
WHERE extra.id > kept.id
    AND extra.ticker = kept.ticker
    AND extra.option_type = kept.option_type
    AND extra.strike_price = kept.strike_price
    AND extra.expiration_date = kept.expiration_date
    AND extra.fetch_timestamp = kept.fetch_timestamp
    AND to_jsonb(extra) - 'id' = to_jsonb(kept) - 'id';

ALTER TABLE options_data ADD CONSTRAINT options_data_contract_snapshot_key
    UNIQUE (ticker, option_type, strike_price, expiration_date, fetch_timestamp);

COMMENT ON INDEX options_data_contract_snapshot_key IS
    'One row per contract and snapshot; chains and history of a contract';

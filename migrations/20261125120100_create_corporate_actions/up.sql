-- Adjusted prices that are stored are wrong after the next split. Bars stay as delivered; what they are
-- adjusted by stands here, and prices are adjusted when they are read, for any reference date.
CREATE TABLE corporate_actions (
    id UUID PRIMARY KEY,
    ticker VARCHAR(32) NOT NULL,
    ex_date TIMESTAMP WITH TIME ZONE NOT NULL,
    action_type VARCHAR(8) NOT NULL CHECK (action_type IN ('split', 'dividend')),
    split_from NUMERIC(20,10) CHECK (split_from > 0),
    split_to NUMERIC(20,10) CHECK (split_to > 0),
    amount NUMERIC(20,10) CHECK (amount > 0),
    data_source VARCHAR(50) DEFAULT 'yfinance',
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,

    CONSTRAINT corporate_actions_kind CHECK (
        (action_type = 'split') = (split_from IS NOT NULL)
        AND (action_type = 'split') = (split_to IS NOT NULL)
        AND (action_type = 'split') = (amount IS NULL)
    ),
    CONSTRAINT corporate_actions_split_from_not_nan CHECK (split_from <> 'NaN'),
    CONSTRAINT corporate_actions_split_to_not_nan CHECK (split_to <> 'NaN'),
    CONSTRAINT corporate_actions_amount_not_nan CHECK (amount <> 'NaN'),
    -- A day's dividends are one sum.
    CONSTRAINT corporate_actions_ticker_date_type_key UNIQUE (ticker, ex_date, action_type)
);

CREATE INDEX corporate_actions_ex_date_idx ON corporate_actions(ex_date, id);

CREATE TRIGGER corporate_actions_touch_updated_at
    BEFORE UPDATE ON corporate_actions
    FOR EACH ROW
    WHEN (OLD.* IS DISTINCT FROM NEW.*)
    EXECUTE FUNCTION touch_updated_at();

COMMENT ON TABLE corporate_actions IS 'Splits and dividends, by which prices are adjusted when they are read';
COMMENT ON COLUMN corporate_actions.id IS 'Key of the row';
COMMENT ON COLUMN corporate_actions.ticker IS 'Market symbol, trimmed and upper case';
COMMENT ON COLUMN corporate_actions.ex_date IS
    'First trading day on which the share trades split, or without the dividend, at midnight UTC';
COMMENT ON COLUMN corporate_actions.action_type IS 'split or dividend';
COMMENT ON COLUMN corporate_actions.split_from IS 'So many shares before the split; NULL: no split';
COMMENT ON COLUMN corporate_actions.split_to IS 'became so many; 2 of 1 in a split 2:1; NULL: no split';
COMMENT ON COLUMN corporate_actions.amount IS
    'Cash of all dividends of the day per share that trades on it, in the currency of the quote; NULL: a split';
COMMENT ON COLUMN corporate_actions.data_source IS 'Name of the provider';
COMMENT ON COLUMN corporate_actions.created_at IS 'When the row was stored';
COMMENT ON COLUMN corporate_actions.updated_at IS 'Time of the latest change, kept by a trigger';
COMMENT ON INDEX corporate_actions_pkey IS 'Key of the row';
COMMENT ON INDEX corporate_actions_ticker_date_type_key IS 'One row per ticker, day and kind; a ticker''s actions by day';
COMMENT ON INDEX corporate_actions_ex_date_idx IS 'Pages of all actions by day';

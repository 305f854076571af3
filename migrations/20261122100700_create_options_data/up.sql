CREATE TABLE options_data (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    ticker VARCHAR(10) NOT NULL,
    option_type VARCHAR(4) NOT NULL CHECK (option_type IN ('call', 'put')),
    strike_price NUMERIC(12,4) NOT NULL CHECK (strike_price > 0),
    expiration_date TIMESTAMP WITH TIME ZONE NOT NULL,
    last_price NUMERIC(12,4) CHECK (last_price >= 0),
    bid NUMERIC(12,4) CHECK (bid >= 0),
    ask NUMERIC(12,4) CHECK (ask >= 0),
    volume INTEGER CHECK (volume >= 0),
    open_interest INTEGER CHECK (open_interest >= 0),
    delta NUMERIC(6,4) CHECK (delta >= -1 AND delta <= 1),
    gamma NUMERIC(8,6),
    theta NUMERIC(8,6),
    vega NUMERIC(8,6),
    implied_volatility NUMERIC(6,4) CHECK (implied_volatility >= 0),
    data_source VARCHAR(50) DEFAULT 'yfinance',
    fetch_timestamp TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL
);

CREATE INDEX idx_options_ticker_expiration ON options_data(ticker, expiration_date);
CREATE INDEX idx_options_ticker_type_exp ON options_data(ticker, option_type, expiration_date);
CREATE INDEX idx_options_expiration_strike ON options_data(expiration_date, strike_price);
CREATE INDEX idx_options_fetch_timestamp ON options_data(fetch_timestamp);

COMMENT ON TABLE options_data IS 'Option chains, one row per contract and snapshot';
COMMENT ON COLUMN options_data.id IS 'Key of the row';
COMMENT ON COLUMN options_data.ticker IS 'Market symbol of the underlying, trimmed and upper case';
COMMENT ON COLUMN options_data.option_type IS 'call or put';
COMMENT ON COLUMN options_data.strike_price IS 'Price at which the contract may be exercised, in the currency of the quote';
COMMENT ON COLUMN options_data.expiration_date IS 'Day on which the contract ends, at midnight UTC';
COMMENT ON COLUMN options_data.last_price IS 'Price of the latest trade, per unit of the underlying';
COMMENT ON COLUMN options_data.bid IS 'Best bid, per unit of the underlying; may lie above the ask in real quotes';
COMMENT ON COLUMN options_data.ask IS 'Best ask, per unit of the underlying; may lie below the bid in real quotes';
COMMENT ON COLUMN options_data.volume IS 'Contracts traded that day; NULL: not delivered';
COMMENT ON COLUMN options_data.open_interest IS 'Contracts open; NULL: not delivered';
COMMENT ON COLUMN options_data.delta IS 'Change of the option''s price per unit change of the underlying, -1 to 1';
COMMENT ON COLUMN options_data.gamma IS 'Change of delta per unit change of the underlying';
COMMENT ON COLUMN options_data.theta IS 'Change of the option''s price with time, in the provider''s unit of time';
COMMENT ON COLUMN options_data.vega IS 'Change of the option''s price with volatility, in the provider''s unit';
COMMENT ON COLUMN options_data.implied_volatility IS 'Annual volatility implied by the price, as a fraction: 0.25 is 25 percent';
COMMENT ON COLUMN options_data.data_source IS 'Name of the provider';
COMMENT ON COLUMN options_data.fetch_timestamp IS 'When the snapshot was taken: the same for every contract of one chain';

COMMENT ON INDEX options_data_pkey IS 'One row by its id';
COMMENT ON INDEX idx_options_ticker_expiration IS 'Chain of a ticker by expiration; its expirations';
COMMENT ON INDEX idx_options_ticker_type_exp IS 'Calls or puts of a ticker by expiration';
COMMENT ON INDEX idx_options_expiration_strike IS 'Contracts of all tickers by expiration and strike';
COMMENT ON INDEX idx_options_fetch_timestamp IS 'Retention: snapshots by age';

CREATE TABLE positions (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    portfolio_id UUID NOT NULL REFERENCES portfolios(id) ON DELETE CASCADE,
    ticker VARCHAR(10) NOT NULL,
    shares NUMERIC(12,4) CHECK (shares >= 0),
    average_cost NUMERIC(12,4) CHECK (average_cost >= 0),
    allocation_percentage NUMERIC(5,2) CHECK (
        allocation_percentage >= 0 AND allocation_percentage <= 100
    ),
    notes TEXT,
    is_active BOOLEAN DEFAULT TRUE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,

    UNIQUE(portfolio_id, ticker)
);

CREATE INDEX idx_positions_portfolio_id ON positions(portfolio_id);
CREATE INDEX idx_positions_ticker ON positions(ticker);
CREATE INDEX idx_positions_active ON positions(is_active);

COMMENT ON TABLE positions IS 'Holdings of a portfolio, one row per ticker; deleted with their portfolio';
COMMENT ON COLUMN positions.id IS 'Key of the position';
COMMENT ON COLUMN positions.portfolio_id IS 'The portfolio that holds it';
COMMENT ON COLUMN positions.ticker IS 'Market symbol, trimmed and upper case';
COMMENT ON COLUMN positions.shares IS 'Number of shares held, 0 or more: short positions are not stored; NULL: not known';
COMMENT ON COLUMN positions.average_cost IS 'Average price paid for one share, in the currency of the quote; NULL: not known';
COMMENT ON COLUMN positions.allocation_percentage IS 'Target weight in the portfolio, percent, 0 to 100; NULL: no target';
COMMENT ON COLUMN positions.notes IS 'Free text';
COMMENT ON COLUMN positions.is_active IS 'FALSE: removed but kept; adding the ticker again revives the row';
COMMENT ON COLUMN positions.created_at IS 'When the row was stored';
COMMENT ON COLUMN positions.updated_at IS 'Time of the latest change';

COMMENT ON INDEX positions_pkey IS 'One position by its id';
COMMENT ON INDEX positions_portfolio_id_ticker_key IS 'A portfolio''s position in a ticker, and all its positions; no ticker twice';
COMMENT ON INDEX idx_positions_portfolio_id IS 'Positions of a portfolio';
COMMENT ON INDEX idx_positions_ticker IS 'Positions in a ticker, whoever holds it';
COMMENT ON INDEX idx_positions_active IS 'Positions that are active or not';

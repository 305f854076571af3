-- Removed positions are kept, so that a portfolio's holdings are the active part of its rows.
CREATE INDEX positions_portfolio_active_idx
    ON positions (portfolio_id, ticker)
    WHERE is_active;

COMMENT ON INDEX positions_portfolio_active_idx IS 'Active positions of a portfolio, by ticker';

-- positions_portfolio_id_ticker_key starts with portfolio_id and serves every query of this index.
DROP INDEX idx_positions_portfolio_id;

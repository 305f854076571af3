CREATE INDEX idx_positions_portfolio_id ON positions(portfolio_id);

COMMENT ON INDEX idx_positions_portfolio_id IS 'Positions of a portfolio';

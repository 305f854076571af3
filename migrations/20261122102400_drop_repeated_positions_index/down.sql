CREATE INDEX idx_positions_portfolio_id ON positions(portfolio_id);

DROP TRIGGER analysis_results_touch_updated_at ON analysis_results;
DROP TRIGGER positions_touch_updated_at ON positions;
DROP TRIGGER portfolios_touch_updated_at ON portfolios;
DROP TRIGGER users_touch_updated_at ON users;
DROP FUNCTION touch_updated_at();

COMMENT ON COLUMN users.updated_at IS 'Time of the latest change';
COMMENT ON COLUMN portfolios.updated_at IS 'Time of the latest change';
COMMENT ON COLUMN positions.updated_at IS 'Time of the latest change';
COMMENT ON COLUMN analysis_results.updated_at IS 'Time of the latest change';

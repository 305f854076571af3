DROP TRIGGER users_refuse_truncate ON users;
DROP TRIGGER portfolios_refuse_truncate ON portfolios;
DROP TRIGGER positions_refuse_truncate ON positions;
DROP FUNCTION refuse_truncate();

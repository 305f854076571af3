DROP TRIGGER users_record_audit ON users;
DROP TRIGGER portfolios_record_audit ON portfolios;
DROP TRIGGER positions_record_audit ON positions;
DROP TABLE audit_log;
DROP FUNCTION erase_audit(UUID);
DROP FUNCTION protect_audit_log();
DROP FUNCTION record_audit();
DROP FUNCTION portfolio_owner(UUID);

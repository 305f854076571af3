-- TRUNCATE fires no trigger of rows: accounts, portfolios and positions were gone without an entry in the audit log.
CREATE FUNCTION refuse_truncate() RETURNS TRIGGER
    LANGUAGE plpgsql
AS $$
BEGIN
    RAISE insufficient_privilege USING
        MESSAGE = format('%I is not truncated: the audit log would not record what became of its rows', TG_TABLE_NAME),
        HINT = 'DELETE is written down, row by row';
END;
$$;

COMMENT ON FUNCTION refuse_truncate() IS 'Refuses what the audit log could not record';

CREATE TRIGGER users_refuse_truncate
    BEFORE TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER portfolios_refuse_truncate
    BEFORE TRUNCATE ON portfolios FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();
CREATE TRIGGER positions_refuse_truncate
    BEFORE TRUNCATE ON positions FOR EACH STATEMENT EXECUTE FUNCTION refuse_truncate();

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION refuse_truncate() SET search_path = %I, pg_temp', current_schema());
END;
$$;

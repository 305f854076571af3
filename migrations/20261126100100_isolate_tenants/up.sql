-- Whoever could reach a table could read and change every user's rows: one forgotten condition in a query was
-- enough. A row that somebody owns is now seen and written under its owner's name only, which a transaction
-- gives in `buffetbot.user_id`; without a name there are no such rows. Rows that nobody owns (public analyses,
-- market data) are everybody's.
--
-- Superusers and roles with BYPASSRLS are not bound; the application's role must be neither.
CREATE FUNCTION tenant_id() RETURNS UUID
    LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT NULLIF(current_setting('buffetbot.user_id', true), '')::uuid
$$;

COMMENT ON FUNCTION tenant_id() IS
    'The user whose rows this transaction may see, from the setting buffetbot.user_id; NULL: nobody''s';

-- Each condition is asked for once per statement, not once per row, and an index can serve it.
CREATE POLICY tenant ON users
    USING (id = (SELECT tenant_id()));
CREATE POLICY tenant ON portfolios
    USING (user_id = (SELECT tenant_id()));
CREATE POLICY tenant ON positions
    USING (portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));
CREATE POLICY tenant ON analysis_results
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));
-- The keys of private results say what somebody had analysed.
CREATE POLICY tenant ON cache_changes
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));
CREATE POLICY tenant ON cache_leases
    USING (portfolio_id IS NULL OR portfolio_id = ANY (ARRAY(
        SELECT id FROM portfolios WHERE user_id = (SELECT tenant_id()))));

-- Forced, so that owning a table is no silent way around: the owner, who migrates and maintains, is let through by a
-- policy that can be seen, and dropped where programs log in as the owner.
DO $$
DECLARE
    tenant_table REGCLASS;
BEGIN
    FOR tenant_table IN
        SELECT unnest(ARRAY['users', 'portfolios', 'positions', 'analysis_results', 'cache_changes',
            'cache_leases']::regclass[])
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', tenant_table);
        EXECUTE format('CREATE POLICY owner ON %s TO %I USING (true)', tenant_table,
            (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = tenant_table));
    END LOOP;
END;
$$;

-- What a cascade deletes is logged when its owner can no longer be told from the tables: the log is written as its
-- own owner, whoever writes.
DO $$
DECLARE
    recorder REGPROCEDURE;
BEGIN
    FOR recorder IN
        SELECT unnest(ARRAY['record_analysis_insert()', 'record_analysis_update()', 'record_analysis_move()',
            'record_analysis_delete()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', recorder,
            current_schema());
    END LOOP;
END;
$$;

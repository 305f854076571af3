DO $$
DECLARE
    recorder REGPROCEDURE;
BEGIN
    FOR recorder IN
        SELECT unnest(ARRAY['record_analysis_insert()', 'record_analysis_update()', 'record_analysis_move()',
            'record_analysis_delete()']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SECURITY INVOKER RESET search_path', recorder);
    END LOOP;
END;
$$;

DO $$
DECLARE
    policy RECORD;
BEGIN
    -- Whatever policies were added for roles beside these go with them.
    FOR policy IN
        SELECT polname, polrelid::regclass AS tenant_table FROM pg_policy
        WHERE polrelid = ANY (ARRAY['users', 'portfolios', 'positions', 'analysis_results', 'cache_changes',
            'cache_leases']::regclass[])
    LOOP
        EXECUTE format('DROP POLICY %I ON %s', policy.polname, policy.tenant_table);
        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY',
            policy.tenant_table);
    END LOOP;
END;
$$;

DROP FUNCTION tenant_id();

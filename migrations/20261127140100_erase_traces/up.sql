-- An erasure took the account, what belonged to it and the values of its log. Events named the user and what the user held
-- for weeks, and the log of the cache the parameters of private results for an hour. They go in the transaction of the
-- erasure now. Memory has to hear of results that are gone: one entry a portfolio says so, without a key.
CREATE INDEX events_user_idx ON events (user_id) WHERE user_id IS NOT NULL;
CREATE INDEX cache_changes_portfolio_idx ON cache_changes (portfolio_id) WHERE portfolio_id IS NOT NULL;
CREATE INDEX cache_leases_portfolio_idx ON cache_leases (portfolio_id) WHERE portfolio_id IS NOT NULL;

COMMENT ON INDEX events_user_idx IS 'Export and erasure of a user''s events';
COMMENT ON INDEX cache_changes_portfolio_idx IS 'Export and erasure of a portfolio''s changes';
COMMENT ON INDEX cache_leases_portfolio_idx IS 'Export and erasure of a portfolio''s leases';

CREATE FUNCTION erase_traces_of(accounts UUID[]) RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    gone UUID[];
    erased BIGINT;
BEGIN
    IF accounts IS NULL OR array_position(accounts, NULL) IS NOT NULL
        OR EXISTS (SELECT FROM users WHERE id = ANY (accounts))
    THEN
        RAISE insufficient_privilege USING MESSAGE = 'only of an account that is gone';
    END IF;
    -- Which portfolios there were only the log says; one that was given to another account is still there.
    SELECT array_agg(DISTINCT entry.row_id) INTO gone FROM audit_log entry
    WHERE entry.user_id = ANY (accounts) AND entry.table_name = 'portfolios'
        AND NOT EXISTS (SELECT FROM portfolios WHERE portfolios.id = entry.row_id);
    WITH forgotten AS (
        DELETE FROM cache_changes WHERE portfolio_id = ANY (gone) AND ticker IS NOT NULL RETURNING portfolio_id
    )
    INSERT INTO cache_changes (version, space, portfolio_id)
    SELECT nextval('cache_version'), 'analyses', portfolio_id
    FROM (SELECT DISTINCT portfolio_id FROM forgotten) AS each;
    -- One that is locked is being stored under, which waits for the portfolio and then fails.
    DELETE FROM cache_leases WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM cache_leases WHERE portfolio_id = ANY (gone) FOR UPDATE SKIP LOCKED));
    DELETE FROM events WHERE user_id = ANY (accounts);
    PERFORM set_config('buffetbot.audit_log', 'may shrink', true);
    UPDATE audit_log SET before = NULL, after = NULL
    WHERE user_id = ANY (accounts) AND (before IS NOT NULL OR after IS NOT NULL);
    GET DIAGNOSTICS erased = ROW_COUNT;
    PERFORM set_config('buffetbot.audit_log', '', true);
    RETURN erased;
END;
$$;

CREATE FUNCTION erase_own_traces() RETURNS BIGINT
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    RETURN erase_traces_of(ARRAY[tenant_id()]);
END;
$$;

CREATE FUNCTION erase_traces(accounts UUID[]) RETURNS BIGINT
    LANGUAGE plpgsql
AS $$
BEGIN
    IF tenant_id() IS NULL THEN
        RETURN erase_traces_of(accounts);
    ELSIF accounts = ARRAY[tenant_id()] THEN
        RETURN erase_own_traces();
    END IF;
    RAISE insufficient_privilege USING MESSAGE = 'only of the named user';
END;
$$;

-- Programs that were built before call it.
CREATE OR REPLACE FUNCTION erase_audit(account UUID) RETURNS BIGINT
    LANGUAGE plpgsql
AS $$
BEGIN
    RETURN erase_traces(ARRAY[account]);
END;
$$;

COMMENT ON FUNCTION erase_traces(UUID[]) IS
    'Takes away what is kept beside accounts that are gone (events, leases, cache log, the values of the audit log), as far as the caller may';
COMMENT ON FUNCTION erase_traces_of(UUID[]) IS 'erase_traces for any accounts, by the maintenance role';
COMMENT ON FUNCTION erase_own_traces() IS 'erase_traces for the named user, by the application role';
COMMENT ON FUNCTION erase_audit(UUID) IS 'erase_traces for one account';
COMMENT ON COLUMN cache_changes.ticker IS 'Ticker of the key; NULL: every key of the portfolio, or of the space';

DO $$
DECLARE
    fixed REGPROCEDURE;
BEGIN
    FOR fixed IN
        SELECT unnest(ARRAY['erase_traces(uuid[])', 'erase_traces_of(uuid[])', 'erase_own_traces()',
            'erase_audit(uuid)']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', fixed, current_schema());
    END LOOP;
    REVOKE ALL ON FUNCTION erase_traces_of(uuid[]) FROM PUBLIC;
    REVOKE ALL ON FUNCTION erase_own_traces() FROM PUBLIC;
END;
$$;

-- Who was given the functions before has these.
DO $$
DECLARE
    latter REGPROCEDURE;
    grantee REGROLE;
BEGIN
    FOR latter, grantee IN
        SELECT CASE p.proname WHEN 'erase_audit_entries' THEN 'erase_traces_of(uuid[])'::regprocedure
            ELSE 'erase_own_traces()'::regprocedure END, acl.grantee
        FROM pg_proc p CROSS JOIN LATERAL aclexplode(p.proacl) acl
        WHERE p.oid = ANY (ARRAY['erase_audit_entries(uuid)', 'erase_own_audit_entries()']::regprocedure[])
            AND acl.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', latter, grantee);
    END LOOP;
END;
$$;

-- Accounts that were erased before, which have no values left in the log.
DO $$
DECLARE
    erased UUID[];
BEGIN
    SELECT array_agg(user_id) INTO erased FROM (
        SELECT user_id FROM audit_log GROUP BY user_id HAVING bool_and(before IS NULL AND after IS NULL)
    ) AS silent
    WHERE NOT EXISTS (SELECT FROM users WHERE users.id = silent.user_id);
    IF erased IS NOT NULL THEN
        PERFORM erase_traces_of(erased);
    END IF;
END;
$$;

DROP FUNCTION erase_own_audit_entries();
DROP FUNCTION erase_audit_entries(UUID);

    SELECT 'danger', 'functions', d.label, format('runs with the rights of %I, and PUBLIC may execute %s: REVOKE EXECUTE ON FUNCTION ... FROM PUBLIC',
        d.proowner::regrole, CASE WHEN c.by = c.oid THEN 'it, or make it a trigger' ELSE format('it by the aggregate %s', c.by::regprocedure) END)
    FROM definers d JOIN callable c ON c.oid = d.oid
    WHERE EXISTS (SELECT FROM aclexplode(c.acl) WHERE grantee = 0 AND privilege_type = 'EXECUTE')
    UNION ALL
    SELECT 'danger', 'functions', d.label, format('runs with the rights of %I, and the application role may execute %s: REVOKE EXECUTE ON FUNCTION ... FROM it',
        d.proowner::regrole, CASE WHEN c.by = c.oid THEN 'it' ELSE format('it by the aggregate %s', c.by::regprocedure) END)
    FROM application a CROSS JOIN definers d JOIN callable c ON c.oid = d.oid
    WHERE NOT a.rolsuper AND d.proowner <> a.oid AND NOT (d.is_granted AND c.by = c.oid)
        AND has_function_privilege(a.oid, c.by, 'EXECUTE')
        AND NOT EXISTS (SELECT FROM aclexplode(c.acl) WHERE grantee = 0 AND privilege_type = 'EXECUTE')
    UNION ALL
    -- Of these the server does not ask whether the caller may execute the function.
    SELECT DISTINCT 'danger', 'functions', d.label, format('runs with the rights of %I for everybody who uses %s', d.proowner::regrole,
        pg_describe_object(used.classid, used.objid, used.objsubid))
    FROM definers d JOIN pg_depend used ON used.refclassid = 'pg_proc'::regclass AND used.refobjid = d.oid
        AND used.classid IN ('pg_type'::regclass, 'pg_amproc'::regclass, 'pg_conversion'::regclass)
    UNION ALL
    SELECT 'warning', 'functions', d.label, format('runs with the rights of %I when the application role writes to %s', d.proowner::regrole, r.label)
    FROM definers d JOIN pg_trigger g ON g.tgfoid = d.oid JOIN relations r ON r.oid = g.tgrelid AND r.is_open
    WHERE NOT d.at_home
    UNION ALL
    SELECT 'warning', 'functions', p.oid::regprocedure::text, 'is LEAKPROOF: the application role can have it called with values of rows that no policy lets it see'
    FROM application a CROSS JOIN pg_proc p
    WHERE p.proleakproof AND p.oid >= 16384 AND NOT a.bypasses AND has_function_privilege(a.oid, p.oid, 'EXECUTE')
    UNION ALL
    SELECT 'danger', 'search_path', d.label, 'runs as its owner with the caller''s search_path: ALTER FUNCTION ... SET search_path'
    FROM definers d
    WHERE d.at_home AND NOT EXISTS (SELECT FROM unnest(d.proconfig) s WHERE s LIKE 'search_path=%')
    UNION ALL
    SELECT 'danger', 'search_path', d.label, 'runs as its owner with a search_path on which the caller''s temporary tables come first: let it end with pg_temp'
    FROM definers d CROSS JOIN unnest(d.proconfig) s
    WHERE d.at_home AND s LIKE 'search_path=%' AND s !~ '(pg_temp"?|="")$'
    UNION ALL
    SELECT 'warning', 'search_path', p.oid::regprocedure::text, 'takes names from the caller''s temporary schema first, also where a function with its owner''s rights calls it: ALTER FUNCTION ... SET search_path'
    FROM pg_proc p JOIN home ON home.schema = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
    WHERE l.lanname = 'plpgsql' AND NOT p.prosecdef AND p.proowner IN (SELECT relowner FROM tables)
        AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%')
    UNION ALL
    -- A view asks as its owner, unless told otherwise; a copy asks nobody.
    SELECT DISTINCT 'danger', 'views', v.label, CASE v.relkind
        WHEN 'm' THEN format('holds a copy of rows of %I, which no policy binds: REVOKE what the application role may read of it', t.relname)
        ELSE format('shows rows of %I as its owner sees them: ALTER VIEW ... SET (security_invoker = true)', t.relname) END
    FROM shows s JOIN relations v ON v.oid = s.relation JOIN used u ON u.oid = v.oid JOIN relations t ON t.oid = s.tenant_table
    JOIN pg_class c ON c.oid = v.oid
    WHERE v.relkind = 'm' OR v.relkind = 'v'
        AND NOT COALESCE(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1', 'security_invoker=yes'], false)
    UNION ALL
    SELECT 'danger', 'rules', r.label, format('its rule %I runs with the rights of its owner: DROP it, and use a trigger', w.rulename)
    FROM relations r JOIN used u ON u.oid = r.oid JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
    WHERE r.oid IN (SELECT oid FROM tenant_oids)
        OR EXISTS (SELECT FROM pg_depend d
            WHERE d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid <> r.oid
                AND (d.refobjid IN (SELECT oid FROM tenant_oids) OR d.refobjid IN (SELECT relation FROM shows)))
    UNION ALL
    SELECT 'danger', 'search_path', nspname, format('%s may create objects here that stand in for others: REVOKE CREATE', who)
    FROM home, pg_namespace n
    CROSS JOIN LATERAL (
        SELECT 'PUBLIC' AS who FROM aclexplode(n.nspacl) WHERE grantee = 0 AND privilege_type = 'CREATE'
        UNION ALL
        SELECT 'the application role' FROM application a
        WHERE NOT a.bypasses AND has_schema_privilege(a.oid, n.oid, 'CREATE')
            AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) WHERE grantee = 0 AND privilege_type = 'CREATE')
    ) AS able
    WHERE n.nspname = ANY (current_schemas(false)) OR n.oid = home.schema
    UNION ALL
    SELECT 'warning', 'search_path', current_schema(), format('comes before %s, where the tables are', home.schema::regnamespace)
    FROM home WHERE home.schema <> current_schema()::regnamespace

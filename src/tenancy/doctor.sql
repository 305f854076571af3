WITH RECURSIVE home AS (
    SELECT relnamespace AS schema FROM pg_class WHERE oid = to_regclass('users')
), application AS (
    SELECT oid, rolname, rolsuper OR rolbypassrls AS bypasses FROM pg_roles WHERE rolname = $1
), tables AS (
    SELECT c.oid, c.relname, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity
    FROM pg_class c JOIN home ON home.schema = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relname <> '__diesel_schema_migrations'
), tenant_oids AS (
    -- What somebody owns: accounts, whatever refers to one, and whatever names an owner.
    SELECT oid FROM tables WHERE relname = 'users'
        OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = tables.oid AND NOT a.attisdropped
            AND a.attname IN ('user_id', 'portfolio_id', 'owner_id', 'account_id'))
    UNION
    SELECT k.conrelid FROM pg_constraint k JOIN tenant_oids t ON t.oid = k.confrelid
    WHERE k.contype = 'f'
), tenant_tables AS (
    SELECT t.* FROM tables t JOIN tenant_oids USING (oid)
), binding AS (
    -- Policies that bind the application role; commands as the catalog abbreviates them.
    SELECT p.* FROM pg_policy p, application a
    WHERE p.polroles = '{0}'
        OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE r <> 0 AND pg_has_role(a.oid, r, 'USAGE'))
), findings (severity, what, object, message) AS (
    SELECT 'danger', 'tables', 'users', 'the schema is not there: run Database::migrate'
    WHERE NOT EXISTS (SELECT FROM home)
    UNION ALL
    SELECT 'danger', 'role', $1, 'the application role does not exist: run Database::create_roles'
    WHERE NOT EXISTS (SELECT FROM application)
    UNION ALL
    SELECT 'danger', 'role', rolname, 'bypasses every policy: ALTER ROLE ... NOSUPERUSER NOBYPASSRLS'
    FROM application WHERE bypasses
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('is, or is a member of, %I, which owns %I and its policies', t.relowner::regrole, min(t.relname))
    FROM application a JOIN tables t ON pg_has_role(a.oid, t.relowner, 'USAGE')
    WHERE NOT a.bypasses GROUP BY a.rolname, t.relowner
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('may become %I, which bypasses every policy: REVOKE that', r.rolname)
    FROM application a JOIN pg_roles r ON r.oid <> a.oid AND (r.rolsuper OR r.rolbypassrls)
        AND pg_has_role(a.oid, r.oid, 'MEMBER')
    WHERE NOT a.bypasses
    UNION ALL
    SELECT 'danger', 'role', rolname, format('is not granted to the login %I: GRANT it, or run Database::create_roles', current_user)
    FROM application WHERE NOT pg_has_role(oid, 'MEMBER')
    UNION ALL
    SELECT 'warning', 'login', current_user, 'sees every user''s rows outside of as_user (superuser, BYPASSRLS, owner or maintenance): where programs need none of that, let them log in as a member of the application role alone'
    WHERE (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user)
        OR EXISTS (SELECT FROM tenant_tables t JOIN pg_policy p ON p.polrelid = t.oid
            WHERE pg_get_expr(p.polqual, p.polrelid) = 'true'
                AND EXISTS (SELECT FROM unnest(p.polroles) r WHERE r <> 0 AND pg_has_role(r, 'USAGE')))
    UNION ALL
    SELECT 'danger', 'policies', relname, 'row-level security is off: everybody who may read it reads all of it'
    FROM tenant_tables WHERE NOT relrowsecurity
    UNION ALL
    SELECT 'danger', 'policies', relname, 'row-level security is not forced: its owner bypasses it unseen'
    FROM tenant_tables WHERE relrowsecurity AND NOT relforcerowsecurity
    UNION ALL
    SELECT 'danger', 'policies', t.relname, 'no policy shows the application role its rows'
    FROM tenant_tables t
    WHERE t.relrowsecurity AND EXISTS (SELECT FROM application)
        AND NOT EXISTS (SELECT FROM binding b WHERE b.polrelid = t.oid AND b.polpermissive AND b.polcmd IN ('*', 'r'))
    UNION ALL
    SELECT 'danger', 'policies', t.relname, format('the policy %I does not ask who the user is', b.polname)
    FROM tenant_tables t JOIN binding b ON b.polrelid = t.oid AND b.polpermissive
    WHERE (b.polqual IS NULL OR pg_get_expr(b.polqual, b.polrelid) NOT LIKE '%tenant_id()%')
        AND (b.polwithcheck IS NULL OR pg_get_expr(b.polwithcheck, b.polrelid) NOT LIKE '%tenant_id()%')
    UNION ALL
    SELECT 'danger', 'policies', t.relname, 'its owner has no policy and sees none of its rows: run Database::create_roles'
    FROM tenant_tables t
    WHERE t.relrowsecurity AND t.relforcerowsecurity
        AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND t.relowner = ANY (p.polroles))
        AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE oid = t.relowner)
    UNION ALL
    SELECT 'danger', 'privileges', t.relname, format('the application role may not %s: run Database::create_roles', string_agg(needed, ', '))
    FROM application a CROSS JOIN tables t
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed
    WHERE NOT has_table_privilege(a.oid, t.oid, needed)
        AND (needed = 'SELECT' OR t.relname NOT IN ('audit_log', 'events'))
    GROUP BY t.relname
    UNION ALL
    SELECT 'danger', 'privileges', t.relname, format('the application role may %s, which is the triggers'' alone: run Database::create_roles', string_agg(excess, ', '))
    FROM application a CROSS JOIN tables t
    CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) excess
    WHERE t.relname IN ('audit_log', 'events') AND NOT a.bypasses
        AND NOT pg_has_role(a.oid, t.relowner, 'USAGE') AND has_table_privilege(a.oid, t.oid, excess)
    GROUP BY t.relname
    UNION ALL
    SELECT 'danger', 'privileges', t.relname, format('the application role may %s it, which no policy binds: REVOKE that', string_agg(excess, ', '))
    FROM application a CROSS JOIN tenant_tables t
    CROSS JOIN unnest(ARRAY['TRUNCATE', 'TRIGGER', 'REFERENCES']) excess
    WHERE NOT a.bypasses AND NOT pg_has_role(a.oid, t.relowner, 'USAGE')
        AND has_table_privilege(a.oid, t.oid, excess)
    GROUP BY t.relname
    UNION ALL
    SELECT 'danger', 'privileges', t.relname, format('PUBLIC may %s: REVOKE that', string_agg(acl.privilege_type, ', '))
    FROM tenant_tables t CROSS JOIN aclexplode(t.relacl) acl
    WHERE acl.grantee = 0 GROUP BY t.relname
    UNION ALL
    -- A view asks as its owner, unless told otherwise.
    SELECT DISTINCT 'danger', 'views', v.relname, format('shows rows of %I as its owner sees them: ALTER VIEW ... SET (security_invoker = true)', t.relname)
    FROM pg_class v
    JOIN pg_rewrite w ON w.ev_class = v.oid
    JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    JOIN tenant_tables t ON t.oid = d.refobjid
    WHERE v.relkind IN ('v', 'm')
        AND NOT COALESCE(v.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)
    UNION ALL
    SELECT 'danger', 'search_path', p.oid::regprocedure::text, 'runs as its owner with the caller''s search_path: ALTER FUNCTION ... SET search_path'
    FROM pg_proc p JOIN home ON home.schema = p.pronamespace
    WHERE p.prosecdef AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%')
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
)
SELECT severity, what, object::text AS object, message FROM findings ORDER BY severity, what, object, message

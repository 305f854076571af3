    SELECT 'danger', 'tables', 'users', 'the schema is not there: run Database::migrate'
    WHERE NOT EXISTS (SELECT FROM home)
    UNION ALL
    SELECT 'danger', 'role', $1, 'the application role does not exist: run Database::create_roles'
    WHERE NOT EXISTS (SELECT FROM application)
    UNION ALL
    SELECT 'danger', 'role', rolname, 'bypasses every policy: ALTER ROLE ... NOSUPERUSER NOBYPASSRLS'
    FROM application WHERE bypasses
    UNION ALL
    SELECT 'danger', 'role', rolname, format('is not granted to the login %I: GRANT it, or run Database::create_roles', session_user)
    FROM application WHERE NOT pg_has_role(session_user, oid, 'MEMBER')
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('may become %I, which bypasses every policy: REVOKE that', r.rolname)
    FROM application a JOIN reach r ON r.bypasses AND NOT r.itself
    WHERE NOT a.bypasses
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('is, or may become, %I, which owns %s: give that another owner',
        r.rolname, (array_agg(owned.label ORDER BY owned.rank, owned.label))[1])
    FROM application a JOIN reach r ON NOT r.bypasses
    JOIN (
        SELECT relowner AS owner, format('the table %I and its policies', relname) AS label, 1 AS rank FROM tables
        UNION ALL
        SELECT relowner, format('the relation %I', relname), 2 FROM relations WHERE at_home AND relkind NOT IN ('r', 'p')
        UNION ALL
        SELECT p.proowner, format('the function %s', p.oid::regprocedure), 2
        FROM pg_proc p JOIN home ON home.schema = p.pronamespace
        UNION ALL
        SELECT n.nspowner, format('the schema %I', n.nspname), 3 FROM pg_namespace n JOIN home ON home.schema = n.oid
        UNION ALL
        SELECT datdba, format('the database %I', datname), 4 FROM pg_database WHERE datname = current_database()
    ) AS owned ON owned.owner = r.oid
    GROUP BY a.rolname, r.rolname
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('may become %I, to which a policy of %I shows every row: REVOKE that',
        r.rolname, min(t.label))
    FROM application a JOIN reach r ON NOT r.bypasses AND NOT r.itself
    JOIN open_policies p ON r.oid = ANY (p.polroles) AND NOT 0 = ANY (p.polroles)
    JOIN tenant_tables t ON t.oid = p.polrelid
    WHERE r.oid NOT IN (SELECT relowner FROM tables)
    GROUP BY a.rolname, r.rolname
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('%s CREATEROLE, by which it can give itself other roles: ALTER ROLE %I NOCREATEROLE',
        CASE WHEN r.itself THEN 'has' ELSE format('may become %I, which has', r.rolname) END, r.rolname)
    FROM application a JOIN reach r ON NOT r.bypasses AND r.rolcreaterole
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('%s REPLICATION, by which it can read every change of every table: ALTER ROLE %I NOREPLICATION',
        CASE WHEN r.itself THEN 'has' ELSE format('may become %I, which has', r.rolname) END, r.rolname)
    FROM application a JOIN reach r ON NOT r.bypasses AND r.rolreplication
    UNION ALL
    SELECT 'danger', 'role', a.rolname, format('is a member of %I, which reaches beyond this schema: REVOKE that', r.rolname)
    FROM application a JOIN reach r ON r.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files',
        'pg_write_server_files', 'pg_execute_server_program')
    UNION ALL
    -- As which this runs, and what that means.
    SELECT CASE WHEN rights.told = '' THEN 'note' ELSE 'warning' END, 'login', session_user,
        CASE WHEN rights.told = '' THEN
            'is bound by the policies; in a statement that it sends any user can be named: never put its text together from what users enter'
        ELSE format('%s: sees every user''s rows outside of as_user, and so does SQL that is injected into a statement of as_user, by RESET ROLE; where programs need none of that, let them log in as a member of the application role alone', rights.told)
        END
    FROM (
        SELECT concat_ws(', ',
            CASE WHEN l.rolsuper THEN 'is a superuser' END,
            CASE WHEN l.rolbypassrls AND NOT l.rolsuper THEN 'bypasses policies (BYPASSRLS)' END,
            CASE WHEN l.rolcreaterole AND NOT l.rolsuper THEN 'may make roles (CREATEROLE)' END,
            CASE WHEN NOT l.rolsuper THEN (
                SELECT string_agg(DISTINCT CASE
                    WHEN r.oid = l.oid AND r.oid IN (SELECT relowner FROM tables) THEN 'owns the tables'
                    WHEN r.oid = l.oid THEN 'is shown every row by a policy'
                    ELSE format('may become %I', r.rolname) END, ', ')
                FROM pg_roles r
                WHERE pg_has_role(l.oid, r.oid, 'MEMBER')
                    AND (r.oid <> l.oid AND (r.rolsuper OR r.rolbypassrls)
                        OR r.oid IN (SELECT relowner FROM tables)
                        OR EXISTS (SELECT FROM open_policies p WHERE r.oid = ANY (p.polroles)))
            ) END) AS told
        FROM pg_roles l WHERE l.rolname = session_user
    ) AS rights

    SELECT 'danger', 'privileges', t.label, format('the application role may not %s: run Database::create_roles', string_agg(needed, ', '))
    FROM application a CROSS JOIN tables t
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) needed
    WHERE NOT t.is_child AND (t.relname, needed) IN (SELECT relname, granted FROM rights)
        -- Accounts may be made by a function.
        AND (needed <> 'INSERT' OR t.relname <> 'users')
        AND NOT has_table_privilege(a.oid, t.oid, needed)
        AND CASE needed WHEN 'DELETE' THEN true ELSE NOT has_any_column_privilege(a.oid, t.oid, needed) END
    GROUP BY t.label
    UNION ALL
    SELECT 'danger', 'privileges', d.label, 'the application role may not EXECUTE it: run Database::create_roles'
    FROM application a JOIN definers d ON d.is_granted AND NOT has_function_privilege(a.oid, d.oid, 'EXECUTE')
    UNION ALL
    SELECT 'danger', 'privileges', r.label, format('the application role may %s, which is the %s alone: run Database::create_roles',
        string_agg(excess, ', '), CASE r.relname WHEN '__diesel_schema_migrations' THEN 'owner''s'
            WHEN 'archived_price_years' THEN 'owner''s' WHEN 'price_revisions' THEN 'maintenance role''s' ELSE 'triggers''' END)
    FROM application a CROSS JOIN relations r
    CROSS JOIN unnest(ARRAY['INSERT', 'UPDATE', 'DELETE']) excess
    WHERE r.at_home AND r.relname IN (SELECT relname FROM rights)
        AND (r.relname, excess) NOT IN (SELECT relname, granted FROM rights) AND NOT a.bypasses
        AND NOT pg_has_role(a.oid, r.relowner, 'USAGE')
        AND (has_table_privilege(a.oid, r.oid, excess)
            OR CASE excess WHEN 'DELETE' THEN false ELSE has_any_column_privilege(a.oid, r.oid, excess) END)
    GROUP BY r.label, r.relname
    UNION ALL
    SELECT 'danger', 'privileges', t.label, format('the application role may %s it, which no policy binds: REVOKE that', string_agg(excess, ', '))
    FROM application a CROSS JOIN tenant_tables t
    CROSS JOIN unnest(ARRAY['TRUNCATE', 'TRIGGER', 'REFERENCES']) excess
    WHERE NOT a.bypasses AND NOT pg_has_role(a.oid, t.relowner, 'USAGE')
        AND (has_table_privilege(a.oid, t.oid, excess)
            OR CASE excess WHEN 'REFERENCES' THEN has_any_column_privilege(a.oid, t.oid, excess) ELSE false END)
    GROUP BY t.label
    UNION ALL
    SELECT 'danger', 'privileges', t.label, format('PUBLIC may %s: REVOKE that', string_agg(DISTINCT acl.privilege_type, ', '))
    FROM tenant_tables t CROSS JOIN LATERAL (
        SELECT grantee, privilege_type FROM aclexplode(t.relacl)
        UNION ALL
        SELECT acl.grantee, acl.privilege_type FROM pg_attribute c CROSS JOIN aclexplode(c.attacl) acl
        WHERE c.attrelid = t.oid AND NOT c.attisdropped
    ) AS acl
    WHERE acl.grantee = 0 GROUP BY t.label
    UNION ALL
    SELECT 'danger', 'privileges', s.relname, 'the application role may set it, so that versions and tokens repeat: REVOKE UPDATE'
    FROM application a CROSS JOIN pg_class s JOIN home ON home.schema = s.relnamespace
    WHERE CASE s.relkind WHEN 'S' THEN NOT a.bypasses AND NOT pg_has_role(a.oid, s.relowner, 'USAGE')
        AND has_sequence_privilege(a.oid, s.oid, 'UPDATE') ELSE false END
    UNION ALL
    SELECT 'danger', 'privileges', p.oid::regprocedure::text, 'the application role may execute it, which reaches the server''s files: REVOKE that'
    FROM application a CROSS JOIN pg_proc p
    WHERE NOT a.rolsuper AND p.proname IN ('pg_read_file', 'pg_read_binary_file', 'lo_import', 'lo_export')
        AND p.oid < 16384 AND has_function_privilege(a.oid, p.oid, 'EXECUTE')
    UNION ALL
    SELECT 'danger', 'database', current_database(), 'sessions begin in the name of a user: ALTER DATABASE or ALTER ROLE ... RESET buffetbot.user_id'
    WHERE EXISTS (SELECT FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) c
        WHERE c LIKE 'buffetbot.user\_id=_%'
            AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND s.setrole IN (0, (SELECT oid FROM pg_roles WHERE rolname = session_user)))
    UNION ALL
    SELECT 'warning', 'privileges', s.srvname, 'the application role may use this foreign server, with the rights of its user mapping there'
    FROM application a CROSS JOIN pg_foreign_server s
    WHERE NOT a.bypasses AND has_server_privilege(a.oid, s.oid, 'USAGE')
    UNION ALL
    SELECT 'warning', 'privileges', r.label, 'is a foreign table, which no policy can bind: the application role reaches what is there with the rights of its user mapping'
    FROM relations r
    WHERE r.relkind = 'f' AND r.is_open AND r.oid NOT IN (SELECT oid FROM tenant_oids)
    UNION ALL
    SELECT 'warning', 'database', current_database(), format('%s has %s on it, which no method of this crate needs: REVOKE %s ON DATABASE ... FROM %s',
        able.who, able.privilege_type, able.privilege_type, able.grantee)
    FROM (
        SELECT 'PUBLIC' AS who, 'PUBLIC' AS grantee, acl.privilege_type
        FROM pg_database d CROSS JOIN aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) acl
        WHERE d.datname = current_database() AND acl.grantee = 0
        UNION ALL
        SELECT 'the application role', quote_ident(a.rolname), needless
        FROM application a CROSS JOIN pg_database d CROSS JOIN unnest(ARRAY['CREATE', 'TEMPORARY']) needless
        WHERE d.datname = current_database() AND NOT a.bypasses AND has_database_privilege(a.oid, d.oid, needless)
            AND NOT EXISTS (SELECT FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) acl
                WHERE acl.grantee = 0 AND acl.privilege_type = needless)
    ) AS able
    WHERE able.privilege_type IN ('CREATE', 'TEMPORARY')

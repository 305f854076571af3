    SELECT 'danger', 'policies', label, 'row-level security is off: everybody who may read it reads all of it'
    FROM tenant_tables WHERE NOT relrowsecurity AND relkind <> 'f'
    UNION ALL
    SELECT 'danger', 'policies', label, 'row-level security is not forced: its owner bypasses it unseen'
    FROM tenant_tables WHERE relrowsecurity AND NOT relforcerowsecurity
    UNION ALL
    SELECT 'danger', 'policies', label, 'is a foreign table, which no policy can bind: REVOKE what the application role may do with it'
    FROM tenant_tables WHERE relkind = 'f' AND is_open
    UNION ALL
    SELECT 'danger', 'policies', t.label, 'no policy shows the application role its rows'
    FROM tenant_tables t
    WHERE t.relrowsecurity AND t.at_home AND NOT t.is_child AND EXISTS (SELECT FROM application)
        AND NOT EXISTS (SELECT FROM binding b WHERE b.polrelid = t.oid AND b.polpermissive AND b.polcmd IN ('*', 'r'))
    UNION ALL
    SELECT 'danger', 'policies', t.label, format('the policy %I does not ask who the user is', p.polname)
    FROM tenant_tables t JOIN open_policies p ON p.polrelid = t.oid
    WHERE 0 = ANY (p.polroles) OR EXISTS (SELECT FROM application a WHERE a.oid = ANY (p.polroles))
    UNION ALL
    SELECT 'warning', 'policies', t.label, format('the policy %I is not one of this crate''s: read whether it lets a user change what is another''s', p.polname)
    FROM tenant_tables t JOIN binding p ON p.polrelid = t.oid
    WHERE t.is_known AND p.polpermissive AND p.asks AND p.polname <> 'tenant'
    UNION ALL
    SELECT 'danger', 'policies', t.label, 'its owner has no policy and sees none of its rows: run Database::create_roles'
    FROM tenant_tables t
    WHERE t.relrowsecurity AND t.relforcerowsecurity AND t.at_home AND NOT t.is_child
        AND NOT EXISTS (SELECT FROM policies p WHERE p.polrelid = t.oid AND t.relowner = ANY (p.polroles))
        AND NOT (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE oid = t.relowner)
    UNION ALL
    SELECT 'warning', 'policies', label, 'is not a table of this crate: judged by the catalog alone, not tried'
    FROM tenant_tables WHERE NOT is_known

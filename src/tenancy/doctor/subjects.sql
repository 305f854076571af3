-- What is examined. The findings of the other files follow. $1: the application role; $2: functions granted to it;
-- $3: this crate's tables in which users own rows; $4: its tables in which programs keep account of their work; $5: what the application
-- role may do with this crate's tables, as `table right`.
WITH RECURSIVE home AS (
    SELECT relnamespace AS schema FROM pg_class WHERE oid = to_regclass('users')
), application AS (
    SELECT oid, rolname, rolsuper OR rolbypassrls AS bypasses, rolsuper FROM pg_roles WHERE rolname = $1
), rights AS (
    SELECT split_part(r, ' ', 1) AS relname, split_part(r, ' ', 2) AS granted FROM unnest($5) r
), reach AS (
    -- The roles whose rights the application role has, or can have by SET ROLE.
    SELECT r.oid, r.rolname, r.rolsuper OR r.rolbypassrls AS bypasses, r.rolcreaterole, r.rolreplication,
        r.oid = a.oid AS itself
    FROM application a JOIN pg_roles r ON r.oid = a.oid OR NOT a.rolsuper AND pg_has_role(a.oid, r.oid, 'MEMBER')
), relations AS (
    -- Users' only: an object that is made after the server has an OID from 16384 on.
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relrowsecurity, c.relforcerowsecurity,
        COALESCE(c.relnamespace = home.schema, false) AS at_home,
        CASE WHEN c.relnamespace = home.schema THEN c.relname ELSE c.oid::regclass::text END AS label,
        EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid) AS is_child,
        EXISTS (SELECT FROM application a WHERE NOT a.rolsuper
            AND (has_table_privilege(a.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
                OR has_any_column_privilege(a.oid, c.oid, 'SELECT, INSERT, UPDATE'))) AS is_open
    FROM pg_class c LEFT JOIN home ON true
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND c.oid >= 16384
), tables AS (
    SELECT * FROM relations
    WHERE at_home AND relkind IN ('r', 'p') AND relname <> '__diesel_schema_migrations'
), tenant_oids AS (
    -- What somebody owns: accounts, whatever names an owner or has a password, whatever refers to such a table, and
    -- the parts of one; in another schema, where the application role can reach it.
    SELECT oid FROM relations
    WHERE (at_home OR is_open) AND relkind IN ('r', 'p', 'f') AND (at_home AND relname = 'users'
        OR EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relations.oid AND NOT a.attisdropped
            AND a.attname IN ('user_id', 'portfolio_id', 'owner_id', 'account_id', 'hashed_password')))
    UNION
    SELECT l.depends FROM tenant_oids t JOIN (
        SELECT conrelid AS depends, confrelid AS oid FROM pg_constraint WHERE contype = 'f'
        UNION ALL
        SELECT inhrelid, inhparent FROM pg_inherits
    ) AS l ON l.oid = t.oid
), tenant_tables AS (
    -- A part is bound by its parent's policies where it is reached by the parent only; so is a table elsewhere that
    -- the application role cannot reach.
    SELECT r.*, r.at_home AND r.relname = ANY ($3) AS is_known
    FROM relations r JOIN tenant_oids USING (oid)
    WHERE r.is_open OR r.at_home AND NOT r.is_child
), policies AS (
    SELECT p.polrelid, p.polname, p.polcmd, p.polpermissive, p.polroles, {asks} AS asks
    FROM pg_policy p JOIN tenant_tables t ON t.oid = p.polrelid
), binding AS (
    -- Of them, those that bind the application role.
    SELECT p.* FROM policies p, application a
    WHERE 0 = ANY (p.polroles)
        OR EXISTS (SELECT FROM unnest(p.polroles) r WHERE r <> 0 AND pg_has_role(a.oid, r, 'USAGE'))
), open_policies AS (
    -- Those that let rows through for every user; a restrictive one beside them may still ask.
    SELECT p.* FROM policies p
    WHERE p.polpermissive AND NOT p.asks
        AND NOT EXISTS (SELECT FROM binding b WHERE b.polrelid = p.polrelid AND NOT b.polpermissive AND b.asks
            AND b.polcmd IN ('*', p.polcmd))
), definers AS (
    SELECT p.oid, p.oid::regprocedure::text AS label, p.proowner, p.proconfig,
        COALESCE(p.pronamespace = home.schema, false) AS at_home,
        COALESCE(p.pronamespace = home.schema AND p.proowner IN (SELECT relowner FROM tables)
            AND format('%s(%s)', p.proname, replace(oidvectortypes(p.proargtypes), ', ', ',')) = ANY ($2), false)
            AS is_granted
    FROM pg_proc p LEFT JOIN home ON true
    WHERE p.prosecdef
), callable AS (
    -- A function, and what may execute it: by its own right, or by that of an aggregate that calls it with the
    -- aggregate's owner's right.
    SELECT c.oid, c.by, COALESCE(p.proacl, acldefault('f', p.proowner)) AS acl
    FROM (
        SELECT oid, oid AS by FROM definers
        UNION
        SELECT d.oid, g.aggfnoid
        FROM pg_aggregate g CROSS JOIN unnest(ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn,
            g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::oid[]) part
        JOIN definers d ON d.oid = part
    ) AS c JOIN pg_proc p ON p.oid = c.by
), reads AS (
    -- What a view or a rule reads or writes beside its own relation.
    SELECT DISTINCT w.ev_class AS relation, d.refobjid AS base, w.rulename <> '_RETURN' AS by_rule
    FROM pg_rewrite w
    JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    WHERE d.refobjid <> w.ev_class AND w.ev_class >= 16384
), shows AS (
    SELECT r.relation, t.oid AS tenant_table FROM reads r JOIN tenant_oids t ON t.oid = r.base
    UNION
    SELECT r.relation, s.tenant_table FROM reads r JOIN shows s ON s.relation = r.base
), used AS (
    -- What the application role reaches, through how many views it may be.
    SELECT oid FROM relations WHERE is_open
    UNION
    SELECT r.base FROM reads r JOIN used u ON u.oid = r.relation
), findings (severity, what, object, message) AS (

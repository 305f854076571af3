-- A program that logs in as a member of the application role alone sees no account before it names a user, and could
-- neither sign anybody up nor log anybody in. These functions do it with the owner's rights and give back as little as
-- that takes. A password's hash never leaves the database: the program asks for the salt and the costs, computes the
-- hash of what was typed, and sends it to be compared.
CREATE FUNCTION register_account(
    id UUID, email TEXT, hashed_password TEXT, username TEXT, first_name TEXT, last_name TEXT, preferences TEXT
) RETURNS VOID
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    -- The log of an account that is gone is not somebody else's to read.
    IF account_is_known($1) THEN
        RAISE unique_violation USING MESSAGE = 'the id is taken', TABLE = 'users', CONSTRAINT = 'users_pkey';
    END IF;
    INSERT INTO users (id, email, hashed_password, username, first_name, last_name, preferences)
    VALUES ($1, $2, $3, $4, $5, $6, $7);
END;
$$;

-- A hash in PHC form ends with its output; of other forms more than that may be left out.
CREATE FUNCTION account_salt(email TEXT) RETURNS TEXT
    LANGUAGE sql STABLE SECURITY DEFINER
AS $$
    SELECT left(u.hashed_password, -length(output)) || repeat('A', length(output))
    FROM users u CROSS JOIN LATERAL substring(u.hashed_password FROM '[^$]*$') AS output
    WHERE lower(u.email) = lower($1)
$$;

CREATE FUNCTION authenticate_account(email TEXT, output TEXT) RETURNS UUID
    LANGUAGE sql SECURITY DEFINER
AS $$
    UPDATE users u SET last_login_at = now()
    WHERE lower(u.email) = lower($1) AND u.is_active AND $2 <> ''
        AND substring(u.hashed_password FROM '[^$]*$') = $2
    RETURNING u.id
$$;

CREATE FUNCTION change_account_password(email TEXT, output TEXT, hashed_password TEXT) RETURNS UUID
    LANGUAGE sql SECURITY DEFINER
AS $$
    UPDATE users u SET hashed_password = $3
    WHERE lower(u.email) = lower($1) AND u.is_active AND $2 <> ''
        AND substring(u.hashed_password FROM '[^$]*$') = $2
    RETURNING u.id
$$;

COMMENT ON FUNCTION register_account(UUID, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT) IS
    'Makes an account that is active and not verified';
COMMENT ON FUNCTION account_salt(TEXT) IS
    'The hash of the account''s password with its output overwritten: algorithm, costs and salt; NULL: no such account';
COMMENT ON FUNCTION authenticate_account(TEXT, TEXT) IS
    'Notes the login of the active account whose hash has this output and returns its id; NULL: there is none';
COMMENT ON FUNCTION change_account_password(TEXT, TEXT, TEXT) IS
    'Sets the hash of the active account whose present one has this output and returns its id; NULL: there is none';

DO $$
DECLARE
    definer REGPROCEDURE;
    grantee REGROLE;
BEGIN
    FOR definer IN
        SELECT unnest(ARRAY['register_account(uuid, text, text, text, text, text, text)', 'account_salt(text)',
            'authenticate_account(text, text)', 'change_account_password(text, text, text)']::regprocedure[])
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', definer, current_schema());
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', definer);
        FOR grantee IN
            SELECT acl.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
            WHERE c.oid = 'users'::regclass AND acl.privilege_type = 'DELETE' AND acl.grantee NOT IN (0, c.relowner)
        LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', definer, grantee);
        END LOOP;
    END LOOP;
END;
$$;

DROP INDEX users_email_lower_key;

COMMENT ON COLUMN users.email IS 'Address to sign in with';

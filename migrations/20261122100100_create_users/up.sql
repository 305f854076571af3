CREATE TABLE users (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    email VARCHAR(255) UNIQUE NOT NULL,
    username VARCHAR(100) UNIQUE,
    hashed_password VARCHAR(255) NOT NULL,
    is_active BOOLEAN DEFAULT TRUE NOT NULL,
    is_verified BOOLEAN DEFAULT FALSE NOT NULL,
    first_name VARCHAR(100),
    last_name VARCHAR(100),
    preferences TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT NOW() NOT NULL,
    last_login_at TIMESTAMP WITH TIME ZONE
);

CREATE INDEX idx_users_email ON users(email);
CREATE INDEX idx_users_username ON users(username);
CREATE INDEX idx_users_active ON users(is_active);

COMMENT ON TABLE users IS 'Accounts: who owns portfolios, and how they sign in';
COMMENT ON COLUMN users.id IS 'Key of the account';
COMMENT ON COLUMN users.email IS 'Address to sign in with';
COMMENT ON COLUMN users.username IS 'Public name, unique; NULL: none chosen';
COMMENT ON COLUMN users.hashed_password IS 'Password hash in PHC string form; never a password';
COMMENT ON COLUMN users.is_active IS 'FALSE: the account is switched off and may not sign in';
COMMENT ON COLUMN users.is_verified IS 'TRUE once the e-mail address is proven to be the user''s';
COMMENT ON COLUMN users.first_name IS 'Given name';
COMMENT ON COLUMN users.last_name IS 'Family name';
COMMENT ON COLUMN users.preferences IS 'User preferences as the text of a JSON document; NULL: none set';
COMMENT ON COLUMN users.created_at IS 'When the account was made';
COMMENT ON COLUMN users.updated_at IS 'Time of the latest change';
COMMENT ON COLUMN users.last_login_at IS 'Time of the latest sign-in; NULL: never';

COMMENT ON INDEX users_pkey IS 'One account by its id';
COMMENT ON INDEX users_email_key IS 'One account by its exact address; no address twice';
COMMENT ON INDEX users_username_key IS 'One account by its name; no name twice';
COMMENT ON INDEX idx_users_email IS 'One account by its address';
COMMENT ON INDEX idx_users_username IS 'One account by its name';
COMMENT ON INDEX idx_users_active IS 'Accounts that are switched on or off';

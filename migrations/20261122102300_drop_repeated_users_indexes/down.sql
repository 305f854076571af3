CREATE INDEX idx_users_username ON users(username);
CREATE INDEX idx_users_email ON users(email);

COMMENT ON INDEX idx_users_username IS 'One account by its name';
COMMENT ON INDEX idx_users_email IS 'One account by its address';

CREATE INDEX idx_users_username ON users(username);
CREATE INDEX idx_users_email ON users(email);

-- idx_users_email repeats the unique index users_email_key, idx_users_username users_username_key.
DROP INDEX idx_users_email;
DROP INDEX idx_users_username;

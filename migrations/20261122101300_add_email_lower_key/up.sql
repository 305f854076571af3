-- A@x and a@x reach one mailbox: two accounts for them are a mistake or a fraud.
CREATE UNIQUE INDEX users_email_lower_key ON users (lower(email));

COMMENT ON INDEX users_email_lower_key IS 'One account per mailbox, whatever the letter case';
COMMENT ON COLUMN users.email IS 'Address to sign in with; unique without regard to letter case';

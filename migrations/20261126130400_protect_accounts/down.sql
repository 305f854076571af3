DROP TRIGGER users_protect_update ON users;
DROP TRIGGER users_protect_insert ON users;
DROP FUNCTION protect_account();
DROP FUNCTION account_is_known(UUID);

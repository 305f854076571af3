DROP FUNCTION change_account_password(TEXT, TEXT, TEXT);
DROP FUNCTION authenticate_account(TEXT, TEXT);
DROP FUNCTION account_salt(TEXT);
DROP FUNCTION register_account(UUID, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT);

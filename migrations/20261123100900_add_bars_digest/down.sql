DROP FUNCTION bars_digest(TEXT);

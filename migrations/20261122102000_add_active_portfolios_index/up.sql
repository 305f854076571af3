-- A user's portfolios are listed newest first, active ones by default, one page at a time.
CREATE INDEX portfolios_user_active_newest_idx
    ON portfolios (user_id, created_at DESC, id DESC)
    WHERE is_active;

COMMENT ON INDEX portfolios_user_active_newest_idx IS
    'Active portfolios of a user, newest first, page by page';

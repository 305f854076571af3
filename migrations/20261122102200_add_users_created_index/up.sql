-- Users are listed in the order of their making, one page at a time; the id settles equal times.
CREATE INDEX users_created_idx ON users (created_at, id);

COMMENT ON INDEX users_created_idx IS 'All users, oldest first, page by page';

-- What was known before corrections cannot be brought back by running this migration again: refuse to
-- lose it. TRUNCATE price_revisions, and clearing corrected_at, say that it may go.
ALTER TABLE price_revisions ADD CONSTRAINT price_revisions_empty CHECK (FALSE);
ALTER TABLE price_history ADD CONSTRAINT price_history_never_corrected CHECK (corrected_at IS NULL);

DROP TRIGGER price_history_keep_deleted ON price_history;
DROP TRIGGER price_history_keep_revision ON price_history;
DROP TRIGGER price_history_date_correction ON price_history;
DROP FUNCTION keep_bar_revision();
DROP FUNCTION date_bar_correction();
DROP TABLE price_revisions;
ALTER TABLE price_history DROP COLUMN corrected_at;

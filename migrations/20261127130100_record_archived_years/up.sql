-- A bar of a year that had gone into a file was refused as one of a year that had no partition yet, and the advice that came
-- with it was to make one. Only the archive knew which of the two it was.
CREATE TABLE archived_price_years (
    year INTEGER PRIMARY KEY,
    archived_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT now()
);

COMMENT ON TABLE archived_price_years IS 'Years of price_history that are in files, until they are restored';
COMMENT ON COLUMN archived_price_years.year IS 'The year';
COMMENT ON COLUMN archived_price_years.archived_at IS 'When its partition was dropped';
COMMENT ON INDEX archived_price_years_pkey IS 'Whether a year is archived';

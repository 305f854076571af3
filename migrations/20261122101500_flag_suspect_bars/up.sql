-- Providers deliver bars whose high lies below the low or whose close lies outside both. They are kept,
-- but never in silence: such a bar must carry the flag.
ALTER TABLE price_history ADD COLUMN is_suspect BOOLEAN NOT NULL DEFAULT FALSE;

UPDATE price_history SET is_suspect = TRUE
WHERE NOT (
    high_price >= low_price
    AND open_price BETWEEN low_price AND high_price
    AND close_price BETWEEN low_price AND high_price
);

-- A missing price compares as NULL and passes; what is there is compared all the same.
ALTER TABLE price_history ADD CONSTRAINT price_history_coherent_unless_suspect CHECK (
    is_suspect
    OR (
        high_price >= low_price
        AND open_price BETWEEN low_price AND high_price
        AND close_price BETWEEN low_price AND high_price
    )
);

COMMENT ON COLUMN price_history.is_suspect IS
    'TRUE: the bar is stored as delivered but should not be trusted, such as a high below the low';

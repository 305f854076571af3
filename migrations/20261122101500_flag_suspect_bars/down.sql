-- A flag on a coherent bar is somebody's judgement, which running this migration again would not
-- bring back: refuse to lose it. Flags of incoherent bars come back by themselves.
ALTER TABLE price_history ADD CONSTRAINT price_history_no_judged_bars CHECK (
    NOT is_suspect
    OR (
        high_price >= low_price
        AND open_price BETWEEN low_price AND high_price
        AND close_price BETWEEN low_price AND high_price
    ) IS FALSE
);

ALTER TABLE price_history
    DROP CONSTRAINT price_history_no_judged_bars,
    DROP CONSTRAINT price_history_coherent_unless_suspect,
    DROP COLUMN is_suspect;

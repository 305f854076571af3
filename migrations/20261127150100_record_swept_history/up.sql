-- A read as of a time whose revisions were swept gave an answer without them, which nothing told from a true one.
CREATE TABLE swept_history (
    table_name TEXT PRIMARY KEY,
    known_from TIMESTAMP WITH TIME ZONE NOT NULL
);

COMMENT ON TABLE swept_history IS 'From when on the history of a table is complete, where a part of it was swept';
COMMENT ON COLUMN swept_history.table_name IS 'The table whose history it is';
COMMENT ON COLUMN swept_history.known_from IS 'Reads as of an earlier time are refused; it only rises';
COMMENT ON INDEX swept_history_pkey IS 'The watermark of a table';

-- A read as of a point needs a revision that was removed by a transaction which the point does not see, and the points
-- themselves. Points before the first one that sees all removals cannot be answered for any more.
CREATE FUNCTION note_swept_history() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
DECLARE
    complete_from TIMESTAMP WITH TIME ZONE;
    newest BIGINT;
BEGIN
    IF TG_RELID IS DISTINCT FROM to_regclass('price_revisions')
        AND TG_RELID IS DISTINCT FROM to_regclass('knowledge_points')
    THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'note_swept_history is a trigger of price_revisions and knowledge_points only';
    END IF;
    IF TG_RELID = to_regclass('knowledge_points') THEN
        SELECT max(known_at) + interval '1 microsecond' INTO complete_from FROM gone;
    ELSE
        SELECT max(replaced_at), max(removed_by) INTO complete_from, newest FROM gone;
        SELECT GREATEST(complete_from, max(point.known_at) + interval '1 microsecond') INTO complete_from
        FROM knowledge_points AS point
        WHERE point.known_at >= complete_from AND txid_snapshot_xmin(point.snapshot) <= newest
            AND EXISTS (SELECT FROM gone WHERE NOT txid_visible_in_snapshot(gone.removed_by, point.snapshot));
    END IF;
    IF complete_from IS NOT NULL THEN
        INSERT INTO swept_history VALUES ('price_history', complete_from)
        ON CONFLICT (table_name) DO UPDATE SET known_from = excluded.known_from
            WHERE swept_history.known_from < excluded.known_from;
    END IF;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION note_swept_history() IS 'Moves the watermark of swept history';

CREATE TRIGGER price_revisions_note_swept
    AFTER DELETE ON price_revisions
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_swept_history();
CREATE TRIGGER knowledge_points_note_swept
    AFTER DELETE ON knowledge_points
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION note_swept_history();

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION note_swept_history() SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION note_swept_history() FROM PUBLIC;
END;
$$;

-- Points that were made while the clock was ahead closed times that are still to come after it was set back: what was
-- committed since was not known for as long as it had been ahead. They are dated anew before the next point,
-- in their order, right behind the last one of the past.
CREATE FUNCTION redate_knowledge_points() RETURNS TRIGGER
    LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF TG_RELID IS DISTINCT FROM to_regclass('knowledge_points') THEN
        RAISE insufficient_privilege USING
            MESSAGE = 'redate_knowledge_points is a trigger of knowledge_points only';
    END IF;
    IF EXISTS (SELECT FROM knowledge_points WHERE known_at > clock_timestamp() + interval '1 second') THEN
        PERFORM pg_advisory_xact_lock('knowledge_points'::regclass::oid::integer, 1);
        WITH past AS MATERIALIZED (
            SELECT max(known_at) AS last FROM knowledge_points
            WHERE known_at <= clock_timestamp() + interval '1 second'
        ), ahead AS MATERIALIZED (
            SELECT known_at, row_number() OVER (ORDER BY known_at) AS place
            FROM knowledge_points, past WHERE known_at > COALESCE(last, '-infinity')
        )
        UPDATE knowledge_points AS point
        SET known_at = COALESCE(last, clock_timestamp()) + ahead.place * interval '1 microsecond'
        FROM ahead, past WHERE point.known_at = ahead.known_at;
    END IF;
    RETURN NULL;
END;
$$;
COMMENT ON FUNCTION redate_knowledge_points() IS 'Dates points anew that are ahead of a clock that was set back';

CREATE TRIGGER knowledge_points_redate
    BEFORE INSERT ON knowledge_points
    FOR EACH STATEMENT EXECUTE FUNCTION redate_knowledge_points();

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION redate_knowledge_points() SET search_path = %I, pg_temp', current_schema());
    REVOKE ALL ON FUNCTION redate_knowledge_points() FROM PUBLIC;
END;
$$;
